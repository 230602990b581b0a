//! Who may do what: nobody asked, a password, or tokens from an endpoint of the registry's own.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::random;
use super::refusal::{Code, Refusal};
use super::route::Route;
use crate::oci::Digest;
use crate::playground::http::{Reply, parameters};

/// How the registry tells its clients apart.
#[derive(Clone, Default)]
pub enum Auth {
    /// It does not: everyone may do everything.
    #[default]
    Open,
    /// By user name and password with every request.
    Basic(Login),
    /// By tokens from `/token`, as Docker's registries do.
    Token {
        /// What gets tokens for everything.
        login: Login,
        /// How long a token holds.
        lifetime: Duration,
        /// Whether anyone gets tokens for pulling.
        anonymous_pull: bool,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Basic(_) => "Basic",
            Self::Token { .. } => "Token",
        })
    }
}

/// A user name and a password.
#[derive(Clone)]
pub struct Login {
    /// The user's name, without a colon.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// Tells whether a request carries this login. Hashes are compared, so that time tells nothing of the password.
    fn is_in(&self, head: &Parts) -> bool {
        let expected = format!("{}:{}", self.username, self.password);
        credentials(head, "basic")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .is_some_and(|sent| Digest::of(&sent) == Digest::of(expected.as_bytes()))
    }
}

/// Checks requests, and issues tokens.
pub(super) struct Guard {
    auth: Auth,
    tokens: Mutex<HashMap<String, Grant>>,
}

/// What a token allows: pairs of `repository:NAME` and an action.
struct Grant {
    allowed: Vec<(String, String)>,
    expires: Instant,
}

impl Guard {
    pub(super) fn new(auth: Auth) -> Self {
        Self {
            auth,
            tokens: Mutex::default(),
        }
    }

    /// Refuses a request that may not be made.
    pub(super) fn check(&self, head: &Parts, route: &Route) -> Result<(), Refusal> {
        match &self.auth {
            Auth::Open => Ok(()),
            Auth::Basic(login) if login.is_in(head) => Ok(()),
            Auth::Basic(_) => Err(unauthorized("log in with user name and password", BASIC)),
            Auth::Token { .. } => {
                let (resource, actions) = needed(&head.method, route);
                self.check_token(head, &resource, actions).map_err(|fault| {
                    unauthorized(
                        "get a token first",
                        &challenge(head, &resource, actions, fault),
                    )
                })
            }
        }
    }

    /// Tells whether a request may also read another repository.
    pub(super) fn may_pull(&self, head: &Parts, repository: Option<&str>) -> bool {
        match (&self.auth, repository) {
            (Auth::Open | Auth::Basic(_), _) => true,
            (Auth::Token { .. }, None) => false,
            (Auth::Token { .. }, Some(name)) => self
                .check_token(head, &format!("repository:{name}"), &["pull"])
                .is_ok(),
        }
    }

