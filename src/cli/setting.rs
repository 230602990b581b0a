//! What a document says about the world that its steps work in.

use std::collections::BTreeMap;
use std::path::Path;

use super::args::StoreArgs;
use super::clients::Parts;
use super::environment::Environment;
use super::images::{host_platform, key, roots};
use super::ways::Ways;
use super::{logins, mirrors, notary};
use crate::engine::grants::Grants;
use crate::engine::lock::Fingerprints;
use crate::engine::world;
use crate::failure::Failure;
use crate::oci::digest::Hasher;
use crate::oci::hosts::Named;
use crate::oci::{Credential, Digest, Platform, PlatformRule, Secret};
use crate::outcome::ExitCode;
use crate::pipeline::address::NamedHost;
use crate::pipeline::model::{RegistryAuth, SecretSource, Trust};
use crate::pipeline::signer::RootSource;
use crate::pipeline::{Document, RunNames, Source};
use crate::step::Verb;
use crate::trust::{Policy, Requirement, Revocation, Rule, Signer};

/// The part of a document that does not change while it runs.
pub struct Setting {
    /// Who must have signed what.
    pub policy: Option<Policy>,
    /// What a lock file must have been made for.
    pub fingerprints: Fingerprints,
}

impl Setting {
    /// Reads the keys and hashes everything that digests rest on.
    ///
    /// # Errors
    /// A key that can't be read or used, or rules that contradict each other.
    pub fn of(
        source: &Source,
        document: &Document,
        inputs: &BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let mut policy_hash = Hasher::new();
        let policy = document
            .trust
            .as_ref()
            .map(|trust| policy(trust, Path::new(""), &mut policy_hash))
            .transpose()?;
        let mut input_hash = Hasher::new();
        for (name, value) in inputs {
            part(&mut input_hash, name);
            part(&mut input_hash, value);
        }
        Ok(Self {
            policy,
            fingerprints: Fingerprints {
                document: Digest::of(source.text().as_bytes()),
                inputs: input_hash.finish(),
                policy: policy_hash.finish(),
            },
        })
    }
}

