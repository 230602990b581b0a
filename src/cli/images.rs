//! `pull` and `verify`: single steps on images that are named on the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::args::{LogArgument, PullArgs, StoreArgs, VerifyArgs};
use super::clients::{Access, Parts, read};
use super::host;
use super::notary;
use super::session::Session;
use crate::engine::task::{Action, DEFAULT_TIMEOUT, Task, Tasks};
use crate::engine::world::RunNames;
use crate::failure::Failure;
use crate::oci::{Platform, PlatformRule, Reference};
use crate::outcome::ExitCode;
use crate::pipeline::convert::FromScalar;
use crate::pipeline::model::CredentialSources;
use crate::pipeline::signer::RootSource;
use crate::step::preload::Preload;
use crate::step::verify::Verify;
use crate::trust::keyless::SubjectError;
use crate::trust::notation::RevocationHost;
use crate::trust::{
    Identity, LogRequirement, Pattern, Policy, PublicKey, Requirement, Revocation, Rule, Signer,
    TrustRoot,
};

/// Fetches images into the cache and prints each with its digest.
///
/// # Errors
/// A reference or a file that can't be used.
pub async fn pull(arguments: &PullArgs, session: &Session) -> Result<ExitCode, Failure> {
    let rule = match &arguments.platform {
        None => PlatformRule::Preferred(host_platform()),
        Some(text) => PlatformRule::Required(text.parse().map_err(
            |error: crate::oci::platform::PlatformError| {
                Failure::new(ExitCode::Usage, error.to_string())
                    .hinted("for instance --platform linux/arm64")
            },
        )?),
    };
    let parts = parts(
        "pull",
        &arguments.images,
        &rule,
        &arguments.ca,
        &arguments.store,
    )?;
    let names = parts.images.iter().map(|(name, ..)| name.clone()).collect();
    let action = Box::new(Preload::of(names, arguments.to.clone()));
    work(parts, action, session).await
}

/// Verifies images by key or identity and prints each with its digest.
///
/// # Errors
/// A reference, a key or a file that can't be used.
pub async fn verify(arguments: &VerifyArgs, session: &Session) -> Result<ExitCode, Failure> {
    // Nothing is written, so that a cache is no must.
    let nowhere = || {
        session
            .environment
            .temporary_folder()
            .join("shipgate-no-cache")
    };
    let store = StoreArgs {
        cache: session
            .environment
            .cache_folder()
            .or_else(|| Some(nowhere())),
        plain_http: arguments.plain_http,
    };
    let rule = PlatformRule::Preferred(host_platform());
    let mut parts = parts("verify", &arguments.images, &rule, &arguments.ca, &store)?;
    parts.policy = Some(policy(arguments)?);
    parts.access = Access::Look;
    let names = parts.images.iter().map(|(name, ..)| name.clone()).collect();
    let action = Box::new(Verify::of(names));
    work(parts, action, session).await
}

/// Returns the platform whose images this machine runs.
#[must_use]
pub fn host_platform() -> Platform {
    let (os, architecture) = host::machine();
    Platform::of_host(&os, &architecture)
}

/// Makes a policy in which any of the keys and identities may have signed any image.
fn policy(arguments: &VerifyArgs) -> Result<Policy, Failure> {
    let unusable = |cause: String| {
        Failure::new(ExitCode::Usage, "the signers make no trust rule").caused_by(cause)
    };
    let log = |default| match arguments.tlog {
        Some(LogArgument::Ignored) => LogRequirement::Ignored,
        Some(LogArgument::Required) => LogRequirement::Required,
        None => default,
    };
    let mut signers = BTreeMap::new();
    for path in &arguments.key {
        // Reports then name the file, which is what the command line names.
        let signer = Signer::Key {
            keys: vec![key(path)?],
            log: log(LogRequirement::Ignored),
        };
        signers.insert(path.display().to_string(), signer);
    }
    for text in &arguments.identity {
        let subject = text.parse().map_err(|error: SubjectError| {
            Failure::explained(ExitCode::Usage, "the identity can't be used", &error)
        })?;
        let identity = Identity {
            issuer: arguments.issuer.clone().unwrap_or_default(),
            subjects: vec![subject],
            claims: Vec::new(),
        };
        let log = log(LogRequirement::Required);
        signers.insert(text.clone(), Signer::Identity { identity, log });
    }
    if let (Some(file), Some(store)) = (&arguments.trust_policy, &arguments.trust_store) {
        let notary = notary::of_policy(file, store)?;
        signers.insert(file.display().to_string(), Signer::Notation { notary });
    }
    let hosts = arguments.revocation_host.iter().map(|text| {
        text.parse().map_err(|reason: String| {
            Failure::new(ExitCode::Usage, format!("`{text}` is no host"))
                .caused_by(reason)
                .hinted("write the host of an OCSP responder or a revocation list, with the port if it is not 80")
        })
    });
    let hosts = hosts.collect::<Result<Vec<RevocationHost>, _>>()?;
    let sources = arguments.trusted_root.iter().map(|text| {
        RootSource::parse(text).map_err(|problem| {
            Failure::new(ExitCode::Usage, format!("`{text}` is no trust root"))
                .caused_by(problem.cause)
                .hinted("write `sigstore`, `github` or a path such as `./trusted_root.json`")
        })
    });
    let sources: Vec<RootSource> = sources.collect::<Result<_, _>>()?;
    let given = (!sources.is_empty()).then_some(sources);
    let roots = roots(given, signers.values())?;
    let rule = Rule {
        pattern: "**"
            .parse::<Pattern>()
            .map_err(|error| unusable(error.to_string()))?,
        requirement: Requirement::any(signers.keys().cloned())
            .map_err(|error| unusable(error.to_string()))?,
    };
    let policy = Policy::new(signers, vec![rule]).map_err(|error| {
        Failure::explained(ExitCode::Usage, "the signers make no trust rule", &error)
    })?;
    Ok(policy
        .with_roots(roots)
        .with_revocation(Revocation::new(hosts)))
}

