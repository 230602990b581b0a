//! Signers of the Notary Project, as a document says it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::{Schema, json_schema};

use super::convert::{Context, FromScalar, Problem, Shape};
use super::diagnostic::Kind;
use super::map::{Map, OneOrMany};
use super::record::{choice, record};
use super::source::Spanned;
use super::tree::Node;
use crate::failure::Explain as _;
use crate::trust::notation::{self, Action, Aspect, Level, StoreKind, Strictness, TimeStamps};

record! {
    /// Whoever signs with certificates of the Notary Project. Either `ca` and what belongs to it, or an existing
    /// `policy` with its `store`.
    pub struct Notation("`notation`") {
        /// Certificates of authorities that the signer's chain must lead to: files in PEM or DER, or folders of them.
        ca: Option<OneOrMany<Spanned<PathBuf>>>,
        /// Certificates of authorities that sign for others and whose word on the time counts, for signatures of that
        /// scheme.
        signing_authority: Option<OneOrMany<Spanned<PathBuf>>>,
        /// Root certificates of time-stamp authorities.
        tsa: Option<OneOrMany<Spanned<PathBuf>>>,
        /// Parts of the subject that the signer's certificate must have, to the letter: `C=US, ST=WA, O=acme`; several are
        /// alternatives. `*` is whomever the authorities know.
        identity: Option<OneOrMany<Spanned<TrustedSubject>>>,
        /// How strict it is.
        level: Option<Spanned<LevelName>>,
        /// What is treated otherwise than the level does.
        r#override: Option<Overrides>,
        /// When a time stamp must be there, if there is a `tsa`.
        verify_timestamp: Option<Spanned<TimeStampUse>>,
        /// What the signer must have written beside the image (`notation sign --user-metadata`), to the letter.
        metadata: Option<Map<String, Spanned<String>>>,
        /// A `trustpolicy.json`. The statement for the image's repository counts.
        policy: Option<Spanned<PathBuf>>,
        /// The folder `truststore` that belongs to it, with `x509` below.
        store: Option<Spanned<PathBuf>>,
    }
    check = check;
}

record! {
    /// What is treated otherwise than the level does.
    pub struct Overrides("`override`") {
        /// Who signed.
        authenticity: Option<Spanned<ActionName>>,
        /// When it was signed.
        authentic_timestamp: Option<Spanned<ActionName>>,
        /// The end that the signer gave the signature.
        expiry: Option<Spanned<ActionName>>,
        /// Whether certificates are revoked. This alone can be skipped.
        revocation: Option<Spanned<ActionName>>,
    }
}

choice! {
    /// How strict a signer is.
    pub enum LevelName("a level", later = []) {
        /// Every check must pass.
        Strict = "strict",
        /// Time and revocation are reported only.
        Permissive = "permissive",
        /// Everything is reported only, as long as the signature is whole.
        Audit = "audit",
        /// Nothing is looked at.
        Skip = "skip",
    }
}

choice! {
    /// What follows when a check fails.
    pub enum ActionName("an action", later = []) {
        /// The signature does not count.
        Enforce = "enforce",
        /// It counts, with a warning.
        Log = "log",
        /// The check is not made.
        Skip = "skip",
    }
}

choice! {
    /// When a time stamp must be there.
    pub enum TimeStampUse("a time for time stamps", later = []) {
        /// Always.
        Always = "always",
        /// Once a certificate of the signer's chain has ended.
        AfterCertExpiry = "after-cert-expiry",
    }
}

impl Notation {
    /// Returns the certificates of each kind.
    pub fn stores(&self) -> impl Iterator<Item = (StoreKind, &[Spanned<PathBuf>])> {
        let stores = [
            (StoreKind::Authority, &self.ca),
            (StoreKind::SigningAuthority, &self.signing_authority),
            (StoreKind::TimeStamping, &self.tsa),
        ];
        stores
            .into_iter()
            .filter_map(|(kind, files)| Some((kind, files.as_ref()?.0.as_slice())))
    }

    /// Returns the files and folders that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let certificates = self.stores().flat_map(|(_, files)| files);
        let others = self.policy.iter().chain(&self.store);
        certificates.chain(others).map(|path| path.value.as_path())
    }

    /// Returns how strict it is.
    ///
    /// # Errors
    /// Overrides that there can't be.
    pub fn strictness(&self) -> Result<Strictness, &'static str> {
        let level = match self.level.as_ref().map(|level| level.value) {
            None | Some(LevelName::Strict) => Level::Strict,
            Some(LevelName::Permissive) => Level::Permissive,
            Some(LevelName::Audit) => Level::Audit,
            Some(LevelName::Skip) => Level::Skip,
        };
        let mut overrides = BTreeMap::new();
        if let Some(given) = &self.r#override {
            for (aspect, action) in [
                (Aspect::Authenticity, &given.authenticity),
                (Aspect::AuthenticTimestamp, &given.authentic_timestamp),
                (Aspect::Expiry, &given.expiry),
                (Aspect::Revocation, &given.revocation),
            ] {
                let action = match action.as_ref().map(|action| action.value) {
                    None => continue,
                    Some(ActionName::Enforce) => Action::Enforce,
                    Some(ActionName::Log) => Action::Log,
                    Some(ActionName::Skip) => Action::Skip,
                };
                overrides.insert(aspect, action);
            }
        }
        Strictness::new(level, overrides)
    }

    /// Returns when a time stamp must be there.
    #[must_use]
    pub fn time_stamps(&self) -> TimeStamps {
        match self.verify_timestamp.as_ref().map(|time| time.value) {
            None | Some(TimeStampUse::Always) => TimeStamps::Always,
            Some(TimeStampUse::AfterCertExpiry) => TimeStamps::AfterExpiry,
        }
    }

    /// Returns the identities as they are written.
    #[must_use]
    pub fn identities(&self) -> Vec<String> {
        let identities = self.identity.iter().flat_map(|identity| &identity.0);
        identities.map(|subject| subject.value.0.clone()).collect()
    }
}