/// Adds a text to a hash so that no other texts add up to the same.
fn part(hash: &mut Hasher, text: &str) {
    hash.update(&(text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

/// Makes the policy of a `trust` section whose keys have paths relative to a folder.
///
/// # Errors
/// As [`Setting::of`].
pub fn policy_in(folder: &Path, trust: &Trust) -> Result<Policy, Failure> {
    policy(trust, folder, &mut Hasher::new())
}

fn policy(trust: &Trust, folder: &Path, hash: &mut Hasher) -> Result<Policy, Failure> {
    let unusable = |cause: String| {
        Failure::new(
            ExitCode::PipelineInvalid,
            "the `trust` section can't be used",
        )
        .caused_by(cause)
    };
    let mut signers = BTreeMap::new();
    for (name, signer) in trust.signers.iter() {
        part(hash, &name.value.0);
        let log = signer.log();
        part(hash, &format!("{log:?}"));
        if let Some(identity) = signer.identity() {
            part(hash, &identity.to_string());
            signers.insert(name.value.0.clone(), Signer::Identity { identity, log });
            continue;
        }
        if let Some(notation) = &signer.notation {
            let notary = notary::of_document(&name.value.0, notation, folder)
                .map_err(|failure| failure.fact("signer", &name.value.0))?;
            part(hash, &notary.fingerprint().to_string());
            signers.insert(name.value.0.clone(), Signer::Notation { notary });
            continue;
        }
        let mut keys = Vec::new();
        for path in signer.key.iter().flat_map(|key| &key.0) {
            let public = key(&folder.join(&path.value))
                .map_err(|failure| failure.fact("signer", &name.value.0))?;
            part(hash, &public.fingerprint().to_string());
            keys.push(public);
        }
        signers.insert(name.value.0.clone(), Signer::Key { keys, log });
    }
    let sources = trust.roots.as_ref().map(|roots| {
        let sources = roots.0.iter().map(|source| match &source.value {
            RootSource::Embedded(name) => RootSource::Embedded(name),
            RootSource::File(path) => RootSource::File(folder.join(path)),
        });
        sources.collect()
    });
    let roots = roots(sources, signers.values())?;
    for root in &roots {
        part(hash, &root.fingerprint().to_string());
    }
    let mut rules = Vec::new();
    for (glob, rule) in trust.images.iter() {
        let of: Vec<String> = rule
            .signed_by
            .of
            .iter()
            .map(|name| name.value.0.clone())
            .collect();
        part(hash, &glob.value.to_string());
        part(hash, &rule.signed_by.at_least.to_string());
        of.iter().for_each(|name| part(hash, name));
        rules.push(Rule {
            pattern: glob.value.clone(),
            requirement: Requirement::at_least(rule.signed_by.at_least, of)
                .map_err(|error| unusable(error.to_string()))?,
        });
    }
    let policy = Policy::new(signers, rules).map_err(|error| {
        Failure::explained(
            ExitCode::PipelineInvalid,
            "the `trust` section can't be used",
            &error,
        )
    })?;
    let hosts = trust.revocation.iter().flat_map(|it| &it.hosts.0);
    let hosts: Vec<_> = hosts.map(|host| host.value.0.clone()).collect();
    hosts.iter().for_each(|host| part(hash, &host.to_string()));
    Ok(policy
        .with_roots(roots)
        .with_revocation(Revocation::new(hosts)))
}

/// Returns what the clients and the world of a document are made of.
///
/// # Errors
/// Configuration of mirrors that can't be read, or says what can't be honoured.
pub fn parts(
    source: &Source,
    document: &Document,
    store: &StoreArgs,
    run: RunNames,
) -> Result<Parts, Failure> {
    let mut parts = Parts {
        run: world::RunNames {
            pipeline: name(document),
            id: run.id,
            file: Some(source.name().to_owned()),
            link: run.link,
        },
        sources: document.credentials.clone(),
        authorities: document.net.ca.clone(),
        ways: Ways::of(document),
        cache: store.cache.clone(),
        ..Parts::default()
    };
    for (host, registry) in document.registries.iter() {
        let places = |hosts: &[NamedHost]| hosts.iter().map(|host| host.0.clone()).collect();
        let named = Named {
            tokens: places(&registry.tokens_from),
            blobs: places(&registry.blobs_from),
        };
        parts.listed.insert(host.value.0.clone(), named);
        if let Some(plain) = registry.plain_http {
            parts.plain_http.insert(host.value.0.clone(), plain);
        }
        log_in(&mut parts, &host.value.0, registry.auth.as_ref());
        for mirror in registry.mirrors.iter().flatten() {
            log_in(&mut parts, &mirror.mirror().name(), mirror.auth.as_ref());
        }
    }
    parts.mirrors = mirrors::of(document)?;
    // What the run finds by itself goes to none of them in the clear.
    parts.mirrors.announce(&mut parts.plain_http);
    for (name, image) in document.images.iter() {
        let rule = match &image.platform {
            None => PlatformRule::Preferred(host_platform()),
            Some(platform) => PlatformRule::Required(Platform {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                variant: platform.variant.clone(),
                os_version: None,
            }),
        };
        let reference = image.r#ref.value.clone();
        if let Some(plain) = store.plain_http {
            parts
                .plain_http
                .insert(reference.repository.registry.clone(), plain);
        }
        parts.images.push((name.value.0.clone(), reference, rule));
    }
    if let Some(plain) = store.plain_http {
        for step in document.all_steps() {
            if let Verb::Check(check) = &step.verb {
                parts
                    .plain_http
                    .insert(check.registry.value.0.clone(), plain);
            }
        }
    }
    Ok(parts)
}

/// Notes the login that the document gives for a registry or a mirror.
fn log_in(parts: &mut Parts, host: &str, auth: Option<&RegistryAuth>) {
    match auth {
        Some(RegistryAuth::Ecr) => parts.ecr.push(host.to_owned()),
        Some(RegistryAuth::Login(login)) => {
            let credential = Credential::Basic {
                username: login.username.clone(),
                password: Secret::new(login.password.0.expose()),
            };
            parts.given.insert(host.to_owned(), credential);
        }
        None => {}
    }
}

/// Returns what a pipeline is called.
#[must_use]
pub fn name(document: &Document) -> String {
    document
        .name
        .clone()
        .unwrap_or_else(|| "pipeline".to_owned())
}

/// The reason of files with certificate authorities: whoever speaks TLS reads them.
pub const AUTHORITY: &str = "certificate authority";

/// Returns the files and variables that a document means, whatever its steps do.
#[must_use]
pub fn grants(document: &Document, pipeline: &Path, environment: &Environment) -> Grants {
    let mut grants = Grants::default();
    grants.read(pipeline.display().to_string(), "pipeline");
    for (name, secret) in document.secrets.iter() {
        let reason = format!("secret {}", name.value);
        match &secret.0 {
            SecretSource::Env(variable) => grants.variable(variable.value.0.clone(), reason),
            SecretSource::File(path) => grants.read(path.value.display().to_string(), reason),
        }
    }
    for path in &document.net.ca {
        grants.read(path.display().to_string(), AUTHORITY);
    }
    if let Some(trust) = &document.trust {
        for source in trust.roots.iter().flat_map(|roots| &roots.0) {
            if let RootSource::File(path) = &source.value {
                grants.read(path.display().to_string(), "trust root");
            }
        }
        for (name, signer) in trust.signers.iter() {
            for path in signer.key.iter().flat_map(|key| &key.0) {
                grants.read(
                    path.value.display().to_string(),
                    format!("key of signer {}", name.value),
                );
            }
            for path in signer.notation.iter().flat_map(notary::files) {
                grants.read(
                    path.display().to_string(),
                    format!("certificates of signer {}", name.value),
                );
            }
        }
    }
    for variable in [
        "CI_JOB_URL",
        "GITHUB_SERVER_URL",
        "GITHUB_REPOSITORY",
        "GITHUB_RUN_ID",
    ] {
        if environment.filled(variable).is_some() {
            grants.variable(variable, "link to the job");
        }
    }
    if let Some(path) = environment.filled("SSL_CERT_FILE") {
        grants.variable("SSL_CERT_FILE", AUTHORITY);
        grants.read(path, AUTHORITY);
    }
    Ways::of(document).grant(&mut grants, environment);
    mirrors::grant(document, &mut grants);
    logins::grant(&document.credentials, &mut grants, environment);
    grants
}
