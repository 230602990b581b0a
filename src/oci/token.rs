//! Answers to challenges: Basic, and the token flow of the distribution project.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::challenge::Challenge;
use super::credentials::{Credential, Found, Refusal, Secret};
use super::diagnosis::Diagnosis;
use super::error::{Error, ErrorKind, Login};
use super::hosts::{Place, Role};
use super::transport::{ERROR_BODY, Notice, Transport, host_of, is_loopback};
use crate::net;

/// What lets a request in.
#[derive(Clone)]
pub(super) struct Ticket {
    /// The value of `Authorization`, marked as sensitive.
    pub(super) header: HeaderValue,
    /// Whose it is.
    pub(super) login: Login,
    expires: Option<Instant>,
    /// Tells a ticket from the one that replaced it.
    serial: u64,
}

/// The tickets of a run, by registry host and scope.
#[derive(Default)]
pub(super) struct Tickets(Mutex<HashMap<(String, String), Arc<Slot>>>);

/// One host and scope; who holds the lock fetches, all others wait for the outcome.
#[derive(Default)]
pub(super) struct Slot(tokio::sync::Mutex<State>);

#[derive(Default)]
struct State {
    /// The repository that the scope is about: a login may be for it alone.
    repository: Option<String>,
    way: Option<Way>,
    ticket: Option<Ticket>,
    serial: u64,
    /// A refusal is not asked for again at once by everyone who waited: that locks accounts.
    refused: Option<(Instant, ErrorKind)>,
}

/// How a host wants to be convinced.
#[derive(Clone, Eq, PartialEq)]
enum Way {
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
        scope: String,
    },
}

impl Tickets {
    pub(super) fn slot(&self, host: &str, scope: &str) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots
            .entry((host.to_owned(), scope.to_owned()))
            .or_insert_with(|| Arc::new(Slot::of(scope)))
            .clone()
    }
}

impl Slot {
    fn of(scope: &str) -> Self {
        let repository = scope
            .strip_prefix("repository:")
            .and_then(|rest| rest.rsplit_once(':'))
            .map(|(path, _)| path.to_owned());
        Self(tokio::sync::Mutex::new(State {
            repository,
            ..State::default()
        }))
    }

