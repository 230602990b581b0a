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
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::challenge::Challenge;
use super::credentials::Credentials;
use super::delay::retry_after;
use super::diagnosis::Diagnosis;
use super::error::{Error, ErrorKind, GaveUp, Login};
use super::hedge::{Lane, Pulse, Silence, hedged};
use super::hosts::{Hosts, Role};
use super::named::{Errand, Met};
use super::quota::Quota;
use super::reference::api_host;
pub(super) use super::retry::Attempts;
use super::retry::RetryPolicy;
use super::token::{Door, Ticket, Tickets};
use super::traffic::{Closed, Slot, Traffic};
use crate::clock::Clock;
use crate::net;

/// What a transport is made of.
#[derive(Clone)]
pub struct Config {
    /// The HTTP client; its log counts every request.
    pub http: net::Client,
    /// The credentials of the run.
    pub credentials: Credentials,
    /// Registries, as written in references, that are spoken to without TLS (`true`) or with it
    /// (`false`). Of those that are not named, loopback addresses are spoken to without.
    pub plain_http: BTreeMap<String, bool>,
    /// The hosts that registries may name, besides those of the table.
    pub hosts: Hosts,
    /// The wall clock, for dates in `Retry-After`.
    pub clock: Clock,
    /// How often and how patiently requests are repeated.
    pub retry: RetryPolicy,
    /// How many requests to one host may be under way at once, whatever they are for.
    pub requests_per_host: usize,
    /// Told of waits and warnings.
    pub notices: Arc<dyn Fn(Notice) + Send + Sync>,
}

impl Config {
    /// Makes a configuration without credentials, with the default patience and no listener.
    #[must_use]
    pub fn new(http: net::Client, clock: Clock) -> Self {
        Self {
            http,
            credentials: Credentials::none(),
            plain_http: BTreeMap::new(),
            hosts: Hosts::default(),
            clock,
            retry: RetryPolicy::default(),
            requests_per_host: REQUESTS_PER_HOST,
            notices: Arc::new(|_| ()),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("credentials", &self.credentials)
            .field("plain_http", &self.plain_http)
            .field("retry", &self.retry)
            .field("requests_per_host", &self.requests_per_host)
            .finish_non_exhaustive()
    }
}

/// Something that the reader of the run should know while it goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A host allows few further requests. Told once a host.
    QuotaLow {
        /// The host, with its port.
        host: String,
        /// What it said.
        quota: Quota,
    },
    /// A request failed and is sent again after a pause. Told once, however many requests to the
    /// host wait for the same reason.
    Retrying {
        /// The host that was asked.
        host: String,
        /// Why, in one sentence.
        reason: String,
        /// The pause.
        wait: Duration,
        /// Whether all requests to the host wait, because it limits their rate or named a time.
        shared: bool,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The most attempts that there will be, if none of them is told when to come again.
        of: u32,
    },
    /// A host sends nothing. Told when a second connection is tried, and every 30 s from then on.
    Silent {
        /// The host, with its port.
        host: String,
        /// What it was asked for.
        what: String,
        /// How long nothing came.
        lasted: Duration,
        /// How long nothing may come before the request has failed.
        patience: Duration,
    },
    /// Something is not as it should be, and nothing fails because of it.
    Warning {
        /// One sentence.
        message: String,
    },
}

/// Sends requests to registries; clones share tokens, connections and the wait for a host.
#[derive(Clone)]
pub(super) struct Transport {
    inner: Arc<Inner>,
    /// When whoever asks has no use for an answer any more.
    deadline: Option<Instant>,
    /// Whether requests need a slot of their host.
    counted: bool,
}

struct Inner {
    config: Config,
    tickets: Tickets,
    traffic: Traffic,
    met: Met,
}

/// One request, apart from who is asked and who asks.
#[derive(Clone)]
pub(super) struct Call {
    /// The registry as written in references.
    pub(super) registry: String,
    /// The method.
    pub(super) method: Method,
    /// The URL.
    pub(super) url: Url,
    /// The value of `Accept`.
    pub(super) accept: Option<HeaderValue>,
    /// The scope to ask a token for, if the registry names none.
    pub(super) scope: String,
    /// What is asked for, in words.
    pub(super) what: String,
}

