//! The one way to a registry: schemes, challenges, redirects, retries.
//!
//! Manifests, blobs, referrers and tokens all go through here, so that each promise (no
//! credential leaves its host, no wait without a word) is kept in one place. A registry's name
//! becomes an address in [`Transport::base`] alone: mirrors and private addresses belong there.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::call::Call;
use super::challenge::Challenge;
use super::config::{Config, Notice};
use super::credentials::Credentials;
use super::delay::retry_after;
use super::diagnosis::Diagnosis;
use super::error::{Error, ErrorKind, Login};
use super::hedge::{Lane, Pulse, Silence, hedged};
use super::hosts::Hosts;
use super::mirror::{Mirrors, Standing};
use super::named::Met;
use super::quota::Quota;
use super::reference::api_host;
pub(super) use super::retry::Attempts;
use super::token::{Ticket, Tickets};
use super::traffic::Traffic;
use crate::net;

/// Sends requests to registries; clones share tokens, connections and the wait for a host.
#[derive(Clone)]
pub(super) struct Transport {
    pub(super) inner: Arc<Inner>,
    /// When whoever asks has no use for an answer any more.
    pub(super) deadline: Option<Instant>,
    /// Whether requests need a slot of their host.
    pub(super) counted: bool,
    /// Whether a host that wants quiet is a failure at once: others can be asked.
    pub(super) hurried: bool,
}

pub(super) struct Inner {
    pub(super) config: Config,
    tickets: Tickets,
    pub(super) traffic: Traffic,
    met: Met,
    standing: Standing,
}

impl Transport {
    pub(super) fn new(mut config: Config) -> Self {
        config.mirrors.announce(&mut config.plain_http);
        Self {
            inner: Arc::new(Inner {
                tickets: Tickets::default(),
                traffic: Traffic::new(config.requests_per_host),
                met: Met::default(),
                standing: Standing::default(),
                config,
            }),
            deadline: None,
            counted: true,
            hurried: false,
        }
    }

    /// Returns the same transport for someone who has no use for an answer after `deadline`.
    pub(super) fn until(&self, deadline: Instant) -> Self {
        let earlier = self.deadline.map_or(deadline, |known| known.min(deadline));
        Self {
            deadline: Some(earlier),
            ..self.clone()
        }
    }

    /// Returns the same transport for requests that must not wait for others to end: those that
    /// are made inside of another one.
    pub(super) fn uncounted(&self) -> Self {
        Self {
            counted: false,
            ..self.clone()
        }
    }

    /// Returns the same transport for requests to a mirror. They need no slot: who waits for one could
    /// not be told from a mirror that is dead.
    pub(super) fn for_mirror(&self, hurried: bool) -> Self {
        Self {
            counted: false,
            hurried,
            ..self.clone()
        }
    }

    pub(super) fn quotas(&self) -> BTreeMap<String, Quota> {
        self.inner.traffic.quotas()
    }

    pub(super) fn http(&self) -> &net::Client {
        &self.inner.config.http
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.inner.config.credentials
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.config.clock.now()
    }

    pub(super) fn hosts(&self) -> &Hosts {
        &self.inner.config.hosts
    }

    pub(super) fn mirrors(&self) -> &Mirrors {
        &self.inner.config.mirrors
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.inner.standing
    }

    pub(super) fn met(&self) -> &Met {
        &self.inner.met
    }

    pub(super) fn notice(&self, notice: Notice) {
        (self.inner.config.notices)(notice);
    }

    /// Returns the address of a registry's API, ending in `/v2/`.
    pub(super) fn base(&self, registry: &str) -> Result<Url, Error> {
        let host = api_host(registry);
        let malformed = |reason: String| ErrorKind::Malformed {
            host: registry.to_owned(),
            url: String::new(),
            reason,
        };
        let mut url = Url::parse(&format!("https://{host}/v2/"))
            .map_err(|error| malformed(format!("`{registry}` is no registry: {error}")))?;
        let as_written = url.path() == "/v2/" && url.username().is_empty() && url.query().is_none();
        if !as_written {
            return Err(malformed(format!("`{registry}` is no registry")).into());
        }
        let said = self.inner.config.plain_http.get(registry).copied();
        if said.unwrap_or_else(|| is_loopback(&url)) {
            let set = url.set_scheme("http");
            debug_assert!(set.is_ok(), "both schemes are special");
        }
        Ok(url)
    }