    /// Returns a ticket that is known to be good, renewing one that ran out.
    pub(super) async fn current(
        &self,
        transport: &Transport,
        registry: &Url,
        host: &str,
    ) -> Result<Option<Ticket>, Error> {
        let mut state = self.0.lock().await;
        match (&state.ticket, state.way.clone()) {
            (Some(ticket), _) if !ticket.is_over() => Ok(Some(ticket.clone())),
            (Some(_), Some(way)) => state.fetch(transport, registry, host, way).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Answers the challenges of a 401 that came although, or because, `used` was sent.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        registry: &Url,
        host: &str,
        scope: &str,
        challenges: &[Challenge],
        used: Option<&Ticket>,
    ) -> Result<Ticket, Error> {
        let mut state = self.0.lock().await;
        if let Some(ticket) = &state.ticket
            && Some(ticket.serial) != used.map(|used| used.serial)
            && !ticket.is_over()
        {
            return Ok(ticket.clone());
        }
        if let Some((at, refusal)) = &state.refused
            && at.elapsed() < REFUSAL_HOLDS
        {
            return Err(refusal.clone().into());
        }
        let way = Way::choose(challenges, scope, registry, host)?;
        state.fetch(transport, registry, host, way).await
    }
}

impl State {
    async fn fetch(
        &mut self,
        transport: &Transport,
        registry: &Url,
        host: &str,
        way: Way,
    ) -> Result<Ticket, Error> {
        self.way = Some(way.clone());
        self.ticket = None;
        let repository = self.repository.as_deref();
        let lookup = transport.credentials().lookup(host, repository).await;
        let found = lookup.found.as_ref();
        for message in lookup.warnings {
            transport.notice(Notice::Warning { message });
        }
        if let (Some(refusal), Way::Bearer { .. }) = (&lookup.refusal, &way) {
            let message = format!("{}; going on without it", refusal.reason);
            transport.notice(Notice::Warning { message });
        }
        let fetched = match &way {
            Way::Basic => basic(host, found, lookup.refusal.as_ref()),
            Way::Bearer {
                realm,
                service,
                scope,
            } => {
                let ask = Ask {
                    transport,
                    registry,
                    host,
                    realm,
                    service: service.as_deref(),
                    scope,
                };
                match (ask.bearer(found).await, found) {
                    // Nobody asked for this login: what is public must not need it.
                    (Err(error), Some(found))
                        if found.automatic && repository.is_some() && is_refusal(&error) =>
                    {
                        let anonymous = ask.bearer(None).await;
                        if anonymous.is_ok() {
                            let message = format!("{error}; going on without it");
                            transport.notice(Notice::Warning { message });
                        }
                        anonymous
                    }
                    (answer, _) => answer,
                }
            }
        };
        match fetched {
            Ok((header, login, expires)) => {
                if transport.credentials().note(host, &login) {
                    transport.notice(Notice::Login {
                        registry: host.to_owned(),
                        login: login.clone(),
                    });
                }
                self.serial += 1;
                self.refused = None;
                let ticket = Ticket {
                    header,
                    login,
                    expires,
                    serial: self.serial,
                };
                self.ticket = Some(ticket.clone());
                Ok(ticket)
            }
            Err(error) => {
                if is_refusal(&error) {
                    self.refused = Some((Instant::now(), error.kind().clone()));
                }
                Err(error)
            }
        }
    }
}

impl Ticket {
    fn is_over(&self) -> bool {
        self.expires.is_some_and(|at| at <= Instant::now())
    }
}

impl Way {
    fn choose(
        challenges: &[Challenge],
        scope: &str,
        registry: &Url,
        host: &str,
    ) -> Result<Self, Error> {
        if let Some(bearer) = challenges.iter().find(|c| c.scheme == "bearer") {
            let realm = bearer.parameter("realm").unwrap_or_default();
            let realm = check_realm(realm, registry).map_err(|reason| ErrorKind::UnsafeLogin {
                host: host.to_owned(),
                reason,
            })?;
            return Ok(Self::Bearer {
                realm,
                service: bearer.parameter("service").map(str::to_owned),
                // Registries behind path-rewriting proxies know their scope better than we do.
                scope: bearer.parameter("scope").unwrap_or(scope).to_owned(),
            });
        }
        if challenges.iter().any(|c| c.scheme == "basic") {
            return Ok(Self::Basic);
        }
        let schemes: Vec<_> = challenges.iter().map(|c| c.scheme.as_str()).collect();
        Err(ErrorKind::UnsafeLogin {
            host: host.to_owned(),
            reason: match schemes[..] {
                [] => "it answered 401 without a challenge".into(),
                _ => format!("it wants {}, not Bearer or Basic", schemes.join(" or ")),
            },
        }
        .into())
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unauthorized { .. })
}

type Granted = (HeaderValue, Login, Option<Instant>);

fn basic(host: &str, found: Option<&Found>, refusal: Option<&Refusal>) -> Result<Granted, Error> {
    match (found, refusal) {
        (None, Some(refusal)) => Err(ErrorKind::NoLogin {
            registry: host.to_owned(),
            reason: refusal.reason.clone(),
            hint: refusal.hint.clone(),
        }
        .into()),
        (
            Some(
                found @ Found {
                    credential: Credential::Basic { username, password },
                    ..
                },
            ),
            _,
        ) => Ok((
            basic_header(username, password),
            found.login(),
            found.expires,
        )),
        (other, _) => Err(ErrorKind::Unauthorized {
            asker: host.to_owned(),
            registry: host.to_owned(),
            scope: "the registry".into(),
            login: other.map_or(Login::Anonymous, Found::login),
            message: other.map(|_| "it takes a name and a password, no token".into()),
        }
        .into()),
    }
}

/// One request to a token service.
struct Ask<'a> {
    transport: &'a Transport,
    registry: &'a Url,
    host: &'a str,
    realm: &'a Url,
    service: Option<&'a str>,
    scope: &'a str,
}

