//! A component from a registry: fetched by its digest, verified, and kept.
//!
//! The launcher asks the registry itself, with the library's own client; none of the hosts that it asks
//! is granted to the component. What is kept is named by digests and hashed whenever it is read.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use shipgate::cli::clients::Parts as Clients;
use shipgate::cli::session::Session;
use shipgate::failure::Failure;
use shipgate::oci::manifest::LARGEST_MANIFEST;
use shipgate::oci::{Client, Digest, Error, Manifest, Selector};
use shipgate::outcome::ExitCode;
use shipgate::pipeline::model::CredentialSources;
use shipgate::pipeline::scalar::duration_text;
use shipgate::sandbox::Artifact;
use shipgate::trust::{self, Outcome, Verdict};

use crate::artifact;
use crate::evidence::{Evidence, Recorder};
use crate::shelf::Shelf;
use crate::trust::{Trust, by_digest};

/// How long it may take to fetch a component and its signatures.
const PATIENCE: Duration = Duration::from_secs(300);
/// The largest file of evidence that is read: some more than the signatures of one image can have.
const LARGEST_EVIDENCE: u64 = 64 << 20;

/// A component from a registry, and whoever vouches for it.
pub struct Origin<'a> {
    /// What it is called.
    pub artifact: &'a Artifact,
    /// Who must have signed it, if anything says so.
    pub trust: Option<&'a Trust>,
    /// Whether the registry is spoken to without TLS, where the command line says so.
    pub plain_http: Option<bool>,
    /// Where components are kept.
    pub kept: Option<&'a Path>,
}

impl Origin<'_> {
    /// Returns the bytes of the component, once they are what the digest says and are signed as the
    /// policy asks.
    ///
    /// # Errors
    /// The registry can't be asked, what it has is no component, or it is not signed as it must be.
    pub async fn obtain(&self, session: &Session) -> Result<Vec<u8>, Failure> {
        let fetched = tokio::time::timeout(PATIENCE, self.obtain_patiently(session)).await;
        fetched.unwrap_or_else(|_| {
            let cause = format!("it was given {}", duration_text(PATIENCE));
            Err(self.unfetched().caused_by(cause).hinted("run again later"))
        })
    }

    async fn obtain_patiently(&self, session: &Session) -> Result<Vec<u8>, Failure> {
        let store = self.store(session);
        let client = self.client(session)?;
        // First the signatures: of what nobody vouches for, not a byte is fetched.
        let vouched = self.verify(&client, store.as_ref()).await?;
        let kept = store
            .as_ref()
            .and_then(|store| store.component(self.artifact));
        let bytes = match kept {
            Some(Ok(bytes)) => bytes,
            unusable => {
                if let Some(Err(reason)) = unusable {
                    let warning = format!("the component that was kept is fetched anew: {reason}");
                    session.printer.warning(&warning, None);
                }
                self.fetch(&client, store.as_ref(), session).await?
            }
        };
        session.printer.note(&vouched);
        Ok(bytes)
    }

    fn client(&self, session: &Session) -> Result<Client, Failure> {
        let mut clients = Clients {
            sources: CredentialSources::usual(),
            ..Clients::default()
        };
        if let Some(plain) = self.plain_http {
            let registry = self.artifact.repository.registry.clone();
            clients.plain_http.insert(registry, plain);
        }
        clients.registries(&session.environment, &session.events)
    }

    fn store(&self, session: &Session) -> Option<Store> {
        let folder = self.kept?;
        match Shelf::open(folder) {
            Ok(shelf) => Some(Store { shelf }),
            Err(error) => {
                let warning = format!(
                    "the component is not kept: {} can't be used: {error}",
                    folder.display()
                );
                session.printer.warning(&warning, None);
                None
            }
        }
    }

    /// Verifies the component, and says who vouches for it.
    async fn verify(&self, client: &Client, store: Option<&Store>) -> Result<String, Failure> {
        let Some(trust) = self.trust else {
            return Ok(by_digest(self.artifact));
        };
        let (repository, digest) = (&self.artifact.repository, self.artifact.digest);
        if let Some(evidence) = store.and_then(|store| store.evidence(self.artifact)) {
            let verdict = trust::verify(&evidence, &trust.policy, repository, digest).await;
            if verdict.is_verified() {
                return Ok(self.vouched(verdict, trust));
            }
        }
        let recorder = Recorder::new(client);
        let verdict = trust::verify(&recorder, &trust.policy, repository, digest).await;
        if let Some(failure) = verdict.failure() {
            return Err(failure
                .fact("component", self.artifact)
                .fact("policy", &trust.shown));
        }
        if let Some(store) = store {
            // Without it the registry is asked again.
            let _ = store.keep_evidence(self.artifact, &recorder.heard());
        }
        Ok(self.vouched(verdict, trust))
    }

    fn vouched(&self, verdict: Verdict, trust: &Trust) -> String {
        let signers = match verdict.outcome {
            Outcome::Verified { signers } => signers.into_iter().collect::<Vec<_>>(),
            Outcome::Skipped { signer, .. } => {
                vec![format!("nobody, since {signer} checks nothing")]
            }
            Outcome::Refused(_) => Vec::new(),
        };
        format!(
            "sandbox: the component is {}, signed by {} as {} asks",
            self.artifact,
            signers.join(", "),
            trust.shown
        )
    }

    async fn fetch(
        &self,
        client: &Client,
        store: Option<&Store>,
        session: &Session,
    ) -> Result<Vec<u8>, Failure> {
        let repository = &self.artifact.repository;
        let failed = |error: Error| {
            let Failure { message, exit, .. } = self.unfetched();
            Failure::explained(exit, message, &error)
        };
        let selector = Selector::Digest(self.artifact.digest);
        let manifest = client
            .manifest(repository, &selector)
            .await
            .map_err(failed)?;
        let parts = artifact::parts(self.artifact, &manifest)?;
        let limit = artifact::LARGEST_CONFIG;
        let config = client.blob_bytes(repository, &parts.config, limit).await;
        artifact::check(self.artifact, &parts, &config.map_err(failed)?)?;
        let limit = artifact::LARGEST;
        let bytes = client.blob_bytes(repository, &parts.layer, limit).await;
        let bytes = bytes.map_err(failed)?.to_vec();
        if let Some(store) = store
            && let Err(error) = store.keep(&manifest, &bytes)
        {
            let warning = format!("the component is not kept: {error}");
            session.printer.warning(&warning, None);
        }
        Ok(bytes)
    }

    fn unfetched(&self) -> Failure {
        let message = format!("the component {} can't be fetched", self.artifact);
        Failure::new(ExitCode::PreloadFailed, message)
    }
}

