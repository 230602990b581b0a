//! What a step found out, in one line each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{PlainRenderer, Verbosity};
use crate::report::style::Role;
use crate::report::{Detail, words};

/// The most lines about one probe's changes, or about one image's useless signatures.
const MOST_CHANGES: u32 = 20;

impl PlainRenderer {
    /// Says what a step found out.
    pub(super) fn found(&mut self, step: Option<&str>, detail: &Detail) -> Option<String> {
        Some(match detail {
            Detail::BlobFinished {
                image,
                digest,
                size,
                cached,
                host,
                took,
            } => {
                let (image, digest) = (self.voice.foreign(image), self.digest(digest));
                let bytes = words::size(*size);
                if *cached {
                    format!("{image}: {bytes} already in the cache, blob {digest}")
                } else {
                    let host = self
                        .voice
                        .foreign(host.as_deref().unwrap_or("the registry"));
                    let took = words::duration(*took);
                    format!("{image}: {bytes} from {host} in {took}, blob {digest}")
                }
            }
            Detail::GateJudged { verdict, reason } => {
                let role = match verdict.as_str() {
                    "passed" => Role::Good,
                    "failed" => Role::Bad,
                    _ => Role::Warn,
                };
                let verdict = self.voice.paint(role, &self.voice.foreign(verdict));
                format!("gate {verdict}: {}", self.voice.foreign(reason))
            }
            Detail::ImagePinned { image, digest, .. } => format!(
                "{} is {}, says the lock file",
                self.voice.foreign(image),
                self.digest(digest)
            ),
            Detail::ImageResolved {
                image,
                reference,
                digest,
                platform,
                blobs,
                bytes,
                ..
            } => {
                let blobs = words::count(*blobs as u64, "blob", "blobs");
                // An image of the command line is called as it is written.
                let written = if image == reference {
                    String::new()
                } else {
                    format!(": {}", self.voice.foreign(reference))
                };
                format!(
                    "{}{written} -> {}  {}, {blobs}, {}",
                    self.voice.foreign(image),
                    self.digest(digest),
                    self.voice.foreign(platform),
                    words::size(*bytes)
                )
            }
            Detail::ImageDelivered {
                image,
                to,
                detail,
                took,
                ..
            } => {
                let (image, to) = (self.voice.foreign(image), self.voice.foreign(to));
                let (detail, time) = (self.voice.foreign(detail), words::duration(*took));
                format!("{image}: in {to}, {detail} ({time})")
            }
            Detail::ImagePreloaded {
                image,
                fetched,
                cached,
                served,
                took,
                ..
            } => {
                let image = self.voice.foreign(image);
                let time = words::duration(*took);
                let (new, old) = (words::size(*fetched), words::size(*cached));
                match (*fetched, *cached) {
                    (0, _) => format!("{image}: already in the cache, {old} ({time})"),
                    (_, 0) => format!(
                        "{image}: {new} fetched in {time}{}{}",
                        average(*fetched, *took),
                        self.served(served)
                    ),
                    _ => format!(
                        "{image}: {new} fetched in {time}{}{}, {old} were in the cache",
                        average(*fetched, *took),
                        self.served(served)
                    ),
                }
            }
            Detail::ImageVerified {
                image,
                digest,
                rule,
                signers,
            } => {
                let verified = self.voice.paint(Role::Good, "verified");
                let signers = self.voice.foreign(&signers.join(", "));
                let (image, rule) = (self.voice.foreign(image), self.voice.foreign(rule));
                let digest = self.digest(digest);
                format!("{image}: {verified} {digest}  signed by {signers}, as {rule} asks")
            }
            Detail::NoticeSent {
                target,
                delivered,
                attempts,
                detail,
            } => {
                let (target, detail) = (self.voice.foreign(target), self.voice.foreign(detail));
                let counted = words::count(u64::from(*attempts), "attempt", "attempts");
                match (*delivered, *attempts) {
                    (true, 0 | 1) => format!("{target}: delivered"),
                    (true, _) => format!("{target}: delivered after {counted}"),
                    (false, 0) => format!("{target}: {detail}"),
                    (false, _) => {
                        let not = self.voice.paint(Role::Warn, "not delivered");
                        format!("{target}: {not} after {counted}: {detail}")
                    }
                }
            }
            Detail::RegistryChecked {
                registry,
                summary,
                latency,
                tls,
                certificate_expires,
            } => {
                let (registry, summary) =
                    (self.voice.foreign(registry), self.voice.foreign(summary));
                let mut facts = words::duration(*latency);
                for (label, fact) in [("", tls), ("certificate until ", certificate_expires)] {
                    if let Some(fact) = fact {
                        facts += &format!(", {label}{}", self.voice.foreign(fact));
                    }
                }
                format!("registry {registry}: {summary} ({facts})")
            }
            Detail::RegistryLogin {
                registry,
                username,
                origin,
            } => {
                let registry = self.voice.foreign(registry);
                match (username, origin) {
                    (Some(username), Some(origin)) => format!(
                        "registry {registry}: logged in as {} from {}",
                        self.voice.foreign(username),
                        self.voice.foreign(origin)
                    ),
                    (None, Some(origin)) => format!(
                        "registry {registry}: logged in with a token from {}",
                        self.voice.foreign(origin)
                    ),
                    (_, None) if self.verbosity < Verbosity::Verbose => return None,
                    (_, None) => format!("registry {registry}: anonymous"),
                }
            }
            Detail::RequestsCounted { hosts } => {
                if self.verbosity < Verbosity::Verbose {
                    return None;
                }
                let total = hosts.iter().map(|host| host.requests).sum();
                words::count(total, "request", "requests")
            }
            Detail::Sampled {
                probe,
                sample,
                found,
                ..
            } => return self.sampled(step, probe, sample, found),
            Detail::SignatureChecked {
                image,
                place,
                digest,
                verdict,
                signer,
                found,
            } => {
                let good = verdict == "good";
                let useless = self.useless_signatures.entry(image.clone()).or_default();
                *useless += u32::from(!good);
                // A good one is said when its image is verified.
                if self.verbosity < Verbosity::Verbose && (good || *useless > MOST_CHANGES) {
                    return None;
                }
                let digest = self.digest(digest);
                let foreign = |text: &str| self.voice.foreign(text);
                let (image, place, found) = (foreign(image), foreign(place), foreign(found));
                let role = if good { Role::Good } else { Role::Warn };
                let verdict = self.voice.paint(role, &foreign(verdict));
                let by = signer
                    .as_deref()
                    .map(|signer| format!(" by {}", foreign(signer)));
                let by = by.unwrap_or_default();
                format!("{image}: signature {digest} ({place}): {verdict}{by}, {found}")
            }
            _ => return None,
        })
    }

