//! Whom a certificate has to name.

use std::fmt;

use serde::Serialize;
use sigstore_verify::crypto::FulcioCiClaims;

use super::subject::SubjectPattern;

/// Somebody who proves who they are to an issuer, and signs with a certificate that says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The issuer of the token (`https://token.actions.githubusercontent.com`), to the letter.
    pub issuer: String,
    /// Whom the certificate names; one of these.
    pub subjects: Vec<SubjectPattern>,
    /// What else the certificate has to say, to the letter.
    pub claims: Vec<(Claim, String)>,
}

impl Identity {
    /// Returns the first thing that a certificate says otherwise; nothing means that it is this identity's.
    pub(in crate::trust) fn mismatch(&self, certificate: &Certificate) -> Option<Mismatch> {
        if certificate.issuer != self.issuer {
            return Some(Mismatch {
                what: "issuer".into(),
                expected: self.issuer.clone(),
                found: certificate.issuer.clone(),
            });
        }
        let mut subjects = self.subjects.iter();
        if !subjects.any(|subject| subject.matches(&certificate.identity)) {
            return Some(Mismatch {
                what: "subject".into(),
                expected: self.subjects_shown(),
                found: certificate.identity.clone(),
            });
        }
        self.claims.iter().find_map(|(claim, expected)| {
            let found = claim.of(&certificate.claims);
            (!found.contains(&expected.as_str())).then(|| Mismatch {
                what: format!("claims.{claim}"),
                expected: expected.clone(),
                found: found.first().map_or("none", |found| found).to_owned(),
            })
        })
    }

    /// Tells whether one certificate could be both identities'.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let contradicts = |(claim, value): &(Claim, String)| {
            let same = |(other, _): &&(Claim, String)| other == claim;
            // A repository has two spellings, so two values of it need not contradict each other.
            *claim != Claim::Repository
                && other
                    .claims
                    .iter()
                    .find(same)
                    .is_some_and(|(_, other)| other != value)
        };
        let mut pairs = self
            .subjects
            .iter()
            .flat_map(|mine| other.subjects.iter().map(move |theirs| (mine, theirs)));
        self.issuer == other.issuer
            && pairs.any(|(mine, theirs)| mine.overlaps(theirs))
            && !self.claims.iter().any(contradicts)
    }

    fn subjects_shown(&self) -> String {
        let subjects: Vec<String> = self.subjects.iter().map(ToString::to_string).collect();
        subjects.join(" or ")
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (issuer {})", self.subjects_shown(), self.issuer)?;
        for (claim, value) in &self.claims {
            write!(f, ", {claim} {value}")?;
        }
        Ok(())
    }
}

/// What a certificate says of its holder, once it is verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::trust) struct Certificate {
    pub(in crate::trust) identity: String,
    pub(in crate::trust) issuer: String,
    pub(in crate::trust) claims: FulcioCiClaims,
}

/// Something in which a certificate is not what a signer asks for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Mismatch {
    /// The key of the signer that asks for it: `issuer`, `subject`, `claims.repository`, ….
    pub what: String,
    /// What the signer asks for.
    pub expected: String,
    /// What the certificate says.
    pub found: String,
}

/// A statement of a certificate about the CI job that it was given to
/// ([the list](https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md)).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Claim {
    /// `build-config`: the URI of the workflow that ran, with its ref (1.18).
    BuildConfig,
    /// `build-signer`: the URI of the workflow that signed, with its ref (1.9).
    BuildSigner,
    /// `environment`: the deployment environment (1.23).
    Environment,
    /// `owner`: the URI of the repository's owner (1.16).
    Owner,
    /// `ref`: the branch or tag, `refs/heads/main` (1.14, before that 1.6).
    Ref,
    /// `repository`: as a URI (1.12) or in GitHub's short form `acme/web` (1.5).
    Repository,
    /// `runner`: `github-hosted` or `self-hosted` (1.11).
    Runner,
    /// `sha`: the commit (1.13, before that 1.3).
    Sha,
    /// `trigger`: the event that started the job (1.20, before that 1.2).
    Trigger,
    /// `visibility`: whether the repository was public when it signed (1.22).
    Visibility,
    /// `workflow`: the name of GitHub's workflow (1.4).
    Workflow,
}

impl Claim {
    /// Every claim.
    pub const ALL: [Self; 11] = [
        Self::BuildConfig,
        Self::BuildSigner,
        Self::Environment,
        Self::Owner,
        Self::Ref,
        Self::Repository,
        Self::Runner,
        Self::Sha,
        Self::Trigger,
        Self::Visibility,
        Self::Workflow,
    ];

