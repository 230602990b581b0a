//! Hosts that registries named: remembered if they answered, explained if they are out of reach.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use url::Url;

use super::error::{Error, ErrorKind};
use super::hosts::{Named, Place, Role};
use super::transport::{Transport, host_of};
use crate::net;

/// The hosts that have answered so far, by registry as references write it.
#[derive(Default)]
pub(super) struct Met(Mutex<BTreeMap<String, Named>>);

impl Met {
    pub(super) fn all(&self) -> BTreeMap<String, Named> {
        // A map of names stays whole whatever panics beside it.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn add(&self, registry: &str, role: Role, place: Place) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.entry(registry.to_owned()).or_default().add(role, place);
    }
}

/// What a request is for.
#[derive(Clone, Copy)]
pub(super) struct Errand<'a> {
    /// The registry, as references write it.
    pub(super) registry: &'a str,
    /// What hosts that it names are named for.
    pub(super) role: Role,
    /// What is asked for, in words.
    pub(super) what: &'a str,
    /// Whether a silent host is not asked a second time beside the first.
    pub(super) alone: bool,
    /// A host that it may not be redirected to.
    pub(super) shuns: Option<&'a Place>,
}

impl Transport {
    /// Remembers that a host answered, if it is not the registry's own.
    pub(super) fn meet(&self, registry: &str, role: Role, url: &Url) {
        if let Some(place) = self.foreign(registry, url)
            && !self.mirrors().has(&host_of(url))
        {
            self.met().add(registry, role, place);
        }
    }

    /// Makes an error of a request that did not come through. If the sandbox holds it back, and
    /// nobody lists the host, the way out is a line in the document.
    pub(super) fn unreachable(
        &self,
        registry: &str,
        role: Role,
        url: &Url,
        source: net::Error,
    ) -> Error {
        let unlisted = self
            .foreign(registry, url)
            .filter(|place| is_held_back(&source) && !self.hosts().lists(registry, place));
        match unlisted {
            Some(place) => ErrorKind::Unlisted {
                registry: registry.to_owned(),
                role,
                place,
                source,
            },
            None => ErrorKind::Unreachable {
                host: host_of(url),
                source,
            },
        }
        .into()
    }

    fn foreign(&self, registry: &str, url: &Url) -> Option<Place> {
        let own = Place::of(&self.base(registry).ok()?)?;
        Place::of(url).filter(|place| *place != own)
    }
}

/// Says whether no grant covers a connection, in the words of whoever decides that: this program,
/// the host of the component, or its resolver.
fn is_held_back(error: &net::Error) -> bool {
    match error {
        net::Error::NotGranted { .. } | net::Error::NotPermitted { .. } => true,
        net::Error::NameNotFound { detail, .. } => detail.contains("Non-recoverable"),
        _ => false,
    }
}