    /// Answers the token endpoint (Docker's "Token Authentication Specification").
    pub(super) fn issue(&self, head: &Parts) -> Result<Reply, Refusal> {
        let Auth::Token {
            login,
            lifetime,
            anonymous_pull,
        } = &self.auth
        else {
            return Err(Refusal::not_found(
                Code::Unsupported,
                "this registry issues no tokens",
            ));
        };
        let trusted = login.is_in(head);
        // Wrong credentials are refused, also where none would have done.
        if !trusted && (head.headers.contains_key(AUTHORIZATION) || !anonymous_pull) {
            return Err(unauthorized("log in with user name and password", BASIC));
        }
        let allowed = parameters(head, "scope")
            .flat_map(|scopes| {
                scopes
                    .split_whitespace()
                    .filter_map(parse_scope)
                    .collect::<Vec<_>>()
            })
            .flat_map(|(resource, actions)| {
                actions
                    .into_iter()
                    .map(move |action| (resource.clone(), action))
            })
            .filter(|(_, action)| trusted || action == "pull")
            .take(MAX_GRANTS)
            .collect();
        let token = hex::encode(random::<32>()?);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, grant| grant.expires > now);
        }
        if tokens.len() >= MAX_TOKENS {
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                Code::TooManyRequests,
                "too many tokens are in use: wait until some expire",
            ));
        }
        let expires = now + *lifetime;
        tokens.insert(token.clone(), Grant { allowed, expires });
        // Both names are in use: clients of the older protocol read `token`.
        let body = json!({
            "token": token,
            "access_token": token,
            "expires_in": lifetime.as_secs(),
        });
        Ok(Reply::json(StatusCode::OK, &body))
    }

    fn check_token(&self, head: &Parts, resource: &str, actions: &[&str]) -> Result<(), Fault> {
        let token = credentials(head, "bearer").ok_or(Fault::Missing)?;
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = tokens
            .get(token)
            .filter(|grant| grant.expires > Instant::now())
            .ok_or(Fault::Invalid)?;
        let allowed = |action: &&str| {
            grant
                .allowed
                .iter()
                .any(|(granted, what)| granted == resource && what == action)
        };
        if actions.iter().all(allowed) {
            Ok(())
        } else {
            Err(Fault::Insufficient)
        }
    }
}

/// Why a token does not do.
#[derive(Clone, Copy)]
enum Fault {
    Insufficient,
    Invalid,
    Missing,
}

/// Returns the resource and the actions that a request needs.
fn needed(method: &Method, route: &Route) -> (String, &'static [&'static str]) {
    let resource = match (route, route.repository()) {
        (_, Some(name)) => format!("repository:{name}"),
        (Route::Catalog, None) => return ("registry:catalog".into(), &["*"]),
        (_, None) => return (String::new(), &[]),
    };
    let actions: &[&str] = match (route, method) {
        (Route::Upload { .. } | Route::Uploads { .. }, _) => &["pull", "push"],
        (_, &Method::GET | &Method::HEAD) => &["pull"],
        (_, &Method::DELETE) => &["delete"],
        _ => &["pull", "push"],
    };
    (resource, actions)
}

/// Splits `repository:acme/web:pull,push`. The name may have colons of its own (a host's port).
fn parse_scope(scope: &str) -> Option<(String, Vec<String>)> {
    let (resource, actions) = scope.rsplit_once(':')?;
    resource.contains(':').then(|| {
        let actions = actions.split(',').map(str::to_owned).collect();
        (resource.to_owned(), actions)
    })
}

/// The realm follows the `Host` that the client used, so that it also holds behind a proxy.
fn challenge(head: &Parts, resource: &str, actions: &[&str], fault: Fault) -> String {
    let host = head
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|host| !host.contains(['"', '\\']))
        .unwrap_or("127.0.0.1");
    let mut challenge = format!(r#"Bearer realm="http://{host}/token",service="{SERVICE}""#);
    if !actions.is_empty() {
        challenge.push_str(&format!(r#",scope="{resource}:{}""#, actions.join(",")));
    }
    match fault {
        Fault::Insufficient => challenge.push_str(r#",error="insufficient_scope""#),
        Fault::Invalid => challenge.push_str(r#",error="invalid_token""#),
        Fault::Missing => {}
    }
    challenge
}

fn credentials<'a>(head: &'a Parts, scheme: &str) -> Option<&'a str> {
    let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (sent, credentials) = value.split_once(' ')?;
    sent.eq_ignore_ascii_case(scheme)
        .then(|| credentials.trim())
}

fn unauthorized(message: &str, challenge: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
        .header(WWW_AUTHENTICATE, challenge)
}

const SERVICE: &str = "playground";
const BASIC: &str = r#"Basic realm="playground""#;
/// Tokens that may be in use at once.
const MAX_TOKENS: usize = 4096;
/// Pairs of resource and action in one token.
const MAX_GRANTS: usize = 64;