fn check(notation: &Notation, node: &Node, context: &mut Context<'_>) {
    let own = [
        "ca",
        "signing-authority",
        "tsa",
        "identity",
        "level",
        "override",
        "verify-timestamp",
        "metadata",
    ];
    let entries = node.mapping().unwrap_or_default();
    let known = |key: &str| own.contains(&key) || ["policy", "store"].contains(&key);
    // A key that is not known may be one of these, misspelt: that is said already.
    if entries.iter().any(|entry| !known(&entry.key)) {
        return;
    }
    let has = |key: &str| node.entry(key).is_some();
    let beside = own.into_iter().find(|key| has(key));
    let skips = notation
        .level
        .as_ref()
        .is_some_and(|level| level.known && level.value == LevelName::Skip);
    let chains = has("ca") || has("signing-authority");
    let (kind, message, cause, help) = match (has("policy"), has("store"), beside) {
        (true, _, Some(beside)) => (
            Kind::Conflict,
            format!("`policy` and `{beside}` are both there"),
            "a trust policy says by itself how strict it is, and whose certificates count",
            "remove one of them",
        ),
        (true, false, None) | (false, true, _) => (
            Kind::MissingKey,
            "`policy` and `store` belong together".to_owned(),
            "a trust policy names trust stores, which are folders below the store",
            "write both: `{policy: trustpolicy.json, store: truststore}`",
        ),
        (true, true, None) => return,
        (false, false, _) if skips && (chains || has("identity") || has("override")) => (
            Kind::Conflict,
            "the level `skip` stands beside what is to be checked".to_owned(),
            "with `skip` nothing is looked at",
            "remove the rest, or choose another level",
        ),
        (false, false, _) if skips => return,
        (false, false, _) if !chains => (
            Kind::MissingKey,
            "the signer has no certificate of an authority".to_owned(),
            "without one, nobody vouches for who signed",
            "write `ca: ca.pem`, or `policy` and `store` to use what notation uses",
        ),
        (false, false, _) if !has("identity") => (
            Kind::MissingKey,
            "the signer has no `identity`".to_owned(),
            "without it, it would be anybody whom the authority knows",
            "write whom the certificate must name, `identity: \"C=US, ST=WA, O=acme\"`, or `identity: \"*\"`",
        ),
        (false, false, _) => {
            let identities = notation::identities(&notation.identities());
            let strictness = notation.strictness().map_err(str::to_owned);
            let problem = identities
                .map(|_| ())
                .map_err(|error| error.to_string())
                .and(strictness.map(|_| ()));
            let Err(problem) = problem else { return };
            (
                Kind::Inconsistent,
                problem,
                "it could not be decided, or not as it reads",
                "write each identity once, and override what the level enforces with `enforce` or `log`",
            )
        }
    };
    let diagnostic = context.error(kind, node.span, message);
    context.push(diagnostic.caused_by(cause).helped(help));
}

/// Parts of the subject of a certificate, or `*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustedSubject(pub String);

impl FromScalar for TrustedSubject {
    const WHAT: &'static str = "a trusted identity";
    const EXAMPLE: &'static str = "C=US, ST=WA, O=acme";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        let read = notation::identities(&[text.to_owned()]);
        read.map_err(|error| {
            let problem = Problem::new(error.to_string());
            match error.hint() {
                Some(hint) => problem.helped(hint),
                None => problem,
            }
        })?;
        Ok(Self(text.to_owned()))
    }

    fn stand_in() -> Self {
        Self("*".to_owned())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": notation::Subject::MAX_LENGTH})
    }
}

/// A host that may be asked whether certificates are revoked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationHost(pub notation::RevocationHost);

impl FromScalar for RevocationHost {
    const WHAT: &'static str = "a host";
    const EXAMPLE: &'static str = "ocsp.example";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse()
            .map(Self)
            .map_err(|error: String| Problem::new(error).helped("the scheme is always http"))
    }

    fn stand_in() -> Self {
        Self(notation::RevocationHost {
            host: "host.example".to_owned(),
            port: 80,
        })
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[^/*?#@]+$"})
    }
}