/// Reads the trust roots; without any, the one of the public good instance, if a signer needs one.
///
/// # Errors
/// A file can't be read, or is no trust root that can be used.
pub fn roots<'a>(
    given: Option<Vec<RootSource>>,
    mut signers: impl Iterator<Item = &'a Signer>,
) -> Result<Vec<TrustRoot>, Failure> {
    let needed = signers.any(|signer| match signer {
        Signer::Identity { .. } => true,
        Signer::Notation { .. } => false,
        Signer::Key { log, .. } => *log == LogRequirement::Required,
    });
    let sources = given.unwrap_or_else(|| {
        let usual = RootSource::Embedded(TrustRoot::SIGSTORE);
        needed.then_some(usual).into_iter().collect()
    });
    sources
        .into_iter()
        .map(|source| {
            let (root, shown) = match source {
                RootSource::Embedded(name) => (TrustRoot::embedded(name), name.to_owned()),
                RootSource::File(path) => {
                    let shown = path.display().to_string();
                    let json = read(&path, &format!("the trust root {shown} can't be used"))?;
                    (TrustRoot::from_json(&shown, &json), shown)
                }
            };
            root.map_err(|error| {
                let message = format!("the trust root {shown} can't be used");
                Failure::explained(ExitCode::InputInvalid, message, &error)
            })
        })
        .collect()
}

/// Reads a public key.
///
/// # Errors
/// The file can't be read, or holds no public key that can be used.
pub fn key(path: &std::path::Path) -> Result<PublicKey, Failure> {
    let message = format!("the key {} can't be used", path.display());
    let pem = read(path, &message)?;
    PublicKey::from_pem(&pem)
        .map_err(|error| Failure::explained(ExitCode::InputInvalid, message, &error))
}

fn parts(
    command: &str,
    images: &[String],
    rule: &PlatformRule,
    authorities: &[PathBuf],
    store: &StoreArgs,
) -> Result<Parts, Failure> {
    let mut parts = Parts {
        run: RunNames {
            pipeline: command.to_owned(),
            ..RunNames::default()
        },
        sources: CredentialSources::usual(),
        authorities: authorities.to_vec(),
        cache: store.cache.clone(),
        ..Parts::default()
    };
    for text in images {
        let reference: Reference =
            text.parse()
                .map_err(|error: crate::oci::reference::ReferenceError| {
                    Failure::new(ExitCode::Usage, error.to_string())
                        .hinted("for instance ghcr.io/acme/web:v1")
                })?;
        if let Some(plain) = store.plain_http {
            parts
                .plain_http
                .insert(reference.repository.registry.clone(), plain);
        }
        parts.images.push((text.clone(), reference, rule.clone()));
    }
    Ok(parts)
}

/// Runs one action over the images, and prints `REFERENCE@DIGEST` for each if it passed.
async fn work(
    mut parts: Parts,
    action: Box<dyn Action>,
    session: &Session,
) -> Result<ExitCode, Failure> {
    session.mind_signals()?;
    parts.learned = session.learned.clone();
    let context = session.world(parts)?;
    // The step is called as the command is, which is what was typed.
    let command = context.world.run.pipeline.clone();
    let task = Task {
        id: command.clone(),
        name: command,
        line: None,
        condition: None,
        timeout: DEFAULT_TIMEOUT,
        retries: 0,
        pause: std::time::Duration::ZERO,
        continue_on_error: false,
        action,
    };
    let tasks = Tasks {
        steps: vec![task],
        ..Tasks::default()
    };
    let exit = session.run(&tasks, &[true], &context).await;
    if exit == ExitCode::Done && session.prints_data() {
        for (_, reference, digest) in context.world.images.resolved() {
            let name = reference.split('@').next().unwrap_or(&reference);
            session.data(&format!("{name}@{digest}\n"))?;
        }
    }
    Ok(exit)
}