impl Transport {
    pub(super) fn new(config: Config) -> Self {
        Self {
            inner: Arc::new(Inner {
                tickets: Tickets::default(),
                traffic: Traffic::new(config.requests_per_host),
                met: Met::default(),
                config,
            }),
            deadline: None,
            counted: true,
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
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut attempts = Attempts::default();
        loop {
            // The silence before the head is minded where the request is sent.
            let pulse = Pulse::resting();
            let read = |lane| {
                let (transport, pulse) = (self.for_lane(lane), pulse.clone());
                async move {
                    let mut answer = transport.attempt(call).await?;
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
            match hedged(self.inner.config.retry.stall, &pulse, read, tell).await {
                Ok(read) => return Ok(read),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
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
        if traffic.is_news(&host, sort(&error), until) {
            self.notice(Notice::Retrying {
                host,
                reason: explain(&error),
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
        let stale = answer.is_stale_redirect();
        let judged = self.judge(call, answer, ticket.as_ref()).await;
        let limited = |error: &Error| error.retry_after().is_some() || error.is_retryable();
        if !stale || judged.as_ref().is_err_and(limited) {
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

    /// Sends a request and follows redirects; `Authorization` goes to the first origin alone.
    /// Hosts other than the registry's own were named by it, for what the errand says.
    pub(super) async fn follow(
        &self,
        mut request: net::Request,
        errand: Errand<'_>,
    ) -> Result<Answer, Error> {
        request
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request.timeouts.first_byte = Some(self.inner.config.retry.patience);
        let (mut redirected, mut elsewhere) = (false, false);
        for _ in 0..=MOST_REDIRECTS {
            let host = host_of(&request.url);
            let url = net::redact(&request.url);
            let (response, slot) = self.hop(&request, &host, errand).await?;
            self.meet(errand.registry, errand.role, &request.url);
            let answer = Answer {
                response,
                host,
                url,
                what: errand.what.to_owned(),
                redirected,
                elsewhere,
                _slot: slot,
            };
            self.learn(&answer);
            let may_follow = request.method == Method::GET || request.method == Method::HEAD;
            let Some(location) = answer.redirect().filter(|_| may_follow) else {
                return Ok(answer);
            };
            let target = check_redirect(&request.url, &location).map_err(|(to, reason)| {
                ErrorKind::Redirect {
                    host: answer.host.clone(),
                    url: answer.url.clone(),
                    to,
                    reason,
                }
            })?;
            answer.text(ERROR_BODY).await;
            redirected = true;
            if target.origin() != request.url.origin() {
                elsewhere = true;
                request.headers.remove(AUTHORIZATION);
            }
            request.url = target;
        }
        Err(ErrorKind::Redirect {
            host: host_of(&request.url),
            url: net::redact(&request.url),
            to: net::redact(&request.url),
            reason: format!("there were more than {MOST_REDIRECTS} redirects"),
        }
        .into())
    }

    /// Sends a request to one host; while it is silent, on a second connection too.
    async fn hop(
        &self,
        request: &net::Request,
        host: &str,
        errand: Errand<'_>,
    ) -> Result<(net::Response, Option<Slot>), Error> {
        let what = errand.what;
        let Inner {
            config, traffic, ..
        } = &*self.inner;
        let limit = self.limit();
        let slot = if self.counted {
            traffic.enter(host, limit).await.map(Some)
        } else {
            traffic.pass(host, limit).await.map(|()| None)
        };
        let slot = slot.map_err(|closed| self.closed(closed).about(what))?;
        let send = |lane| async move {
            if lane == Lane::Second {
                let passed = traffic.pass(host, limit).await;
                passed.map_err(|closed| self.closed(closed))?;
            }
            let sent = self.http().send(request.clone()).await;
            sent.map_err(|source| {
                self.unreachable(errand.registry, errand.role, &request.url, source)
            })
        };
        let safe = request.method == Method::GET || request.method == Method::HEAD;
        let response = if safe {
            let tell = |silence| self.silent(host, what, silence);
            hedged(config.retry.stall, &Pulse::beating(), send, tell).await
        } else {
            // Twice the same POST may be one too many.
            send(Lane::First).await
        };
        Ok((response.map_err(|error| error.about(what))?, slot))
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
            401 if !elsewhere => ErrorKind::Unauthorized {
                asker: host,
                registry,
                scope: call.what.clone(),
                login,
                message: diagnosis.message.or(diagnosis.code),
            }
            .into(),
            // A storage host's word about a signed URL is not the registry's word about the image.
            status @ (400..=404 | 410) if elsewhere && !diagnosis.is_rate_limit() => {
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

    /// Returns the latest time that a request may begin at.
    fn limit(&self) -> Instant {
        let own = Instant::now() + self.inner.config.retry.budget;
        self.deadline.map_or(own, |deadline| deadline.min(own))
    }

    /// Makes the error of a host that was told by someone else to be left alone for too long.
    fn closed(&self, closed: Closed) -> Error {
        let wait = closed.until.saturating_duration_since(Instant::now());
        let mut kind = closed.kind;
        if let ErrorKind::RateLimited { retry_after, .. } | ErrorKind::Refused { retry_after, .. } =
            &mut kind
        {
            *retry_after = Some(wait);
        }
        let late = self
            .deadline
            .is_some_and(|deadline| closed.until > deadline);
        let gave_up = if late {
            GaveUp::Deadline
        } else {
            GaveUp::Budget
        };
        Error::from(kind)
            .tried(0, Some(gave_up))
            .again_at(self.after(wait))
    }

    fn for_lane(&self, lane: Lane) -> Self {
        match lane {
            Lane::First => self.clone(),
            Lane::Second => self.uncounted(),
        }
    }

    fn silent(&self, host: &str, what: &str, silence: Silence) {
        self.notice(Notice::Silent {
            host: host.to_owned(),
            what: what.to_owned(),
            lasted: silence.lasted,
            patience: self.inner.config.retry.patience,
        });
    }

    fn learn(&self, answer: &Answer) {
        let now = self.now();
        if let Some(quota) = Quota::of(&answer.response.headers, now)
            && self.inner.traffic.learn(&answer.host, quota.clone())
        {
            let host = answer.host.clone();
            self.notice(Notice::QuotaLow { host, quota });
        }
    }

    fn after(&self, wait: Duration) -> Timestamp {
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

impl Call {
    fn door<'a>(&'a self, asker: &'a str) -> Door<'a> {
        Door {
            registry: &self.registry,
            host: asker,
            scope: &self.scope,
        }
    }

    fn errand(&self) -> Errand<'_> {
        Errand {
            registry: &self.registry,
            role: Role::Blobs,
            what: &self.what,
        }
    }

    fn request(&self, ticket: Option<&Ticket>) -> net::Request {
        let mut request = net::Request::new(self.method.clone(), self.url.clone());
        if let Some(accept) = &self.accept {
            request.headers.insert(ACCEPT, accept.clone());
        }
        if let Some(ticket) = ticket {
            request.headers.insert(AUTHORIZATION, ticket.header.clone());
        }
        request
    }
}

/// The most bytes of an error's body that are read.
pub(super) const ERROR_BODY: usize = 64 * 1024;
const MOST_REDIRECTS: usize = 5;
/// As many connections as the client keeps open to a host between requests.
const REQUESTS_PER_HOST: usize = 16;

/// Returns where a redirect leads, or where it would and why it is not followed.
fn check_redirect(from: &Url, location: &str) -> Result<Url, (String, String)> {
    let unreadable = || {
        (
            "an unreadable address".to_owned(),
            "it is no URL".to_owned(),
        )
    };
    let target = from.join(location).map_err(|_| unreadable())?;
    if target.host_str().is_none() {
        return Err(unreadable());
    }
    let refuse = |reason: &str| Err((net::redact(&target), reason.to_owned()));
    match (from.scheme(), target.scheme()) {
        ("https", "http") => refuse("it would leave TLS"),
        (_, "http" | "https") if !target.username().is_empty() || target.password().is_some() => {
            refuse("it has a user in it")
        }
        (_, "http" | "https") => Ok(target),
        _ => refuse("it is not http or https"),
    }
}

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

/// Returns what failures have in common that are one piece of news.
fn sort(error: &Error) -> String {
    match error.kind() {
        ErrorKind::RateLimited { .. } => "rate".into(),
        ErrorKind::Refused { status, .. } => status.to_string(),
        ErrorKind::Unreachable { source, .. } => source
            .phase()
            .map_or("unreachable", net::Phase::name)
            .into(),
        kind => kind.to_string(),
    }
}

/// Returns an error with its nearest cause, in one sentence.
fn explain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Unreachable { source, .. } => source.to_string(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_that_are_not_followed() {
        let check = |from: &str, to: &str| check_redirect(&Url::parse(from).unwrap(), to);
        assert_eq!(
            check("https://r/v2/a?x=1", "/b").unwrap().as_str(),
            "https://r/b"
        );
        assert!(check("http://r/", "https://cdn/x").is_ok());
        for (from, to) in [
            ("https://r/", "http://r/"),
            ("https://r/", "file:///etc/passwd"),
            ("https://r/", "https://me:pw@cdn/"),
            ("https://r/", "https://"),
        ] {
            let (shown, _) = check(from, to).unwrap_err();
            assert!(!shown.contains("pw"), "{shown}");
        }
    }

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
