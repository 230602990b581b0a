//! Who signs, as a document says it.

use std::path::{Path, PathBuf};

use schemars::{Schema, json_schema};

use super::convert::{Context, FromScalar, Problem, Shape};
use super::diagnostic::Kind;
use super::map::OneOrMany;
use super::model::Trust;
use super::notary::Notation;
use super::record::{choice, record};
use super::source::Spanned;
use super::tree::Node;
use crate::trust::keyless::{Claim, SubjectError, SubjectPattern};
use crate::trust::{Identity, LogRequirement, TrustRoot};

record! {
    /// Someone who signs: whoever holds a key, or whom an issuer of identities vouches for.
    pub struct Signer("a signer") {
        /// PEM files with public keys, relative to the working directory. One of them must have signed.
        key: Option<OneOrMany<Spanned<PathBuf>>>,
        /// Who vouches for the identity, to the letter: `https://token.actions.githubusercontent.com`.
        issuer: Option<Spanned<Issuer>>,
        /// The identity in the certificate, or several of which one must have signed. `*` stands for one or more
        /// characters but `/`, `**` for whole segments.
        subject: Option<OneOrMany<Spanned<SubjectPattern>>>,
        /// What else the certificate has to say, to the letter.
        claims: Option<Claims>,
        /// Whether a transparency log must have the signature: `required` is the default with `issuer`, `ignored` with `key`.
        tlog: Option<Spanned<Log>>,
        /// Whoever signs with certificates of the Notary Project (`notation sign`).
        notation: Option<Notation>,
    }
    later = ["certificate", "subject-regexp", "transparency-log"];
    check = check;
}

record! {
    /// What a certificate says of the CI job that it was given to.
    pub struct Claims("`claims`") {
        /// The URI of the workflow that ran, with its ref.
        build_config: Option<Spanned<String>>,
        /// The URI of the workflow that signed, with its ref.
        build_signer: Option<Spanned<String>>,
        /// The deployment environment.
        environment: Option<Spanned<String>>,
        /// The URI of the repository's owner.
        owner: Option<Spanned<String>>,
        /// The branch or tag: `refs/heads/main`.
        r#ref: Option<Spanned<String>>,
        /// The repository, as a URI or in GitHub's short form `acme/web`.
        repository: Option<Spanned<String>>,
        /// `github-hosted` or `self-hosted`.
        runner: Option<Spanned<String>>,
        /// The commit.
        sha: Option<Spanned<String>>,
        /// The event that started the job: `push`.
        trigger: Option<Spanned<String>>,
        /// Whether the repository was `public` when it signed.
        visibility: Option<Spanned<String>>,
        /// The name of GitHub's workflow.
        workflow: Option<Spanned<String>>,
    }
}

choice! {
    /// Whether a transparency log must have a signature.
    pub enum Log("a treatment of the transparency log", later = []) {
        /// A log must have it.
        Required = "required",
        /// It counts without.
        Ignored = "ignored",
    }
}

impl Signer {
    /// Returns the identity, if it is one.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        let subjects = self.subject.as_ref().map(|subjects| {
            let subjects = subjects.0.iter();
            subjects.map(|subject| subject.value.clone()).collect()
        });
        Some(Identity {
            issuer: self.issuer.as_ref()?.value.0.clone(),
            subjects: subjects?,
            claims: self.claims.as_ref().map_or_else(Vec::new, Claims::listed),
        })
    }

    /// Returns whether a transparency log must have its signatures.
    #[must_use]
    pub fn log(&self) -> LogRequirement {
        match self.tlog.as_ref().map(|log| log.value) {
            Some(Log::Required) => LogRequirement::Required,
            Some(Log::Ignored) => LogRequirement::Ignored,
            None if self.key.is_some() => LogRequirement::Ignored,
            None => LogRequirement::Required,
        }
    }
}

impl Claims {
    fn listed(&self) -> Vec<(Claim, String)> {
        let of = |claim| match claim {
            Claim::BuildConfig => &self.build_config,
            Claim::BuildSigner => &self.build_signer,
            Claim::Environment => &self.environment,
            Claim::Owner => &self.owner,
            Claim::Ref => &self.r#ref,
            Claim::Repository => &self.repository,
            Claim::Runner => &self.runner,
            Claim::Sha => &self.sha,
            Claim::Trigger => &self.trigger,
            Claim::Visibility => &self.visibility,
            Claim::Workflow => &self.workflow,
        };
        let claims = Claim::ALL.into_iter();
        claims
            .filter_map(|claim| Some((claim, of(claim).as_ref()?.value.clone())))
            .collect()
    }
}