/// Where components are kept: manifest, layer and evidence of each, named by the manifest's digest.
struct Store {
    shelf: Shelf,
}

impl Store {
    /// Returns a component, nothing if it is not here, or why what is here can't be used.
    fn component(&self, artifact: &Artifact) -> Option<Result<Vec<u8>, String>> {
        let name = manifest(&artifact.digest);
        fs::symlink_metadata(self.shelf.path(&name)).ok()?;
        self.shelf.touch(&name);
        Some(self.whole_component(artifact))
    }

    fn whole_component(&self, artifact: &Artifact) -> Result<Vec<u8>, String> {
        let digest = artifact.digest;
        let path = self.shelf.path(&manifest(&digest));
        let bytes = whole(&path, LARGEST_MANIFEST, digest)?;
        let manifest = Manifest::parse(bytes.into(), Some(artifact::MANIFEST))
            .map_err(|error| error.to_string())?;
        let parts =
            artifact::parts(artifact, &manifest).map_err(|failure| failure.causes.join(": "))?;
        let path = self.shelf.path(&layer(&digest));
        whole(&path, artifact::LARGEST, parts.layer.digest)
    }

    /// Keeps a component.
    fn keep(&self, kept: &Manifest, bytes: &[u8]) -> io::Result<()> {
        self.shelf.write(&layer(&kept.digest), &[bytes])?;
        self.shelf.write(&manifest(&kept.digest), &[&kept.bytes])
    }

