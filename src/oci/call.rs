//! One request to a registry, as it stands before logins, redirects and mirrors have their say.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::challenge::Challenge;
use super::error::{Error, ErrorKind};
use super::hosts::{Place, Role};
use super::named::Errand;
use super::token::Ticket;
use crate::net;

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
    /// The value of `Range`.
    pub(super) range: Option<HeaderValue>,
    /// What is sent.
    pub(super) payload: Option<Payload>,
    /// Where the body of the answer may go.
    pub(super) sink: Option<net::Sink>,
    /// The scope to ask a token for, if the registry names none.
    pub(super) scope: String,
    /// What is asked for, in words.
    pub(super) what: String,
    /// What a mirror alone is told.
    pub(super) at_mirror: Option<AtMirror>,
}

/// What is different about a request to a mirror.
#[derive(Clone)]
pub(super) struct AtMirror {
    /// Whose content is wanted.
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    /// Hears that there is a connection.
    pub(super) on_connection: net::OnConnection,
    /// The registry itself, if nothing that the mirror says may lead there.
    pub(super) shuns: Option<Place>,
}

/// What a request sends, and what is said of it.
#[derive(Clone, Default)]
pub(super) struct Payload {
    /// Of what kind it is, and which part of the whole.
    pub(super) headers: HeaderMap,
    /// The bytes, if they fit into memory.
    pub(super) bytes: Bytes,
    /// The bytes otherwise.
    pub(super) upload: Option<net::Upload>,
}

/// Whom a request asks, and for what.
#[derive(Clone, Copy)]
pub(super) struct Door<'a> {
    /// The registry as written in references, which is the name that credentials are for.
    pub(super) registry: &'a str,
    /// The host that is asked.
    pub(super) host: &'a str,
    /// The scope, if the registry names none.
    pub(super) scope: &'a str,
}

impl<'a> Door<'a> {
    /// Returns the repository that the scope is about: a login may be for it alone.
    pub(super) fn repository(self) -> Option<&'a str> {
        let (path, _) = self.scope.strip_prefix("repository:")?.rsplit_once(':')?;
        Some(path)
    }
}

impl Call {
    pub(super) fn door<'a>(&'a self, asker: &'a str) -> Door<'a> {
        Door {
            registry: &self.registry,
            host: asker,
            scope: &self.scope,
        }
    }

    pub(super) fn shuns(&self) -> Option<&Place> {
        self.at_mirror.as_ref()?.shuns.as_ref()
    }

    /// Refuses a challenge by which a mirror leads to a registry that may not be asked itself.
    pub(super) fn check_realms(&self, challenges: &[Challenge]) -> Result<(), Error> {
        let realms = challenges
            .iter()
            .filter_map(|challenge| Url::parse(challenge.parameter("realm")?).ok());
        let mut places = realms.filter_map(|realm| Place::of(&realm));
        match self.shuns() {
            Some(shunned) if places.any(|place| place == *shunned) => Err(ErrorKind::UnsafeLogin {
                host: self.registry.clone(),
                reason: format!(
                    "its tokens are at {shunned}, and `fallback: deny` keeps that from being asked"
                ),
            }
            .into()),
            _ => Ok(()),
        }
    }

    pub(super) fn errand(&self) -> Errand<'_> {
        Errand {
            registry: &self.registry,
            role: Role::Blobs,
            what: &self.what,
            // Of a mirror, nothing is asked twice: a cold one would ask its origin twice.
            alone: self.at_mirror.is_some(),
            shuns: self.shuns(),
        }
    }

    pub(super) fn request(&self, ticket: Option<&Ticket>) -> net::Request {
        let mut request = net::Request::new(self.method.clone(), self.url.clone());
        if let Some(accept) = &self.accept {
            request.headers.insert(ACCEPT, accept.clone());
        }
        if let Some(range) = &self.range {
            request.headers.insert(RANGE, range.clone());
        }
        if let Some(at) = &self.at_mirror {
            request.on_connection = Some(at.on_connection.clone());
            request.headers.extend(at.header.clone());
        }
        if let Some(payload) = &self.payload {
            request.headers.extend(payload.headers.clone());
            request.body = payload.bytes.clone();
            request.upload.clone_from(&payload.upload);
        }
        request.sink.clone_from(&self.sink);
        if let Some(ticket) = ticket {
            request.headers.insert(AUTHORIZATION, ticket.header.clone());
        }
        request
    }
}
