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
use url::Url;

use super::answer::Answer;
use super::challenge::Challenge;
use super::credentials::Credentials;
use super::diagnosis::Diagnosis;
use super::error::{Error, ErrorKind, Login};
use super::hosts::{Hosts, Role};
use super::named::Met;
use super::reference::api_host;
use super::retry::{Limiter, RetryPolicy, retry_after};
use super::token::{Ticket, Tickets};
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
            .finish_non_exhaustive()
    }
}

/// Something that the reader of the run should know while it goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A registry asked who we are, and was satisfied; told once for each registry and login.
    Login {
        /// The registry as written in references.
        registry: String,
        /// Who we were.
        login: Login,
    },
    /// A request failed and is sent again after a pause.
    Retrying {
        /// Why, in one sentence.
        reason: String,
        /// The pause.
        wait: Duration,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The most attempts that there will be.
        of: u32,
    },
    /// Something is not as it should be, and nothing fails because of it.
    Warning {
        /// One sentence.
        message: String,
    },
}

/// Sends requests to registries; clones share tokens and connections.
#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    config: Config,
    tickets: Tickets,
    limiter: Limiter,
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

/// Counts the attempts of one request.
#[derive(Default)]
pub(super) struct Attempts(u32);

impl Transport {
    pub(super) fn new(config: Config) -> Self {
        Self(Arc::new(Inner {
            config,
            tickets: Tickets::default(),
            limiter: Limiter::default(),
            met: Met::default(),
        }))
    }

    pub(super) fn http(&self) -> &net::Client {
        &self.0.config.http
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.0.config.credentials
    }

    pub(super) fn hosts(&self) -> &Hosts {
        &self.0.config.hosts
    }

    pub(super) fn met(&self) -> &Met {
        &self.0.met
    }

    pub(super) fn notice(&self, notice: Notice) {
        (self.0.config.notices)(notice);
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
        let said = self.0.config.plain_http.get(registry).copied();
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
                self.answer(call, &registry, challenges, None).await
            };
            match answered.await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Sends a request and reads its whole body, as [`Transport::send`] does.
    pub(super) async fn read(
        &self,
        call: &Call,
        limit: u64,
    ) -> Result<(HeaderMap, Bytes, String), Error> {
        let mut attempts = Attempts::default();
        loop {
            let read = async {
                let answer = self.attempt(call).await?;
                let headers = answer.response.headers.clone();
                let host = answer.host.clone();
                let bytes = answer
                    .bytes(usize::try_from(limit).unwrap_or(usize::MAX), &call.what)
                    .await?;
                Ok((headers, bytes, host))
            };
            match read.await {
                Ok(read) => return Ok(read),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Waits before the next attempt, or gives the error back if there is none.
    pub(super) async fn pause(&self, attempts: &mut Attempts, error: Error) -> Result<(), Error> {
        attempts.0 += 1;
        let policy = &self.0.config.retry;
        let Some(wait) = policy.pause(attempts.0, &error) else {
            return Err(error);
        };
        self.notice(Notice::Retrying {
            reason: explain(&error),
            wait,
            attempt: attempts.0,
            of: policy.tries,
        });
        if let ErrorKind::RateLimited { host, .. } = error.kind() {
            self.0.limiter.close(host, wait);
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Sends a request once: with a ticket, and with a new one if the registry asks for it.
    pub(super) async fn attempt(&self, call: &Call) -> Result<Answer, Error> {
        let registry = self.base(&call.registry)?;
        let slot = self.0.tickets.slot(&host_of(&registry), &call.scope);
        let ticket = slot.current(self, &registry, &call.registry).await?;
        let answer = self.ask(call, ticket.as_ref()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || answer.elsewhere {
            return self.judge(call, answer, ticket.as_ref()).await;
        }
        let challenges = answer.challenges()?;
        // Read to its end, so that the connection can be used again.
        answer.text(ERROR_BODY).await;
        self.answer(call, &registry, &challenges, ticket.as_ref())
            .await
    }

    /// Answers challenges, and sends the request with what that gave.
    async fn answer(
        &self,
        call: &Call,
        registry: &Url,
        challenges: &[Challenge],
        used: Option<&Ticket>,
    ) -> Result<Answer, Error> {
        let slot = self.0.tickets.slot(&host_of(registry), &call.scope);
        let ticket = slot
            .answer(
                self,
                registry,
                &call.registry,
                &call.scope,
                challenges,
                used,
            )
            .await?;
        let answer = self.ask(call, Some(&ticket)).await?;
        self.judge(call, answer, Some(&ticket)).await
    }

    /// Sends a request once, without any ticket, whatever the answer is.
    pub(super) async fn bare(&self, call: &Call) -> Result<Answer, Error> {
        self.ask(call, None).await
    }

    async fn ask(&self, call: &Call, ticket: Option<&Ticket>) -> Result<Answer, Error> {
        self.follow(call.request(ticket), &call.registry, Role::Blobs)
            .await
    }

    /// Sends a request and follows redirects; `Authorization` goes to the first origin alone.
    /// Hosts other than the registry's own were named by it, for what `role` says.
    pub(super) async fn follow(
        &self,
        mut request: net::Request,
        registry: &str,
        role: Role,
    ) -> Result<Answer, Error> {
        request
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut elsewhere = false;
        for _ in 0..=MOST_REDIRECTS {
            let host = host_of(&request.url);
            let url = net::redact(&request.url);
            self.0.limiter.pass(&host).await;
            let sent = self.http().send(request.clone()).await;
            let response =
                sent.map_err(|source| self.unreachable(registry, role, &request.url, source))?;
            self.meet(registry, role, &request.url);
            let answer = Answer {
                response,
                host,
                url,
                elsewhere,
            };
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
        let diagnosis = Diagnosis::of(&answer.text(ERROR_BODY).await);
        Err(match status.as_u16() {
            401 if !elsewhere => ErrorKind::Unauthorized {
                asker: host,
                registry: call.registry.clone(),
                scope: call.what.clone(),
                login,
                message: diagnosis.message.or(diagnosis.code),
            }
            .into(),
            // A storage host's word about a signed URL is not the registry's word about the image.
            404 if elsewhere => ErrorKind::Refused {
                host,
                url,
                status: 404,
                code: diagnosis.code,
                message: diagnosis.message,
                retry_after: None,
            }
            .into(),
            _ => diagnosis.error(status, host, url, &call.what, login, wait),
        })
    }

    pub(super) fn retry_after(&self, answer: &Answer) -> Option<Duration> {
        retry_after(&answer.response.headers, self.0.config.clock.now())
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.config.fmt(f)
    }
}

impl Call {
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
