//! One question to one server after the other: whose answer is taken, and what becomes of the rest.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::race::race;
use super::standing::Wanted;
use super::{Fallback, Mirror, Sources};
use crate::net::OnConnection;
use crate::oci::answer::Answer;
use crate::oci::client::{Client, Head, Selector};
use crate::oci::config::Notice;
use crate::oci::error::{Error, ErrorKind};
use crate::oci::part::{Answered, Part};
use crate::oci::transport::{Attempts, Transport};
use crate::oci::{Descriptor, Digest, Manifest, Repository};

/// Who is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::oci) enum Server {
    /// A mirror.
    Mirror(Arc<Mirror>),
    /// The registry itself.
    Origin,
}

/// Who is asked, and how.
#[derive(Clone)]
pub(in crate::oci) struct Target {
    pub(in crate::oci) server: Server,
    pub(in crate::oci) transport: Transport,
    /// Whether somebody else could be asked instead.
    pub(in crate::oci) has_others: bool,
    /// Whether the registry itself may not be asked.
    pub(in crate::oci) is_all_there_is: bool,
    sign: Sign,
}

/// Whether a server has taken a connection for a question.
#[derive(Clone, Default)]
struct Sign(Arc<AtomicBool>);

impl Target {
    /// Makes the registry itself one, for which nobody else can stand in.
    pub(in crate::oci) fn origin(transport: &Transport) -> Self {
        Self {
            server: Server::Origin,
            transport: transport.clone(),
            has_others: false,
            is_all_there_is: false,
            sign: Sign::default(),
        }
    }

    /// Returns the mirror, if it is one.
    pub(in crate::oci) fn mirror(&self) -> Option<&Arc<Mirror>> {
        match &self.server {
            Server::Mirror(mirror) => Some(mirror),
            Server::Origin => None,
        }
    }

    /// Lets a mirror that stops in the middle of a body be given up soon, if others have the rest.
    pub(in crate::oci) fn mind_silence(&self, answer: &mut Answer) {
        if self.has_others && self.mirror().is_some() {
            answer.response.body.set_idle_timeout(MOST_SILENCE);
        }
    }

    /// Returns what a request has to call when it has its connection.
    pub(in crate::oci) fn on_connection(&self) -> OnConnection {
        let sign = self.sign.clone();
        Arc::new(move |_| sign.0.store(true, Ordering::Relaxed))
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.server == other.server
    }
}

impl Client {
    /// Returns who may be asked for what a registry has, if that is not the registry alone.
    #[must_use]
    pub fn sources(&self, registry: &str) -> Option<Arc<Sources>> {
        self.transport.mirrors().of(registry).cloned()
    }

    /// Asks for something once, of one server after the other, until one gives it.
    ///
    /// # Errors
    ///
    /// What the origin says if it may be asked. Otherwise what the last mirror says that could have
    /// answered; that no mirror has the thing says nothing on whether it exists.
    pub(in crate::oci) async fn ask<T, F>(
        &self,
        sources: &Sources,
        repository: &Repository,
        need: Wanted,
        what: &str,
        one: impl Fn(Target) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let standing = self.transport.standing();
        let order = standing.order(sources, repository, need);
        let has_others = order.len() > 1;
        let targets = order.into_iter().map(|server| {
            let transport = match &server {
                Server::Mirror(_) => self.transport.for_mirror(has_others),
                Server::Origin => self.transport.clone(),
            };
            Target {
                server,
                transport,
                has_others,
                is_all_there_is: sources.fallback == Fallback::Deny,
                sign: Sign::default(),
            }
        });
        let targets: Vec<_> = targets.collect();
        let start = |target: &Target, waited: Duration| {
            let heard = || {
                let mirror = target.mirror();
                mirror.is_none_or(|mirror| standing.is_heard(&mirror.name()))
            };
            // The origin may wait its turn: those behind it come last for a reason.
            let connected = target.mirror().is_none() || target.sign.0.load(Ordering::Relaxed);
            let late = || {
                let mirror = target.mirror();
                mirror.is_some_and(|mirror| standing.is_late(&mirror.name()))
            };
            if waited.is_zero() {
                Some(if late() { START / 2 } else { START })
            } else if waited < LONG_START && connected && heard() {
                Some(LONG_START - waited)
            } else {
                None
            }
        };
        let mut failures: Vec<(Server, Error)> = Vec::new();
        let failed = |target: &Target, error: Error| {
            if let Some(mirror) = target.mirror() {
                let news = standing.failed(&mirror.name(), repository, &error);
                self.tell(mirror, repository, news, Some(&error));
            }
            failures.push((target.server.clone(), error));
        };
        if let Some((target, value, late)) = race(targets, one, start, failed).await {
            for slow in &late {
                if let Some(mirror) = slow.mirror() {
                    let connected = slow.sign.0.load(Ordering::Relaxed);
                    let news = standing.was_late(&mirror.name(), connected);
                    self.tell(mirror, repository, news, None);
                }
            }
            standing.gave(&target.server, need);
            return Ok(value);
        }
        Err(verdict(failures, sources, repository, what))
    }

