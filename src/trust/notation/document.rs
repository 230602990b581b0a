//! The `trustpolicy.json` of the Notary Project, version 1.0.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::level::{Action, Aspect, Level, Strictness};
use super::statement::{Notary, Scope, Statement, TimeStamps};
use super::store::{StoreError, StoreKind, TrustStore};
use super::subject::{Subject, SubjectError};
use crate::failure::{Explain, Fact};
use crate::trust::judge::quoted;

impl Notary {
    /// The most bytes of a trust policy.
    pub const MAX_FILE: usize = 1024 * 1024;

    /// Reads a `trustpolicy.json`; `store` reads a named trust store, once for each.
    ///
    /// # Errors
    /// What the specification of trust policies does not allow, keys that it does not know, and stores
    /// that can't be read.
    pub fn from_json(
        json: &[u8],
        mut store: impl FnMut(StoreKind, &str) -> Result<TrustStore, NotaryError>,
    ) -> Result<Self, NotaryError> {
        if json.len() > Self::MAX_FILE {
            return Err(malformed(&format!("more than {} bytes", Self::MAX_FILE)));
        }
        let document: Document =
            serde_json::from_slice(json).map_err(|error| malformed(&error.to_string()))?;
        if document.version != "1.0" {
            return Err(NotaryError::Version {
                version: quoted(&document.version),
            });
        }
        if document.trust_policies.is_empty() {
            return Err(malformed("no statement"));
        }
        let mut names = BTreeSet::new();
        let mut scopes = BTreeSet::new();
        let mut stores: BTreeMap<(StoreKind, String), TrustStore> = BTreeMap::new();
        let mut statements = Vec::new();
        for raw in document.trust_policies {
            let wrong = |reason: String| NotaryError::Statement {
                name: quoted(&raw.name),
                reason,
            };
            if raw.name.is_empty() || !names.insert(raw.name.clone()) {
                return Err(wrong("its name is empty, or that of another one".into()));
            }
            for scope in &raw.registry_scopes {
                if !scopes.insert(scope.clone()) {
                    return Err(wrong(format!(
                        "the scope `{}` is there twice",
                        quoted(scope)
                    )));
                }
            }
            let scope = scope(&raw.registry_scopes).map_err(wrong)?;
            let (strictness, time_stamps) = raw.signature_verification.read().map_err(wrong)?;
            let mut read = BTreeMap::new();
            if strictness.level() == Level::Skip {
                if !raw.trust_stores.is_empty() || !raw.trusted_identities.is_empty() {
                    return Err(wrong(
                        "with the level `skip` there are neither trust stores nor identities"
                            .into(),
                    ));
                }
            } else if raw.trust_stores.is_empty() || raw.trusted_identities.is_empty() {
                return Err(wrong(
                    "trust stores and identities must both be there".into(),
                ));
            }
            for text in &raw.trust_stores {
                let (kind, name) = store_name(text).map_err(wrong)?;
                let key = (kind, name.to_owned());
                let certificates = match stores.get(&key) {
                    Some(known) => known.clone(),
                    None => {
                        let certificates = store(kind, name)?;
                        stores.insert(key, certificates.clone());
                        certificates
                    }
                };
                let all: &mut TrustStore = read.entry(kind).or_default();
                all.0.extend(certificates.0);
            }
            let identities = identities(&raw.trusted_identities)
                .map_err(|error| error.in_statement(&raw.name))?;
            statements.push(Statement {
                name: raw.name,
                scope,
                strictness,
                time_stamps,
                stores: read,
                identities,
                metadata: BTreeMap::new(),
            });
        }
        Ok(Self::of(statements))
    }
}

/// Reads trusted identities: `*` alone, or `x509.subject:` with parts of subjects, none of which covers another.
///
/// # Errors
/// What is neither, and what would make one of them needless.
pub fn identities(texts: &[String]) -> Result<Vec<Subject>, NotaryError> {
    if texts.len() > 1 && texts.iter().any(|text| text == "*") {
        return Err(NotaryError::Identities {
            reason: "`*` stands beside others, which it includes".into(),
        });
    }
    let mut subjects: Vec<Subject> = Vec::new();
    for text in texts {
        if text == "*" {
            continue;
        }
        let subject = match text.split_once(':') {
            Some(("x509.subject", subject)) => subject,
            Some((kind, _)) if !kind.contains('=') => {
                return Err(NotaryError::Identities {
                    reason: format!("identities of the kind `{}` are not known", quoted(kind)),
                });
            }
            // The document writes subjects alone.
            _ => text,
        };
        let subject: Subject =
            subject
                .trim_start()
                .parse()
                .map_err(|error| NotaryError::Subject {
                    text: quoted(text),
                    error,
                })?;
        let other = subjects
            .iter()
            .find(|other| other.covers(&subject) || subject.covers(other));
        if let Some(other) = other {
            return Err(NotaryError::Identities {
                reason: format!("one of `{other}` and `{subject}` includes the other"),
            });
        }
        subjects.push(subject);
    }
    Ok(subjects)
}