fn check(signer: &Signer, node: &Node, context: &mut Context<'_>) {
    // A key that is not known may be one of these, misspelt: that is said already.
    let known =
        |key: &str| ["key", "issuer", "subject", "claims", "tlog", "notation"].contains(&key);
    let entries = node.mapping().unwrap_or_default();
    if entries.iter().any(|entry| !known(&entry.key)) {
        return;
    }
    let has = |key: &str| node.entry(key).is_some();
    if has("notation") {
        let others = ["key", "issuer", "subject", "claims", "tlog"];
        if let Some(other) = others.into_iter().find(|key| has(key)) {
            let message = format!("the signer has `notation` and `{other}`");
            let diagnostic = context.error(Kind::Conflict, node.span, message);
            context.push(
                diagnostic
                    .caused_by("a signer is of one kind")
                    .helped("make two signers of it, and name both in a rule"),
            );
        }
        return;
    }
    let (kind, message, cause, help) = match (has("key"), has("issuer"), has("subject")) {
        (true, true, _) | (true, _, true) => (
            Kind::Conflict,
            "the signer is a key and an identity",
            "a signer is whoever holds a key, or whom an issuer vouches for",
            "make two signers of it, and name both in a rule",
        ),
        (true, false, false) if has("claims") => (
            Kind::Conflict,
            "a key makes no claims",
            "`claims` are what a certificate says",
            "remove `claims`, or write `issuer` and `subject` in place of `key`",
        ),
        (true, false, false) | (false, true, true) => {
            anybody(signer, context);
            return;
        }
        (false, false, false) => (
            Kind::MissingKey,
            "the signer is nobody",
            "it has neither a key nor an identity, nor certificates",
            "write `key: cosign.pub`, or `issuer` and `subject`, or `notation`",
        ),
        (false, true, false) => (
            Kind::MissingKey,
            "the signer has no `subject`",
            "without it, it would be anybody whom the issuer knows",
            "write whom the certificate must name: `subject: \"https://github.com/acme/*/.github/workflows/release.yml@refs/tags/**\"`",
        ),
        (false, false, true) => (
            Kind::MissingKey,
            "the signer has no `issuer`",
            "anybody can claim an identity: what counts is who vouches for it",
            "write who does: `issuer: \"https://token.actions.githubusercontent.com\"`",
        ),
    };
    let diagnostic = context.error(kind, node.span, message);
    context.push(diagnostic.caused_by(cause).helped(help));
}

/// Refuses an identity that is anybody's.
fn anybody(signer: &Signer, context: &mut Context<'_>) {
    let Some(subjects) = &signer.subject else {
        return;
    };
    let claims = signer.claims.as_ref().map_or_else(Vec::new, Claims::listed);
    let known = |subject: &&Spanned<SubjectPattern>| subject.known && subject.value.is_anybody();
    if let Some(subject) = subjects.0.iter().find(known).filter(|_| claims.is_empty()) {
        let diagnostic = context.error(
            Kind::Inconsistent,
            subject.span,
            "the signer is anybody whom the issuer knows",
        );
        context.push(
            diagnostic
                .caused_by("the pattern matches every identity, and there are no `claims`")
                .helped("name whom you mean, or add `claims: {repository: acme/web}`"),
        );
    }
}

impl Trust {
    /// Returns the files that it names: keys of signers and trust roots.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let keys = self.signers.values().flat_map(|signer| &signer.key);
        let keys = keys.flat_map(|key| &key.0).map(|path| path.value.as_path());
        let roots = self.roots.iter().flat_map(|roots| &roots.0);
        let notations = self.signers.values().flat_map(|signer| &signer.notation);
        let keys = keys.chain(notations.flat_map(Notation::files));
        keys.chain(roots.filter_map(|root| match &root.value {
            RootSource::Embedded(_) => None,
            RootSource::File(path) => Some(path.as_path()),
        }))
    }
}

/// An issuer of identities.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuer(pub String);

impl FromScalar for Issuer {
    const WHAT: &'static str = "an issuer";
    const EXAMPLE: &'static str = "https://token.actions.githubusercontent.com";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.contains('*') {
            return Err(Problem::new("an issuer is compared to the letter").helped(
                "write it out; several issuers are several signers, of which a rule names `any`",
            ));
        }
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return Err(Problem {
                suggestion: Some(format!("https://{text}")),
                ..Problem::new("an issuer is a URL, written as in its tokens")
            });
        }
        Ok(Self(text.to_owned()))
    }

    fn stand_in() -> Self {
        Self("https://issuer.example".to_owned())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^https?://[^*]+$"})
    }
}

impl FromScalar for SubjectPattern {
    const WHAT: &'static str = "a pattern of identities";
    const EXAMPLE: &'static str = "https://github.com/acme/**";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse()
            .map_err(|error: SubjectError| Problem::new(error.reason).helped(error.hint))
    }

    #[expect(clippy::expect_used, reason = "the text is a pattern")]
    fn stand_in() -> Self {
        "stand-in".parse().expect("a pattern")
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": Self::MAX_LENGTH})
    }
}

/// Where a trust root comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RootSource {
    /// It is compiled in, under this name.
    Embedded(&'static str),
    /// A `trusted_root.json`.
    File(PathBuf),
}

impl FromScalar for RootSource {
    const WHAT: &'static str = "a trust root";
    const EXAMPLE: &'static str = "sigstore";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        let embedded = [TrustRoot::SIGSTORE, TrustRoot::GITHUB];
        if let Some(name) = embedded.into_iter().find(|name| *name == text) {
            return Ok(Self::Embedded(name));
        }
        if !text.contains(['/', '.']) {
            return Err(
                Problem::new(format!("no trust root is called `{text}`")).helped(format!(
                    "write `{}`, `{}` or a path such as `./trusted_root.json`",
                    embedded[0], embedded[1]
                )),
            );
        }
        PathBuf::parse(text).map(Self::File)
    }

    fn stand_in() -> Self {
        Self::Embedded(TrustRoot::SIGSTORE)
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(sigstore|github|.*[/.].*)$"})
    }
}