    /// Asks as [`Client::ask`] does, again and again as the policy for repetitions says.
    pub(in crate::oci) async fn insist<T, F>(
        &self,
        sources: &Sources,
        repository: &Repository,
        need: Wanted,
        what: &str,
        one: impl Fn(Target) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut attempts = Attempts::default();
        loop {
            match self.ask(sources, repository, need, what, &one).await {
                Ok(value) => return Ok(value),
                Err(error) => self.transport.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Fetches a manifest from whoever may be asked for it.
    pub(in crate::oci) async fn manifest_of_any(
        &self,
        sources: &Sources,
        repository: &Repository,
        selector: &Selector,
    ) -> Result<Manifest, Error> {
        if is_about_an_image(selector) {
            let one = |target: Target| async move {
                self.manifest_from(&target, repository, selector)
                    .await
                    .map(Some)
            };
            let origin = self.origin_manifest(repository, selector);
            let what = format!("tag {selector} of {}", repository.path);
            return self
                .of_origin_first(sources, repository, &what, origin, one)
                .await;
        }
        let trusted = sources.mirrors.iter().any(|mirror| mirror.resolves);
        match selector {
            Selector::Tag(tag) if !trusted => {
                self.resolved_at_origin(sources, repository, tag).await
            }
            _ => self.content(sources, repository, selector).await,
        }
    }

    async fn content(
        &self,
        sources: &Sources,
        repository: &Repository,
        selector: &Selector,
    ) -> Result<Manifest, Error> {
        let (need, what) = match selector {
            Selector::Digest(digest) => (Wanted::Content(*digest), "manifest"),
            Selector::Tag(_) => (Wanted::Tag, "tag"),
        };
        let what = format!("{what} {selector} of {}", repository.path);
        let one =
            |target: Target| async move { self.manifest_from(&target, repository, selector).await };
        self.insist(sources, repository, need, &what, one).await
    }

    /// Asks the origin what a tag stands for, and whoever comes first for the manifest: Docker Hub does
    /// not count the former.
    async fn resolved_at_origin(
        &self,
        sources: &Sources,
        repository: &Repository,
        tag: &str,
    ) -> Result<Manifest, Error> {
        if sources.fallback == Fallback::Deny {
            let what = format!("tag {tag} of {}", repository.path);
            return Err(kept_from_origin(repository, &what, Vec::new()));
        }
        let by_tag = Selector::Tag(tag.to_owned());
        let digest = match self.head_manifest(repository, &by_tag).await {
            Ok(Some(Head { digest, .. })) => digest,
            Ok(None) => None,
            // Some don't know the method.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Refused {
                        status: 400..=499,
                        ..
                    }
                ) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(digest) = digest {
            let by_digest = Selector::Digest(digest);
            match self.content(sources, repository, &by_digest).await {
                // What was announced is not what there is.
                Err(error) if error.is_absence() => {}
                found => return found,
            }
        }
        self.origin_manifest(repository, &by_tag).await
    }

    /// Asks the origin for something that changes and that mirrors may have missed, and mirrors that are
    /// trusted with what changes only where the origin may not be asked or could not be. Nothing, and an
    /// absence, count only if the origin says so.
    pub(in crate::oci) async fn of_origin_first<T, F>(
        &self,
        sources: &Sources,
        repository: &Repository,
        what: &str,
        origin: impl Future<Output = Result<T, Error>>,
        one: impl Fn(Target) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Option<T>, Error>>,
    {
        let mut failure = None;
        if sources.fallback == Fallback::Allow {
            match Box::pin(origin).await {
                Err(error) if !error.is_absence() => failure = Some(error),
                answered => return answered,
            }
        }
        let mut tried = Vec::new();
        for target in self.resolvers(sources) {
            let name = target.mirror().map(|mirror| mirror.name());
            let said = match Box::pin(one(target)).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => "it has none".to_owned(),
                Err(error) => error.in_one_sentence(),
            };
            tried.push(format!("{}: {said}", name.unwrap_or_default()));
        }
        Err(failure.unwrap_or_else(|| kept_from_origin(repository, what, tried)))
    }

    /// Asks once for a blob, or for a range of it.
    pub(in crate::oci) async fn part_from_any(
        &self,
        sources: &Sources,
        repository: &Repository,
        blob: &Descriptor,
        range: Option<&Range<u64>>,
    ) -> Result<Answered<Part>, Error> {
        let one = |target: Target| async move {
            let Some(mirror) = target.mirror().cloned() else {
                return self.part_from(&target, repository, blob, range, None).await;
            };
            let name = mirror.name();
            let standing = self.transport.standing();
            let ranges = mirror.takes_ranges() && !standing.lacks_ranges(&name);
            let range = range.filter(|_| ranges);
            match self
                .part_from(&target, repository, blob, range, None)
                .await?
            {
                // No word on the other servers, so the one who asked need not know.
                Answered::NoRanges => {
                    standing.without_ranges(&name);
                    self.part_from(&target, repository, blob, None, None).await
                }
                answered => Ok(answered),
            }
        };
        let what = format!("blob {} of {}", blob.digest, repository.path);
        let need = Wanted::Content(blob.digest);
        self.ask(sources, repository, need, &what, one).await
    }

    /// Takes notice that a mirror broke off while it sent a blob, of which others have the rest.
    pub(in crate::oci) fn mirror_broke_off(&self, name: &str, digest: Digest, error: &Error) {
        if let Some(words) = self.transport.standing().broke_off(name, digest) {
            self.transport.notice(Notice::Warning {
                message: format!("the mirror {name}: {words} ({})", error.in_one_sentence()),
            });
        }
    }

    /// Takes notice that the bytes of a blob, all of which have come, are wrong. Returns whether a mirror
    /// sent some of them, which is not asked again, so that it can be tried anew.
    pub(crate) fn distrust(&self, repository: &Repository, blob: Digest, found: Digest) -> bool {
        let names = self.transport.standing().was_wrong(blob);
        for name in &names {
            self.transport.notice(Notice::Warning {
                message: format!(
                    "the mirror {name} of {} sent other bytes for {blob}: their digest is {found}; it is not asked again",
                    repository.registry
                ),
            });
        }
        !names.is_empty()
    }

    /// Begins to fetch a blob from each server that may be asked, so that each names the host that it
    /// keeps blobs on.
    ///
    /// # Errors
    ///
    /// The registry itself may be asked, and does not give the blob.
    pub async fn follow_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<(), Error> {
        let sources = self.sources(&repository.registry);
        let denied = sources
            .as_ref()
            .is_some_and(|sources| sources.fallback == Fallback::Deny);
        for mirror in sources.iter().flat_map(|sources| &sources.mirrors) {
            let target = Target {
                server: Server::Mirror(mirror.clone()),
                transport: self.transport.for_mirror(true),
                has_others: true,
                is_all_there_is: denied,
                sign: Sign::default(),
            };
            let opened = self.blob_from(&target, repository, blob);
            // Where a dead one would lead to, nobody needs to know.
            let _ = tokio::time::timeout(LONG_START, opened).await;
        }
        if denied {
            return Ok(());
        }
        Box::pin(self.origin_blob(repository, blob)).await.map(drop)
    }

    /// Returns the mirrors that are trusted with what changes, if the registry may not be asked itself
    /// or could not be.
    pub(in crate::oci) fn resolvers(&self, sources: &Sources) -> Vec<Target> {
        let mirrors = sources.mirrors.iter().filter(|mirror| {
            let standing = self.transport.standing();
            mirror.resolves && !standing.lies(&mirror.name())
        });
        let target = |mirror: &Arc<Mirror>| Target {
            server: Server::Mirror(mirror.clone()),
            transport: self.transport.for_mirror(false),
            has_others: false,
            is_all_there_is: sources.fallback == Fallback::Deny,
            sign: Sign::default(),
        };
        mirrors.map(target).collect()
    }

    fn tell(
        &self,
        mirror: &Mirror,
        repository: &Repository,
        words: Option<&'static str>,
        error: Option<&Error>,
    ) {
        let Some(words) = words else { return };
        let cause = error.map(|error| format!(" ({})", error.in_one_sentence()));
        self.transport.notice(Notice::Warning {
            message: format!(
                "the mirror {} of {}: {words}{}",
                mirror.name(),
                repository.registry,
                cause.unwrap_or_default()
            ),
        });
    }
}

/// Says whether a tag stands for what is known of an image: its list of referrers, its signatures.
pub(in crate::oci) fn is_about_an_image(selector: &Selector) -> bool {
    matches!(selector, Selector::Tag(tag) if tag.starts_with("sha256-"))
}

/// Makes the error of a thing that nothing but mirrors was asked for.
pub(in crate::oci) fn kept_from_origin(
    repository: &Repository,
    what: &str,
    tried: Vec<String>,
) -> Error {
    ErrorKind::KeptFromOrigin {
        registry: repository.registry.clone(),
        what: what.to_owned(),
        tried,
    }
    .into()
}

/// Chooses the error that counts.
fn verdict(
    mut failures: Vec<(Server, Error)>,
    sources: &Sources,
    repository: &Repository,
    what: &str,
) -> Error {
    let origin = failures
        .iter()
        .position(|(server, _)| *server == Server::Origin);
    if let Some(place) = origin {
        return failures.swap_remove(place).1;
    }
    debug_assert_eq!(sources.fallback, Fallback::Deny);
    let tried = failures.iter().map(|(server, error)| match server {
        Server::Mirror(mirror) => format!("{}: {}", mirror.name(), error.in_one_sentence()),
        Server::Origin => error.in_one_sentence(),
    });
    let tried: Vec<String> = tried.collect();
    // What may go better later is worth its own words, and another attempt.
    let again = failures.iter().rposition(|(_, error)| error.is_retryable());
    match again {
        Some(place) => failures.swap_remove(place).1,
        None => kept_from_origin(repository, what, tried),
    }
}

/// How long a mirror may send nothing of a body that others have too.
const MOST_SILENCE: Duration = Duration::from_secs(5);
/// How long a server has for itself before the next is asked beside it; half of it if it was late before.
const START: Duration = Duration::from_millis(300);
/// The same for one that has answered in this run and has a connection: a cache that is cold first asks
/// its own origin.
const LONG_START: Duration = Duration::from_secs(2);