    /// Sends a request until it succeeds or there is no point in trying again.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let mut attempts = Attempts::default();
        loop {
            match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Sends a request that was answered with challenges before, as [`Transport::send`] does.
    pub(super) async fn send_after(
        &self,
        call: &Call,
        challenges: &[Challenge],
    ) -> Result<Answer, Error> {
        let mut attempts = Attempts::default();
        loop {
            let answered = async {
                let registry = self.base(&call.registry)?;
                let (answer, ticket) = self.answer(call, &registry, challenges, None).await?;
                self.judge(call, answer, ticket.as_ref()).await
            };
            match answered.await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Sends a request and reads its whole body, as [`Transport::send`] does. A body that stalls
    /// is asked for again on a second connection.
    pub(super) async fn read(
        &self,
        call: &Call,
        limit: u64,
    ) -> Result<(HeaderMap, Bytes, String), Error> {
        let mut attempts = Attempts::default();
        loop {
            match self.read_once(call, limit).await {
                Ok(read) => return Ok(read),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Sends a request once and reads its whole body. One that stalls is asked for again on a second
    /// connection.
    pub(super) async fn read_once(
        &self,
        call: &Call,
        limit: u64,
    ) -> Result<(HeaderMap, Bytes, String), Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // The silence before the head is minded where the request is sent.
        let pulse = Pulse::default();
        let read = |lane| {
            let (transport, pulse) = (self.for_lane(lane), pulse.clone());
            async move {
                let mut answer = Box::pin(transport.attempt(call)).await?;
                pulse.connected(answer.response.remote);
                let body = &mut answer.response.body;
                body.set_idle_timeout(transport.inner.config.retry.patience);
                let headers = answer.response.headers.clone();
                let host = answer.host.clone();
                let bytes = answer.bytes(limit, &call.what, &pulse).await?;
                Ok((headers, bytes, host))
            }
        };
        let host = host_of(&call.url);
        let tell = |silence| self.silent(&host, &call.what, silence);
        hedged(self.inner.config.retry.stall, &pulse, read, tell).await
    }

    /// Waits before the next attempt, or gives the error back if there is none.
    pub(super) async fn pause(&self, attempts: &mut Attempts, error: Error) -> Result<(), Error> {
        let Inner {
            config, traffic, ..
        } = &*self.inner;
        let next = attempts.next(&config.retry, &error, self.deadline);
        let asked = error.retry_after().filter(|_| error.is_retryable());
        let host = error.host().unwrap_or("a registry").to_owned();
        if let Some(asked) = asked {
            // Also where this request gives up: the host has spoken to all.
            traffic.close(&host, Instant::now() + asked, error.kind());
        }
        let wait = match next {
            Ok(wait) => wait,
            Err(gave_up) => {
                let error = error.tried(attempts.failed(), gave_up);
                return Err(match asked {
                    Some(asked) if !asked.is_zero() => error.again_at(self.after(asked)),
                    _ => error,
                });
            }
        };
        let until = Instant::now() + wait;
        let limited = matches!(error.kind(), ErrorKind::RateLimited { .. });
        let shared = limited || asked.is_some();
        if shared {
            traffic.close(&host, until, error.kind());
        }
        if traffic.is_news(&host, error.sort(), until) {
            self.notice(Notice::Retrying {
                host,
                reason: error.in_one_sentence(),
                wait,
                shared,
                attempt: attempts.failed(),
                of: config.retry.tries,
            });
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    /// Sends a request once: with a ticket, with a new one if the registry asks for it, and to a
    /// new address if the one that it redirects to is no longer good.
    pub(super) async fn attempt(&self, call: &Call) -> Result<Answer, Error> {
        let registry = self.base(&call.registry)?;
        let (answer, ticket) = self.let_in(call, &registry).await?;
        let redirected = answer.redirected;
        let judged = self.judge(call, answer, ticket.as_ref()).await;
        if !redirected || !judged.as_ref().is_err_and(is_stale_address) {
            return judged;
        }
        // Addresses with a signature in them run out while a transfer waits its turn.
        let (answer, ticket) = self.let_in(call, &registry).await?;
        self.judge(call, answer, ticket.as_ref()).await
    }

    /// Sends a request, and once more with a new ticket if the registry asks for one.
    async fn let_in(&self, call: &Call, registry: &Url) -> Result<(Answer, Option<Ticket>), Error> {
        let asker = host_of(registry);
        let tickets = &self.inner.tickets;
        let ticket = tickets.current(self, registry, call.door(&asker)).await?;
        let answer = self
            .follow(call.request(ticket.as_ref()), call.errand())
            .await?;
        if answer.status() != StatusCode::UNAUTHORIZED || answer.elsewhere {
            return Ok((answer, ticket));
        }
        let challenges = answer.challenges()?;
        // Read to its end, so that the connection can be used again.
        answer.text(ERROR_BODY).await;
        self.answer(call, registry, &challenges, ticket.as_ref())
            .await
    }

    /// Answers challenges, and sends the request with what that gave.
    async fn answer(
        &self,
        call: &Call,
        registry: &Url,
        challenges: &[Challenge],
        used: Option<&Ticket>,
    ) -> Result<(Answer, Option<Ticket>), Error> {
        call.check_realms(challenges)?;
        let asker = host_of(registry);
        let tickets = &self.inner.tickets;
        let (ticket, new) = tickets
            .answer(self, registry, call.door(&asker), challenges, used)
            .await?;
        let answer = self
            .follow(call.request(Some(&ticket)), call.errand())
            .await?;
        if new || answer.status() != StatusCode::UNAUTHORIZED || answer.elsewhere {
            return Ok((answer, Some(ticket)));
        }
        // What others had fetched may have run out while this request waited its turn.
        let challenges = answer.challenges()?;
        answer.text(ERROR_BODY).await;
        let (ticket, _) = tickets
            .answer(
                self,
                registry,
                call.door(&asker),
                &challenges,
                Some(&ticket),
            )
            .await?;
        let answer = self
            .follow(call.request(Some(&ticket)), call.errand())
            .await?;
        Ok((answer, Some(ticket)))
    }

    /// Sends a request once, without any ticket, whatever the answer is.
    pub(super) async fn bare(&self, call: &Call) -> Result<Answer, Error> {
        self.follow(call.request(None), call.errand()).await
    }

    /// Makes an error of every answer that is no success.
    async fn judge(
        &self,
        call: &Call,
        answer: Answer,
        ticket: Option<&Ticket>,
    ) -> Result<Answer, Error> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let wait = self.retry_after(&answer);
        let login = ticket.map_or(Login::Anonymous, |ticket| ticket.login.clone());
        let (host, url, elsewhere) = (answer.host.clone(), answer.url.clone(), answer.elsewhere);
        let registry = call.registry.clone();
        let diagnosis = Diagnosis::of(&answer.text(ERROR_BODY).await);
        let error: Error = match status.as_u16() {
            401 if !elsewhere && !diagnosis.is_rate_limit() => ErrorKind::Unauthorized {
                asker: host,
                registry,
                scope: call.what.clone(),
                login,
                message: diagnosis.message.or(diagnosis.code),
            }
            .into(),
            // A storage host's word about a signed URL is not the registry's word about the image.
            status @ (401 | 403 | 404 | 410) if elsewhere && !diagnosis.is_rate_limit() => {
                ErrorKind::Storage {
                    host,
                    registry,
                    url,
                    status,
                    message: diagnosis.message.or(diagnosis.code),
                }
                .into()
            }
            _ => diagnosis.error(status, host, url, &call.what, login, wait),
        };
        Err(error.about(&call.what))
    }

    pub(super) fn retry_after(&self, answer: &Answer) -> Option<Duration> {
        let (headers, now) = (&answer.response.headers, self.now());
        let reset = || Quota::of(headers, now)?.resets_after;
        retry_after(headers, now).or_else(|| {
            let limited = answer.status() == StatusCode::TOO_MANY_REQUESTS;
            limited.then(reset).flatten()
        })
    }

    fn for_lane(&self, lane: Lane) -> Self {
        match lane {
            Lane::First => self.clone(),
            Lane::Second => self.uncounted(),
        }
    }

    pub(super) fn silent(&self, host: &str, what: &str, silence: Silence) {
        self.notice(Notice::Silent {
            host: host.to_owned(),
            address: silence.peer,
            what: what.to_owned(),
            lasted: silence.lasted,
            patience: self.inner.config.retry.patience,
        });
    }

    pub(super) fn after(&self, wait: Duration) -> Timestamp {
        let now = self.now();
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        now.checked_add(wait).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.config.fmt(f)
    }
}

/// The most bytes of an error's body that are read.
pub(super) const ERROR_BODY: usize = 64 * 1024;

/// Returns host and port as an error shows them.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Returns whether a URL leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// Returns whether an address that a registry redirected to may have been good before.
fn is_stale_address(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Storage { status, .. } => *status != 404,
        // Where the registry redirects to itself, it says so in its own way.
        ErrorKind::Denied { .. } | ErrorKind::Refused { status: 410, .. } => true,
        // A bad request is one for other reasons too, for instance because of its range.
        ErrorKind::Refused {
            status: 400,
            code,
            message,
            ..
        } => [code, message].into_iter().flatten().any(|words| {
            let words = words.to_ascii_lowercase();
            words.contains("expired") || words.contains("expiry")
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_in_every_spelling() {
        for (url, local) in [
            ("http://localhost:5000/", true),
            ("http://127.0.0.9/", true),
            ("http://[::1]:5000/", true),
            ("http://localhost.example/", false),
            ("http://128.0.0.1/", false),
            ("http://0.0.0.0/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), local, "{url}");
        }
    }
}