    /// Returns what a registry once answered about the signatures of a component.
    fn evidence(&self, artifact: &Artifact) -> Option<Evidence> {
        let path = self.shelf.path(&signatures(artifact));
        let bytes = read(&path, LARGEST_EVIDENCE).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn keep_evidence(&self, artifact: &Artifact, evidence: &Evidence) -> io::Result<()> {
        let bytes = serde_json::to_vec(evidence)?;
        self.shelf.write(&signatures(artifact), &[&bytes])
    }
}

fn manifest(digest: &Digest) -> String {
    format!("{}.json", digest.hex())
}

/// The layer of the component whose manifest has this digest.
fn layer(digest: &Digest) -> String {
    format!("{}.wasm", digest.hex())
}

/// Rules are about repositories, and what one repository has is no word about another.
fn signatures(artifact: &Artifact) -> String {
    let repository = Digest::of(artifact.repository.to_string().as_bytes());
    format!("{}.{}.signatures", artifact.digest.hex(), repository.hex())
}

/// Reads a file whose bytes have this digest.
fn whole(path: &Path, limit: u64, digest: Digest) -> Result<Vec<u8>, String> {
    let bytes = read(path, limit).map_err(|error| format!("{}: {error}", path.display()))?;
    if Digest::of(&bytes) == digest {
        Ok(bytes)
    } else {
        Err(format!("{} was altered", path.display()))
    }
}

/// Reads a file of at most this many bytes.
fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shipgate::sandbox::Component;

    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn manifest() -> Manifest {
        let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": artifact::MANIFEST,
            "config": descriptor(artifact::CONFIG, b"{}"),
            "layers": [descriptor(artifact::LAYER, COMPONENT)],
        });
        Manifest::parse(manifest.to_string().into(), None).unwrap()
    }

    fn named(repository: &str) -> Artifact {
        match format!("oci://{repository}@{}", manifest().digest).parse() {
            Ok(Component::Registry(artifact)) => artifact,
            other => panic!("{other:?}"),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(&folder.path().join("components")).unwrap();
        (folder, Store { shelf })
    }

    #[test]
    fn what_is_kept_is_hashed_when_it_is_read() {
        let (_folder, store) = store();
        let artifact = named("ghcr.io/acme/a");
        assert!(store.component(&artifact).is_none());
        store.keep(&manifest(), COMPONENT).unwrap();
        assert_eq!(store.component(&artifact).unwrap().unwrap(), COMPONENT);
        let layer = store.shelf.path(&layer(&artifact.digest));
        let manifest = store.shelf.path(&super::manifest(&artifact.digest));
        for path in [&layer, &manifest] {
            let good = fs::read(path).unwrap();
            for byte in 0..good.len() {
                let mut bad = good.clone();
                bad[byte] ^= 1;
                fs::write(path, bad).unwrap();
                let refused = store.component(&artifact).unwrap().unwrap_err();
                assert!(refused.ends_with("was altered"), "{refused}");
            }
            fs::write(path, good).unwrap();
        }
        fs::remove_file(layer).unwrap();
        assert!(store.component(&artifact).unwrap().is_err());
    }

    #[test]
    fn evidence_is_about_one_repository() {
        let (_folder, store) = store();
        let (one, other) = (named("ghcr.io/acme/a"), named("ghcr.io/acme/b"));
        store.keep_evidence(&one, &Evidence::default()).unwrap();
        assert!(store.evidence(&one).is_some());
        assert!(store.evidence(&other).is_none());
    }

    #[test]
    fn a_component_in_use_is_kept_whole_with_its_evidence() {
        let (_folder, store) = store();
        let used = named("ghcr.io/acme/a");
        store.keep(&manifest(), COMPONENT).unwrap();
        store.keep_evidence(&used, &Evidence::default()).unwrap();
        let names = [
            super::manifest(&used.digest),
            layer(&used.digest),
            signatures(&used),
        ];
        let hour = std::time::Duration::from_secs(3600);
        for name in &names {
            let path = store.shelf.path(name);
            let earlier = fs::metadata(&path).unwrap().modified().unwrap() - hour;
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_modified(earlier).unwrap();
        }
        let fetch = |number: u8| {
            let other = Artifact {
                digest: Digest::of(&[number]),
                ..named("ghcr.io/acme/a")
            };
            store.keep_evidence(&other, &Evidence::default()).unwrap();
        };
        (0..3).for_each(fetch);
        // Fetched longest ago, but just used.
        assert!(store.component(&used).unwrap().is_ok());
        fetch(3);
        assert!(store.component(&used).unwrap().is_ok());
        assert!(store.evidence(&used).is_some());
        let kept = fs::read_dir(store.shelf.path("")).unwrap().count();
        assert_eq!(kept, names.len() + crate::shelf::KEPT - 1);
    }
}
