//! Signers by certificates of the Notary Project: which chains, which names, how strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::level::{Action, Aspect, Level, Strictness};
use super::store::{StoreKind, TrustStore};
use super::subject::Subject;
use crate::oci::digest::Hasher;
use crate::oci::{Digest, Repository};

/// Somebody who signs with certificates, as the Notary Project does.
///
/// A signer that a document describes has one statement; one that is read from a `trustpolicy.json` has
/// as many as that has, and the one for the image's repository counts.
#[derive(Clone, Debug)]
pub struct Notary {
    statements: Vec<Statement>,
}

impl Notary {
    /// Makes a signer of one statement, which is about every repository.
    #[must_use]
    pub fn new(statement: Statement) -> Self {
        Self {
            statements: vec![statement],
        }
    }

    pub(super) const fn of(statements: Vec<Statement>) -> Self {
        Self { statements }
    }

    /// Returns the statement for a repository: one that names it before the one for all others.
    #[must_use]
    pub fn statement_for(&self, repository: &Repository) -> Option<&Statement> {
        let name = repository.to_string();
        let exact = self
            .statements
            .iter()
            .find(|it| matches!(&it.scope, Scope::Repositories(names) if names.contains(&name)));
        exact.or_else(|| self.statements.iter().find(|it| it.scope == Scope::Every))
    }

    /// Returns the statements.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Returns a digest of everything that verdicts rest on.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let mut hash = Hasher::new();
        let mut part = |text: &str| {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        for statement in &self.statements {
            part(&statement.name);
            part(&format!("{:?}", statement.scope));
            part(&statement.strictness.to_string());
            part(&format!("{:?}", statement.time_stamps));
            part(&format!(
                "{:?} {:?}",
                statement.identities, statement.metadata
            ));
            for (kind, store) in &statement.stores {
                part(kind.name());
                store
                    .fingerprints()
                    .for_each(|digest| part(&digest.to_string()));
            }
        }
        hash.finish()
    }

    /// Tells whether one certificate could be a signer of both.
    pub(in crate::trust) fn overlaps(&self, other: &Self) -> bool {
        self.statements
            .iter()
            .any(|one| other.statements.iter().any(|two| one.overlaps(two)))
    }

    /// Tells whether a statement of it accepts signatures of anybody.
    pub(in crate::trust) fn trusts_anybody(&self) -> bool {
        self.statements
            .iter()
            .any(|it| it.strictness.of(Aspect::Authenticity) != Action::Enforce)
    }
}

/// What has to be true of a signature.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What reports call it.
    pub name: String,
    /// Which repositories it is about.
    pub scope: Scope,
    /// How strict it is.
    pub strictness: Strictness,
    /// When a time stamp is asked for, if there is a store of time-stamp authorities.
    pub time_stamps: TimeStamps,
    /// The certificates that chains have to lead to.
    pub stores: BTreeMap<StoreKind, TrustStore>,
    /// Whom the certificate has to name, any of these; nobody in particular if there is none.
    pub identities: Vec<Subject>,
    /// What the signer has to have written beside the image's digest, to the letter.
    pub metadata: BTreeMap<String, String>,
}

impl Statement {
    /// Tells whether nothing is looked at.
    #[must_use]
    pub fn skips(&self) -> bool {
        self.strictness.level() == Level::Skip
    }

    /// Returns the certificates of a kind; there may be none.
    pub(super) fn store(&self, kind: StoreKind) -> Option<&TrustStore> {
        self.stores.get(&kind)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let names = self.identities.is_empty()
            || other.identities.is_empty()
            || self
                .identities
                .iter()
                .any(|one| other.identities.iter().any(|two| one.overlaps(two)));
        let stores = [StoreKind::Authority, StoreKind::SigningAuthority];
        let chains = stores.into_iter().any(|kind| {
            matches!((self.store(kind), other.store(kind)), (Some(one), Some(two)) if one.overlaps(two))
        });
        self.scope.overlaps(&other.scope) && names && chains
    }
}

/// Which repositories a statement is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Every one for which there is no other.
    Every,
    /// These, written with their registry.
    Repositories(BTreeSet<String>),
}

impl Scope {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Repositories(one), Self::Repositories(two)) => !one.is_disjoint(two),
            _ => true,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("*"),
            Self::Repositories(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

/// When a time stamp is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TimeStamps {
    /// Only once a certificate of the chain has ended.
    AfterExpiry,
    /// Always.
    #[default]
    Always,
}

impl TimeStamps {
    /// Both, with their names in trust policies.
    pub const ALL: [(Self, &'static str); 2] = [
        (Self::Always, "always"),
        (Self::AfterExpiry, "afterCertExpiry"),
    ];
}