/// A trust policy that can't be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotaryError {
    /// Its identities can't be decided.
    #[error("the trusted identities can't be used: {reason}")]
    Identities {
        /// Why.
        reason: String,
    },
    /// It is no trust policy.
    #[error("it is no trust policy: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// A statement breaks a rule of the specification.
    #[error("the statement `{name}` can't be used: {reason}")]
    Statement {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A trust store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A trust store is not there, or empty.
    #[error("the trust store `{kind}:{name}` has no certificate: {reason}")]
    StoreMissing {
        /// What it is trusted for.
        kind: StoreKind,
        /// Its name.
        name: String,
        /// What the system said.
        reason: String,
    },
    /// A trusted identity is no subject.
    #[error("`{text}` is no trusted identity: {error}")]
    Subject {
        /// The identity.
        text: String,
        /// What is wrong with it.
        #[source]
        error: SubjectError,
    },
    /// It has a version that is not known.
    #[error("the version of the trust policy is `{version}`, known is 1.0")]
    Version {
        /// The version.
        version: String,
    },
}

impl NotaryError {
    fn in_statement(self, name: &str) -> Self {
        match self {
            Self::Identities { reason } => Self::Statement {
                name: quoted(name),
                reason,
            },
            other => other,
        }
    }
}

impl Explain for NotaryError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => return error.hint(),
            Self::Subject { error, .. } => return error.hint(),
            Self::StoreMissing { kind, name, .. } => format!(
                "put certificates in PEM or DER into `x509/{kind}/{name}` of the trust store's folder: `notation cert add --type {kind} --store {name} FILE`"
            ),
            Self::Identities { .. } => {
                "write `*`, or subjects of which none includes another: `C=US, ST=WA, O=acme`".into()
            }
            Self::Malformed { .. } | Self::Version { .. } => {
                "`notation policy show` prints one that can be used".into()
            }
            Self::Statement { .. } => {
                "the rules are those of the Notary Project's trust policy specification, version 1.0".into()
            }
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Statement { name, .. } => vec![Fact::new("statement", name)],
            _ => Vec::new(),
        }
    }
}

fn malformed(reason: &str) -> NotaryError {
    NotaryError::Malformed {
        reason: quoted(reason),
    }
}

fn scope(texts: &[String]) -> Result<Scope, String> {
    match texts {
        [] => Err("it has no registry scope".into()),
        [all] if all == "*" => Ok(Scope::Every),
        texts => {
            for text in texts {
                let is_repository = text
                    .split_once('/')
                    .is_some_and(|(registry, path)| !registry.is_empty() && !path.is_empty());
                let written = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
                if !is_repository || !text.chars().all(written) {
                    return Err(format!(
                        "the scope `{}` is no repository with its registry, and patterns there are none",
                        quoted(text)
                    ));
                }
            }
            Ok(Scope::Repositories(texts.iter().cloned().collect()))
        }
    }
}

fn store_name(text: &str) -> Result<(StoreKind, &str), String> {
    let known = |kind: &str| StoreKind::ALL.into_iter().find(|it| it.name() == kind);
    let written = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match text.split_once(':') {
        Some((kind, name))
            if !name.is_empty() && name.chars().all(written) && !name.chars().all(|c| c == '.') =>
        {
            known(kind)
                .map(|kind| (kind, name))
                .ok_or_else(|| format!("there are no trust stores of the type `{}`", quoted(kind)))
        }
        _ => Err(format!(
            "`{}` is no trust store: it is written `ca:NAME`, `signingAuthority:NAME` or `tsa:NAME`",
            quoted(text)
        )),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    version: String,
    trust_policies: Vec<RawStatement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawStatement {
    name: String,
    #[serde(default)]
    registry_scopes: Vec<String>,
    signature_verification: RawVerification,
    #[serde(default)]
    trust_stores: Vec<String>,
    #[serde(default)]
    trusted_identities: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawVerification {
    level: String,
    #[serde(default, rename = "override")]
    overrides: BTreeMap<String, String>,
    verify_timestamp: Option<String>,
}

impl RawVerification {
    fn read(&self) -> Result<(Strictness, TimeStamps), String> {
        let level = one_of(&Level::ALL, "level", &self.level)?;
        let mut overrides = BTreeMap::new();
        for (aspect, action) in &self.overrides {
            overrides.insert(
                one_of(&Aspect::ALL, "overridable check", aspect)?,
                one_of(&Action::ALL, "action", action)?,
            );
        }
        let time_stamps = match self.verify_timestamp.as_deref() {
            None | Some("") => TimeStamps::default(),
            Some(text) => one_of(&TimeStamps::ALL, "value of `verifyTimestamp`", text)?,
        };
        let strictness = Strictness::new(level, overrides).map_err(str::to_owned)?;
        Ok((strictness, time_stamps))
    }
}

fn one_of<T: Copy>(all: &[(T, &str)], what: &str, text: &str) -> Result<T, String> {
    let known = all.iter().find(|(_, name)| *name == text);
    known.map(|(value, _)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        format!(
            "`{}` is no {what}; there are {}",
            quoted(text),
            names.join(", ")
        )
    })
}
