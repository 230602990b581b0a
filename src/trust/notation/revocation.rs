//! Whether the certificates of a chain were taken back: OCSP first, then revocation lists, at hosts that are
//! listed and nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use url::Url;

use super::certificate::Certificate;
use super::flaw::Flaw;
use super::{crl, ocsp};
use crate::trust::MAX_ENQUIRIES;
use crate::trust::judge::{Judge, quoted};
use crate::trust::source::Artifacts;

/// Which hosts may be asked whether certificates are revoked, and what they said in this run.
#[derive(Clone, Default)]
pub struct Revocation {
    hosts: Vec<RevocationHost>,
    heard: Arc<Mutex<BTreeMap<(String, Bytes), Bytes>>>,
}

impl Revocation {
    /// Lets these hosts be asked, and no other.
    #[must_use]
    pub fn new(hosts: Vec<RevocationHost>) -> Self {
        Self {
            hosts,
            heard: Arc::default(),
        }
    }

    /// Returns the hosts.
    #[must_use]
    pub fn hosts(&self) -> &[RevocationHost] {
        &self.hosts
    }

    fn allows(&self, url: &Url) -> bool {
        self.hosts.iter().any(|it| {
            url.host_str().is_some_and(|host| host == it.host)
                && url.port_or_known_default() == Some(it.port)
        })
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revocation").field(&self.hosts).finish()
    }
}

/// A host that may be asked, over plain HTTP, as OCSP and revocation lists are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationHost {
    /// The name or address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::str::FromStr for RevocationHost {
    type Err = String;

    /// Reads `host` or `host:port`; the port is 80 if there is none.
    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(&format!("http://{text}")).map_err(|error| error.to_string())?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && !text.ends_with('/');
        match url.host_str() {
            Some(host) if bare && !text.contains('*') => Ok(Self {
                host: host.to_owned(),
                port: url.port_or_known_default().unwrap_or(80),
            }),
            _ => Err("a host is written `ocsp.example` or `ocsp.example:8080`".into()),
        }
    }
}

impl fmt::Display for RevocationHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            80 => f.write_str(&self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

/// A question to an authority.
#[derive(Clone, Debug)]
pub struct Enquiry {
    /// Where to, over plain HTTP.
    pub url: Url,
    /// The OCSP request to post; without one, a revocation list is fetched.
    pub request: Option<Bytes>,
    /// The most bytes of the answer.
    pub limit: usize,
    /// The most time for all of it.
    pub within: Duration,
}

/// What came of one place.
pub(super) enum Status {
    Good,
    Revoked { since: Timestamp },
}

/// Asks for every certificate of a chain but the last, which vouches for itself.
///
/// A certificate that names no place to ask can't be revoked. Where it names both, a list is fetched only if no
/// responder gave a certain answer.
pub(super) async fn check<A: Artifacts>(
    chain: &[Certificate],
    signed_at: Option<Timestamp>,
    judge: &Judge<'_>,
    artifacts: &A,
) -> Result<(), Flaw> {
    let mut unknown = None;
    // The highest first: what an authority below a revoked one says is worth nothing.
    for pair in chain.windows(2).rev() {
        let enquirer = Enquirer {
            certificate: &pair[0],
            issuer: &pair[1],
            signed_at,
            judge,
            artifacts,
        };
        match enquirer.run().await {
            Ok(()) => {}
            Err(revoked @ Flaw::Revoked { .. }) => return Err(revoked),
            Err(flaw) => {
                unknown.get_or_insert(flaw);
            }
        }
    }
    unknown.map_or(Ok(()), Err)
}

/// Asks about one certificate.
pub(super) struct Enquirer<'a, A> {
    pub(super) certificate: &'a Certificate,
    pub(super) issuer: &'a Certificate,
    /// When it was signed, if that is proven: what became invalid later was good then.
    pub(super) signed_at: Option<Timestamp>,
    judge: &'a Judge<'a>,
    artifacts: &'a A,
}