impl Ask<'_> {
    async fn bearer(&self, found: Option<&Found>) -> Result<Granted, Error> {
        let login = found.map_or(Login::Anonymous, Found::login);
        self.check_service(found)?;
        let request = match found.map(|found| &found.credential) {
            Some(Credential::RegistryToken(token)) => {
                return Ok((self.bearer_header(token.expose())?, login, None));
            }
            Some(Credential::IdentityToken(token)) => self.refresh(token),
            Some(Credential::Basic { username, password }) => {
                let mut request = self.get();
                request
                    .headers
                    .insert(AUTHORIZATION, basic_header(username, password));
                request
            }
            None => self.get(),
        };
        let begun = Instant::now();
        let answer = self
            .transport
            .follow(request, self.host, Role::Token)
            .await?;
        let status = answer.status();
        let wait = self.transport.retry_after(&answer);
        let (asker, url) = (answer.host.clone(), answer.url.clone());
        if !status.is_success() {
            let diagnosis = Diagnosis::of(&answer.text(ERROR_BODY).await);
            return Err(match status.as_u16() {
                // Here a 404 says nothing about the image.
                401 | 403 if !diagnosis.is_rate_limit() => ErrorKind::Unauthorized {
                    asker,
                    registry: self.host.to_owned(),
                    scope: self.scope_for_people(),
                    login,
                    message: diagnosis.message.or(diagnosis.code),
                }
                .into(),
                404 => ErrorKind::Refused {
                    host: asker,
                    url,
                    status: 404,
                    code: diagnosis.code,
                    message: diagnosis.message,
                    retry_after: None,
                }
                .into(),
                _ => diagnosis.error(status, asker, url, "a token", login, wait),
            });
        }
        let body = answer.bytes(TOKEN_BODY, "the token").await?;
        let malformed = |reason: &str| ErrorKind::Malformed {
            host: asker.clone(),
            url: url.clone(),
            reason: reason.into(),
        };
        let granted: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| malformed("the token service's answer is not the JSON of a token"))?;
        let token = [granted.token, granted.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(|| malformed("the token service's answer has no token"))?;
        self.transport
            .credentials()
            .learn(&Secret::new(token.as_str()));
        let lasts = Duration::from_secs(
            granted
                .expires_in
                .filter(|s| *s > 0)
                .unwrap_or(DEFAULT_LIFE),
        );
        // A request takes time, and clocks differ: a tenth is left unused.
        let expires = begun.checked_add(lasts.mul_f64(0.9));
        Ok((self.bearer_header(&token)?, login, expires))
    }

    /// Refuses to send credentials to a service that neither is on the registry's site nor listed.
    fn check_service(&self, found: Option<&Found>) -> Result<(), Error> {
        let sends =
            found.is_some_and(|found| !matches!(found.credential, Credential::RegistryToken(_)));
        let hosts = self.transport.hosts();
        match Place::of(self.realm) {
            Some(service) if sends && !hosts.trusts(self.host, self.registry, self.realm) => {
                Err(ErrorKind::ForeignLogin {
                    registry: self.host.to_owned(),
                    service,
                }
                .into())
            }
            _ => Ok(()),
        }
    }

    fn get(&self) -> net::Request {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = self.service {
                query.append_pair("service", service);
            }
            for scope in self.scope.split_ascii_whitespace() {
                query.append_pair("scope", scope);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        net::Request::get(url)
    }

    /// The OAuth2 form of the flow, which is the only one for identity tokens.
    fn refresh(&self, token: &Secret) -> net::Request {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "shipgate")
            .append_pair("refresh_token", token.expose());
        if let Some(service) = self.service {
            form.append_pair("service", service);
        }
        if !self.scope.is_empty() {
            form.append_pair("scope", self.scope);
        }
        net::Request::new(Method::POST, self.realm.clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            .body(Bytes::from(form.finish()))
    }

    fn bearer_header(&self, token: &str) -> Result<HeaderValue, Error> {
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            ErrorKind::Malformed {
                host: host_of(self.realm),
                url: net::redact(self.registry),
                reason: "the token has characters that no header may have".into(),
            }
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn scope_for_people(&self) -> String {
        if self.scope.is_empty() {
            "the registry".into()
        } else {
            self.scope.chars().take(200).collect()
        }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// The distribution project's default, in seconds.
const DEFAULT_LIFE: u64 = 60;
const TOKEN_BODY: usize = 256 * 1024;
const REFUSAL_HOLDS: Duration = Duration::from_secs(10);

/// Takes the address of a token service, if credentials may go there.
///
/// Never in the clear, unless the registry itself is spoken to in the clear: an https registry
/// that names an http realm would undo what TLS is for, on whatever host.
fn check_realm(realm: &str, registry: &Url) -> Result<Url, String> {
    let shown: String = realm.chars().take(200).collect();
    let url = Url::parse(realm).map_err(|_| format!("its token service `{shown}` is no URL"))?;
    let both_local = is_loopback(&url) && is_loopback(registry);
    match url.scheme() {
        _ if url.host_str().is_none() => Err(format!("its token service `{shown}` is no URL")),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("its token service's URL has a user in it".into())
        }
        "https" => Ok(url),
        "http" if registry.scheme() == "http" || both_local => Ok(url),
        "http" => Err(format!(
            "its token service {} is not https, so credentials would travel in the clear",
            net::redact(&url)
        )),
        other => Err(format!("its token service has the scheme `{other}`")),
    }
}

fn basic_header(username: &str, password: &Secret) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{}", password.expose()));
    let mut header = HeaderValue::from_str(&format!("Basic {encoded}"))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_travel_in_the_clear_for_a_tls_registry() {
        let check = |realm: &str, registry: &str| {
            check_realm(realm, &Url::parse(registry).unwrap()).is_ok()
        };
        let tls = "https://r.example/v2/";
        assert!(check("https://auth.example/token", tls));
        assert!(!check("http://auth.example/token", tls));
        assert!(!check("http://r.example/token", tls));
        assert!(!check("http://127.0.0.1:9/token", tls));
        assert!(check(
            "http://127.0.0.1:9/token",
            "https://localhost:5000/v2/"
        ));
        assert!(check("http://auth.example/token", "http://r.example/v2/"));
        for odd in [
            "",
            "token",
            "ftp://a/",
            "https://me:pw@a/",
            "file:///etc/passwd",
            "data:x",
        ] {
            assert!(!check(odd, "http://r.example/v2/"), "{odd}");
        }
    }
}