    /// Returns the key under `claims`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BuildConfig => "build-config",
            Self::BuildSigner => "build-signer",
            Self::Environment => "environment",
            Self::Owner => "owner",
            Self::Ref => "ref",
            Self::Repository => "repository",
            Self::Runner => "runner",
            Self::Sha => "sha",
            Self::Trigger => "trigger",
            Self::Visibility => "visibility",
            Self::Workflow => "workflow",
        }
    }

    /// Returns what a certificate says; the older form of a claim counts only where the newer one is missing.
    fn of(self, claims: &FulcioCiClaims) -> Vec<&str> {
        let older = &claims.deprecated_github;
        let (newer, older) = match self {
            Self::BuildConfig => (&claims.build_config_uri, &None),
            Self::BuildSigner => (&claims.build_signer_uri, &None),
            Self::Environment => (&claims.deployment_environment, &None),
            Self::Owner => (&claims.source_repository_owner_uri, &None),
            Self::Ref => (&claims.source_repository_ref, &older.workflow_ref),
            Self::Repository => {
                let both = [&claims.source_repository_uri, &older.workflow_repository];
                return both.into_iter().flatten().map(String::as_str).collect();
            }
            Self::Runner => (&claims.runner_environment, &None),
            Self::Sha => (&claims.source_repository_digest, &older.workflow_sha),
            Self::Trigger => (&claims.build_trigger, &older.workflow_trigger),
            Self::Visibility => (&claims.source_repository_visibility_at_signing, &None),
            Self::Workflow => (&older.workflow_name, &None),
        };
        newer.as_deref().or(older.as_deref()).into_iter().collect()
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(issuer: &str, subject: &str, claims: &[(Claim, &str)]) -> Identity {
        Identity {
            issuer: issuer.into(),
            subjects: vec![subject.parse().unwrap()],
            claims: claims
                .iter()
                .map(|(claim, value)| (*claim, (*value).into()))
                .collect(),
        }
    }

    fn certificate() -> Certificate {
        let mut claims = FulcioCiClaims::default();
        claims.source_repository_uri = Some("https://github.com/acme/web".into());
        claims.deprecated_github.workflow_repository = Some("acme/web".into());
        claims.source_repository_ref = Some("refs/heads/main".into());
        claims.deprecated_github.workflow_ref = Some("refs/heads/other".into());
        claims.deprecated_github.workflow_trigger = Some("push".into());
        Certificate {
            identity: "https://github.com/acme/web/x@refs/heads/main".into(),
            issuer: "https://issuer.example".into(),
            claims,
        }
    }

    #[test]
    fn the_first_mismatch_is_named() {
        let issuer = "https://issuer.example";
        let subject = "https://github.com/acme/**";
        let what = |identity: Identity| identity.mismatch(&certificate()).map(|found| found.what);
        assert_eq!(what(identity(issuer, subject, &[])), None);
        for issuer in [
            "https://issuer.example/",
            "https://issuer.exampl",
            "issuer.example",
        ] {
            assert_eq!(
                what(identity(issuer, subject, &[])).as_deref(),
                Some("issuer")
            );
        }
        assert_eq!(
            what(identity(issuer, "https://github.com/acme/*", &[])).as_deref(),
            Some("subject")
        );
        for (claim, value, matches) in [
            (Claim::Repository, "acme/web", true),
            (Claim::Repository, "https://github.com/acme/web", true),
            (Claim::Repository, "acme/we", false),
            (Claim::Ref, "refs/heads/main", true),
            (Claim::Ref, "refs/heads/other", false),
            (Claim::Trigger, "push", true),
            (Claim::Trigger, "pull_request", false),
            (Claim::Environment, "production", false),
        ] {
            let found = what(identity(issuer, subject, &[(claim, value)]));
            assert_eq!(found.is_none(), matches, "{claim} {value}");
        }
    }

    #[test]
    fn identities_that_could_be_one_certificate_overlap() {
        let issuer = "https://issuer.example";
        let any = identity(issuer, "https://github.com/acme/**", &[]);
        let web = identity(
            issuer,
            "https://github.com/acme/web/x",
            &[(Claim::Ref, "a")],
        );
        let branch = identity(issuer, "https://github.com/acme/**", &[(Claim::Ref, "b")]);
        assert!(any.overlaps(&web) && web.overlaps(&any) && any.overlaps(&branch));
        assert!(!web.overlaps(&branch));
        assert!(!any.overlaps(&identity("https://other.example", "**/x", &[])));
    }
}