impl<A: Artifacts> Enquirer<'_, A> {
    async fn run(&self) -> Result<(), Flaw> {
        let mut reasons = Vec::new();
        let mut unlisted = Vec::new();
        for place in self.certificate.responders.iter().take(MOST_PLACES) {
            match self.responder(place).await {
                Ok(status) => return self.decided(status, place),
                Err(refused) => refused.note(place, &mut reasons, &mut unlisted),
            }
        }
        let lists = &self.certificate.lists;
        // Lists may be parts of a whole: each of them has to be there, and none may name the certificate.
        let mut complete = !lists.is_empty() && lists.len() <= MOST_PLACES;
        for place in lists.iter().take(MOST_PLACES) {
            match self.list(place).await {
                Ok(Status::Good) => {}
                Ok(status) => return self.decided(status, place),
                Err(refused) => {
                    complete = false;
                    refused.note(place, &mut reasons, &mut unlisted);
                }
            }
        }
        let asks_nobody = self.certificate.responders.is_empty() && lists.is_empty();
        if complete || asks_nobody {
            return Ok(());
        }
        Err(Flaw::Unknown {
            certificate: self.certificate.name(),
            reasons,
            unlisted,
        })
    }

    fn decided(&self, status: Status, place: &str) -> Result<(), Flaw> {
        match status {
            Status::Good => Ok(()),
            Status::Revoked { since } => Err(Flaw::Revoked {
                certificate: self.certificate.name(),
                since,
                by: quoted(place),
            }),
        }
    }

    async fn responder(&self, place: &str) -> Result<Status, Refused> {
        let request = ocsp::request(self.certificate, self.issuer).map_err(Refused::Failed)?;
        let answer = self.ask(place, Some(request)).await?;
        let now = self.artifacts.now();
        ocsp::status(&answer, self.certificate, self.issuer, self.signed_at, now)
            .map_err(Refused::Failed)
    }

    async fn list(&self, place: &str) -> Result<Status, Refused> {
        let now = self.artifacts.now();
        let answer = self.ask(place, None).await?;
        let mut list = crl::List::read(&answer, self.issuer, now).map_err(Refused::Failed)?;
        list.covers(self.certificate, &self.certificate.lists)
            .map_err(Refused::Failed)?;
        if list.freshest.is_empty() && self.certificate.names_freshest {
            return Err(Refused::Failed(
                "changes to the list are named by the certificate alone, which is not supported"
                    .into(),
            ));
        }
        let mut found = list
            .find(&answer, self.certificate, self.signed_at)
            .map_err(Refused::Failed)?;
        // Changes since the list was made are in another one; where several are named, they are the same.
        if let Some(place) = list.freshest.pop() {
            let answer = self.ask(&place, None).await?;
            let changes = crl::List::read(&answer, self.issuer, now).map_err(Refused::Failed)?;
            changes.continues(&list).map_err(Refused::Failed)?;
            let newer = changes
                .find(&answer, self.certificate, self.signed_at)
                .map_err(Refused::Failed)?;
            if !matches!(found, Some(crl::Entry::Revoked { held: false, .. })) {
                found = newer.or(found);
            }
        }
        Ok(match found {
            Some(crl::Entry::Revoked { since, .. }) => Status::Revoked { since },
            Some(crl::Entry::Removed) | None => Status::Good,
        })
    }

    /// Asks one place, unless it is not listed, or has answered this question before.
    async fn ask(&self, place: &str, request: Option<Vec<u8>>) -> Result<Bytes, Refused> {
        let url = Url::parse(place).map_err(|error| Refused::Failed(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(Refused::Failed(format!(
                "it is asked over http, not {}",
                quoted(url.scheme())
            )));
        }
        let revocation = self.judge.policy.revocation();
        if !revocation.allows(&url) {
            let host = RevocationHost {
                host: url.host_str().unwrap_or_default().to_owned(),
                port: url.port_or_known_default().unwrap_or_default(),
            };
            return Err(Refused::Unlisted(host.to_string()));
        }
        let request = request.map(Bytes::from);
        let question = (url.to_string(), request.clone().unwrap_or_default());
        let heard = |memory: &Mutex<BTreeMap<_, Bytes>>| {
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.get(&question).cloned()
        };
        if let Some(answer) = heard(&revocation.heard) {
            return Ok(answer);
        }
        let take = |left: usize| left.checked_sub(1);
        let left = &self.judge.enquiries;
        if left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_err()
        {
            return Err(Refused::Failed(format!(
                "not asked, after {MAX_ENQUIRIES} questions for this image"
            )));
        }
        let is_list = request.is_none();
        let answer = self
            .artifacts
            .enquire(Enquiry {
                url,
                request,
                limit: if is_list { MAX_LIST } else { MAX_RESPONSE },
                within: if is_list { LIST_TIME } else { RESPONSE_TIME },
            })
            .await
            .map_err(Refused::Failed)?;
        let memory = &revocation.heard;
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = memory.values().map(Bytes::len).sum();
        if kept + answer.len() <= MOST_KEPT {
            memory.insert(question, answer.clone());
        }
        Ok(answer)
    }
}

/// Why a place gave no answer.
enum Refused {
    Failed(String),
    Unlisted(String),
}

impl Refused {
    fn note(self, place: &str, reasons: &mut Vec<String>, unlisted: &mut Vec<String>) {
        let place = quoted(place);
        match self {
            Self::Failed(reason) => reasons.push(format!("{place}: {reason}")),
            Self::Unlisted(host) => {
                reasons.push(format!(
                    "{place}: not asked, since its host is not listed in `trust.revocation.hosts`"
                ));
                if !unlisted.contains(&host) {
                    unlisted.push(host);
                }
            }
        }
    }
}

/// The most places of a kind that are asked about one certificate.
const MOST_PLACES: usize = 4;
/// The most bytes of an OCSP response; usual ones have about two thousand.
pub const MAX_RESPONSE: usize = 64 * 1024;
/// The most bytes of a revocation list.
pub const MAX_LIST: usize = 16 * 1024 * 1024;
/// The most bytes of answers that are kept for the images of a run.
const MOST_KEPT: usize = 2 * MAX_LIST;
const RESPONSE_TIME: Duration = Duration::from_secs(2);
const LIST_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exact() {
        let read = |text: &str| text.parse::<RevocationHost>();
        assert_eq!(read("ocsp.example").unwrap().to_string(), "ocsp.example");
        assert_eq!(
            read("127.0.0.1:8080").unwrap().to_string(),
            "127.0.0.1:8080"
        );
        for text in [
            "",
            "*.example",
            "ocsp.example/path",
            "ocsp.example/",
            "user@ocsp.example",
            "ocsp.example?x",
            "http://ocsp.example",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let revocation = Revocation::new(vec![read("ocsp.example").unwrap()]);
        let allows = |url: &str| revocation.allows(&Url::parse(url).unwrap());
        assert!(allows("http://ocsp.example/a"));
        assert!(allows("http://OCSP.example:80/a"));
        assert!(!allows("http://ocsp.example:81/a"));
        assert!(!allows("http://ocsp.example.evil/a"));
        assert!(!allows("http://x.ocsp.example/a"));
        assert!(!allows("https://ocsp.example/a"));
    }
}
