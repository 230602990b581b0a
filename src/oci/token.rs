//! Answers to challenges: Basic, and the token flow of the distribution project.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use tokio::time::Instant;
use url::Url;

use super::call::Door;
use super::challenge::Challenge;
use super::config::Notice;
use super::credentials::{Credential, Found, Refusal, Secret};
use super::delay::server_time;
use super::diagnosis::Diagnosis;
use super::error::{Error, ErrorKind, Login};
use super::hedge::Pulse;
use super::hosts::{Place, Role};
use super::named::Errand;
use super::realm::check_realm;
use super::token_answer::{TokenAnswer, joined};
use super::transport::{ERROR_BODY, Transport, host_of};
use crate::net;

/// What lets a request in.
#[derive(Clone)]
pub(super) struct Ticket {
    /// The value of `Authorization`, marked as sensitive.
    pub(super) header: HeaderValue,
    /// Whose it is.
    pub(super) login: Login,
    expires: Option<Instant>,
    serial: u64,
}

/// The tickets of a run.
#[derive(Default)]
pub(super) struct Tickets {
    known: Mutex<Known>,
    /// Tells a ticket from the one that replaced it.
    serial: AtomicU64,
}

#[derive(Default)]
struct Known {
    /// How a host wants to be convinced, by the scope that was asked for.
    ways: HashMap<(String, String), Way>,
    /// Where the tickets are, by host and way: scopes that a registry makes one are one. Where logins are for
    /// some repositories only, each repository has its own.
    desks: HashMap<(String, Way, Option<String>), Arc<Desk>>,
}

/// Where one ticket is kept; who holds the lock fetches it, all others wait for the outcome.
type Desk = tokio::sync::Mutex<State>;

#[derive(Default)]
struct State {
    ticket: Option<Ticket>,
    /// A refusal is not asked for again at once by everyone who waited: that locks accounts.
    refused: Option<(Instant, ErrorKind)>,
}

/// How a host wants to be convinced.
#[derive(Clone, Eq, Hash, PartialEq)]
enum Way {
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
        scope: String,
    },
}

impl Tickets {
    /// Returns a ticket that is known to be good, renewing one that ran out.
    pub(super) async fn current(
        &self,
        transport: &Transport,
        registry: &Url,
        door: Door<'_>,
    ) -> Result<Option<Ticket>, Error> {
        let way = {
            let known = self.known();
            let place = (door.host.to_owned(), door.scope.to_owned());
            let Some(way) = known.ways.get(&place) else {
                return Ok(None);
            };
            way.clone()
        };
        let desk = self.desk(transport, door, &way);
        let mut state = desk.lock().await;
        match &state.ticket {
            Some(ticket) if !ticket.is_over() => Ok(Some(ticket.clone())),
            Some(_) => self
                .fetch(&mut state, transport, registry, door, &way)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// Answers the challenges of a 401 that came although, or because, `used` was sent; says
    /// whether the ticket is new, and not one that others had fetched before.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        registry: &Url,
        door: Door<'_>,
        challenges: &[Challenge],
        used: Option<&Ticket>,
    ) -> Result<(Ticket, bool), Error> {
        let way = Way::choose(challenges, registry, door)?;
        let place = (door.host.to_owned(), door.scope.to_owned());
        self.known().ways.insert(place, way.clone());
        let desk = self.desk(transport, door, &way);
        let mut state = desk.lock().await;
        if let Some(ticket) = &state.ticket
            && Some(ticket.serial) != used.map(|used| used.serial)
            && !ticket.is_over()
        {
            return Ok((ticket.clone(), false));
        }
        if let Some((at, refusal)) = &state.refused
            && at.elapsed() < REFUSAL_HOLDS
        {
            return Err(refusal.clone().into());
        }
        let fetched = self.fetch(&mut state, transport, registry, door, &way);
        Ok((fetched.await?, true))
    }

    async fn fetch(
        &self,
        state: &mut State,
        transport: &Transport,
        registry: &Url,
        door: Door<'_>,
        way: &Way,
    ) -> Result<Ticket, Error> {
        let host = door.registry;
        state.ticket = None;
        let repository = door.repository();
        let lookup = transport.credentials().lookup(host, repository).await;
        let found = lookup.found.as_ref();
        for message in lookup.warnings {
            transport.notice(Notice::Warning { message });
        }
        if let (Some(refusal), Way::Bearer { .. }) = (&lookup.refusal, way) {
            let message = format!("{}; going on without it", refusal.reason);
            transport.notice(Notice::Warning { message });
        }
        let fetched = match way {
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
                let ticket = Ticket {
                    header,
                    login,
                    expires,
                    serial: self.serial.fetch_add(1, Ordering::Relaxed),
                };
                state.refused = None;
                state.ticket = Some(ticket.clone());
                Ok(ticket)
            }
            Err(error) => {
                if is_refusal(&error) {
                    state.refused = Some((Instant::now(), error.kind().clone()));
                }
                Err(error)
            }
        }
    }

    fn desk(&self, transport: &Transport, door: Door<'_>, way: &Way) -> Arc<Desk> {
        let distinguishes = transport.credentials().distinguishes(door.registry);
        let repository = door.repository().filter(|_| distinguishes);
        let mut known = self.known();
        let place = (
            door.host.to_owned(),
            way.clone(),
            repository.map(str::to_owned),
        );
        known.desks.entry(place).or_default().clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn is_over(&self) -> bool {
        self.expires.is_some_and(|at| at <= Instant::now())
    }
}

impl Way {
    fn choose(challenges: &[Challenge], registry: &Url, door: Door<'_>) -> Result<Self, Error> {
        let host = door.registry;
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
                scope: joined(bearer.parameter("scope").unwrap_or(door.scope)),
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

type Granted = (HeaderValue, Login, Option<Instant>);

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unauthorized { .. })
}

fn basic(host: &str, found: Option<&Found>, refusal: Option<&Refusal>) -> Result<Granted, Error> {
    match (found, refusal) {
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
        (None, Some(refusal)) => Err(ErrorKind::NoLogin {
            registry: host.to_owned(),
            reason: refusal.reason.clone(),
            hint: refusal.hint.clone(),
        }
        .into()),
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
        // Whoever asks for a token may hold the only slot of the host that gives it.
        let transport = self.transport.uncounted();
        let errand = Errand {
            registry: self.host,
            role: Role::Token,
            what: "a token",
            alone: false,
            shuns: None,
        };
        let answer = transport.follow(request, errand).await?;
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
        let now = server_time(&answer.response.headers, transport.now());
        let body = answer
            .bytes(TOKEN_BODY, "the token", &Pulse::default())
            .await?;
        let malformed = |reason: &str| ErrorKind::Malformed {
            host: asker.clone(),
            url: url.clone(),
            reason: reason.into(),
        };
        let granted: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| malformed("the token service's answer is not the JSON of a token"))?;
        let lasts = granted.lasts(now);
        let token = [granted.token, granted.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(|| malformed("the token service's answer has no token"))?;
        self.transport
            .credentials()
            .learn(&Secret::new(token.as_str()));
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

const TOKEN_BODY: usize = 256 * 1024;
const REFUSAL_HOLDS: Duration = Duration::from_secs(10);

fn basic_header(username: &str, password: &Secret) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{}", password.expose()));
    let mut header = HeaderValue::from_str(&format!("Basic {encoded}"))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    header.set_sensitive(true);
    header
}