    /// Says who sent what was fetched.
    fn served(&self, served: &BTreeMap<String, u64>) -> String {
        let hosts: Vec<String> = match served.len() {
            1 => served.keys().map(|host| self.voice.foreign(host)).collect(),
            _ => {
                let mut all: Vec<_> = served.iter().collect();
                all.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
                let one = |(host, bytes): (&String, &u64)| {
                    format!("{} from {}", words::size(*bytes), self.voice.foreign(host))
                };
                all.into_iter().map(one).collect()
            }
        };
        match hosts.as_slice() {
            [] => String::new(),
            [host] => format!(", from {host}"),
            hosts => format!(", {}", hosts.join(", ")),
        }
    }

    fn sampled(
        &mut self,
        step: Option<&str>,
        probe: &str,
        sample: &str,
        found: &str,
    ) -> Option<String> {
        let key = (step.unwrap_or_default().to_owned(), probe.to_owned());
        let changes = self.probes.entry(key).or_default();
        let changed = changes.last != sample;
        sample.clone_into(&mut changes.last);
        changes.shown += u32::from(changed);
        let last_shown = changes.shown == MOST_CHANGES;
        if self.verbosity < Verbosity::Verbose && (!changed || changes.shown > MOST_CHANGES) {
            return None;
        }
        let role = match sample {
            "good" => Role::Good,
            "bad" => Role::Bad,
            _ => Role::Warn,
        };
        let sample = self.voice.paint(role, &self.voice.foreign(sample));
        let (probe, found) = (self.voice.foreign(probe), self.voice.foreign(found));
        let mut said = format!("{probe} is {sample}: {found}");
        if last_shown && self.verbosity < Verbosity::Verbose {
            said += "; it keeps changing, further changes are in the report";
        }
        Some(said)
    }
}

/// Returns the average rate of a transfer that was long enough to have one.
fn average(bytes: u64, took: Duration) -> String {
    let milliseconds = took.as_millis();
    if milliseconds < 100 {
        return String::new();
    }
    let rate = u128::from(bytes) * 1_000 / milliseconds;
    format!(
        " ({})",
        words::rate(u64::try_from(rate).unwrap_or(u64::MAX))
    )
}
