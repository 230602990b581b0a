//! Signatures in a registry, asked by the one client for all of them.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;

use super::MAX_BUNDLE;
use super::notation::Enquiry;
use super::source::{Artifacts, LookupError, Raw};
use crate::failure::Explain as _;
use crate::net;
use crate::oci::{
    Client, Descriptor, Digest, Error, ErrorKind, Manifest, Referrers, Repository, Selector,
};

impl Artifacts for Client {
    async fn manifest_by_tag(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<Raw>, LookupError> {
        let selector = Selector::Tag(tag.to_owned());
        let found = self.manifest_if_exists(repository, &selector).await;
        found.map(raw).map_err(|error| lookup(repository, &error))
    }

    async fn manifest_by_digest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Raw>, LookupError> {
        let found = self
            .manifest_if_exists(repository, &Selector::Digest(*digest))
            .await;
        found.map(raw).map_err(|error| lookup(repository, &error))
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Bytes>, LookupError> {
        let blob = Descriptor::new("application/octet-stream", *digest, size);
        match self.blob_bytes(repository, &blob, MAX_BUNDLE).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(lookup(repository, &error)),
        }
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Referrers, LookupError> {
        // Not filtered: clients and registries are known to write wrong artifact types.
        let found = Self::referrers(self, repository, digest, None).await;
        found.map_err(|error| lookup(repository, &error))
    }

    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    async fn enquire(&self, enquiry: Enquiry) -> Result<Bytes, String> {
        let Enquiry {
            url,
            request,
            limit,
            within,
        } = enquiry;
        let asked = match request {
            None => net::Request::get(url),
            Some(request) => net::Request::new(Method::POST, url)
                .header(CONTENT_TYPE, HeaderValue::from_static(OCSP_REQUEST))
                .body(request),
        };
        let answer = async {
            let response = self
                .http()
                .send(asked)
                .await
                .map_err(|error| chain(&error))?;
            if response.status != StatusCode::OK {
                return Err(format!("it answered with the status {}", response.status));
            }
            response
                .body
                .bytes(limit)
                .await
                .map_err(|error| chain(&error))
        };
        tokio::time::timeout(within, answer)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", within.as_secs())))
    }
}

const OCSP_REQUEST: &str = "application/ocsp-request";

fn raw(manifest: Option<Manifest>) -> Option<Raw> {
    manifest.map(|manifest| Raw {
        digest: manifest.digest,
        media_type: manifest.media_type,
        bytes: manifest.bytes,
    })
}

fn lookup(repository: &Repository, error: &Error) -> LookupError {
    let (host, status, limit) = match error.kind() {
        ErrorKind::Denied { host, .. } => (Some(host), Some(403), None),
        ErrorKind::NotFound { host, .. } => (Some(host), Some(404), None),
        ErrorKind::RateLimited { host, .. } => (Some(host), Some(429), None),
        ErrorKind::Refused { host, status, .. } | ErrorKind::Storage { host, status, .. } => {
            (Some(host), Some(*status), None)
        }
        ErrorKind::TooLarge { limit, .. } => (None, None, Some(*limit)),
        ErrorKind::Unauthorized { asker, .. } => (Some(asker), Some(401), None),
        ErrorKind::DigestMismatch { host, .. }
        | ErrorKind::Malformed { host, .. }
        | ErrorKind::Redirect { host, .. }
        | ErrorKind::SizeMismatch { host, .. }
        | ErrorKind::UnsafeLogin { host, .. }
        | ErrorKind::Unreachable { host, .. } => (Some(host), None, None),
        _ => (None, None, None),
    };
    LookupError {
        host: host.unwrap_or(&repository.registry).clone(),
        status,
        retry_after: error.retry_after(),
        limit,
        whole_registry: matches!(
            error.kind(),
            ErrorKind::Denied { .. }
                | ErrorKind::RateLimited { .. }
                | ErrorKind::Unauthorized { .. }
                | ErrorKind::ForeignLogin { .. }
                | ErrorKind::Unlisted { .. }
                | ErrorKind::UnsafeLogin { .. }
                | ErrorKind::Unreachable { .. }
        ),
        text: chain(error),
        hint: error.hint(),
    }
}

/// Joins an error and its causes into one phrase.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::clock::Clock;
    use crate::net;
    use crate::oci::Config;
    use crate::outcome::ExitCode;
    use crate::playground::registry::{self, Registry};
    use crate::trust::sign::{Artifact, SigningKey};
    use crate::trust::{Policy, PublicKey, Requirement, Rule, Signer, Verdict, verify};

    const IMAGE: &[u8] = include_bytes!("fixtures/image.json");
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

    async fn start(referrers_api: bool) -> Registry {
        let config = registry::Config {
            referrers_api,
            ..registry::Config::default()
        };
        Registry::start(config).await.unwrap()
    }

    fn client() -> Client {
        let http = net::Client::new(net::Config::default()).unwrap();
        let mut config = Config::new(http, Clock::fixed(Timestamp::UNIX_EPOCH));
        config.retry.first_pause = Duration::from_millis(1);
        config.retry.longest_pause = Duration::from_millis(2);
        Client::new(config)
    }

    fn policy(pem: &[u8]) -> Policy {
        let keys = vec![PublicKey::from_pem(pem).unwrap()];
        let rule = Rule {
            pattern: "**".parse().unwrap(),
            requirement: Requirement::any(["ops"]).unwrap(),
        };
        let signers = BTreeMap::from([(
            "ops".into(),
            Signer::Key {
                keys,
                log: crate::trust::LogRequirement::Ignored,
            },
        )]);
        Policy::new(signers, vec![rule]).unwrap()
    }

    fn push(registry: &Registry, artifact: Artifact) {
        for blob in artifact.blobs {
            registry.put_blob("acme/web", blob.bytes).unwrap();
        }
        let manifest = artifact.manifest;
        registry
            .put_manifest("acme/web", artifact.tag.as_deref(), OCI, manifest.bytes)
            .unwrap();
    }

    async fn ask(registry: &Registry, client: &Client, policy: &Policy) -> Verdict {
        let repository = Repository {
            registry: registry.address().to_string(),
            path: "acme/web".into(),
        };
        verify(client, policy, &repository, Digest::of(IMAGE)).await
    }

    #[tokio::test]
    async fn over_http_in_as_few_requests_as_promised() {
        let key = SigningKey::generate().unwrap();
        let policy = policy(key.public_pem().as_bytes());
        let image = Descriptor::new(DOCKER, Digest::of(IMAGE), IMAGE.len() as u64);
        let registry = start(true).await;
        let first = client();
        let unsigned = ask(&registry, &first, &policy).await;
        assert_eq!(unsigned.exit(), ExitCode::Unsigned, "{unsigned:?}");
        assert_eq!(first.log().totals().requests, 3);

        push(
            &registry,
            key.sign_bundle(&image, Timestamp::UNIX_EPOCH).unwrap(),
        );
        let second = client();
        let signed = ask(&registry, &second, &policy).await;
        assert!(signed.is_verified(), "{signed:?}");
        assert_eq!(second.log().totals().requests, 3);

        let other = include_bytes!("fixtures/keys/other.pub");
        let stranger = ask(&registry, &client(), &self::policy(other)).await;
        assert_eq!(stranger.exit(), ExitCode::WrongSigner);
    }

    #[tokio::test]
    async fn the_older_layout_in_a_registry_without_the_api() {
        let key = SigningKey::generate().unwrap();
        let registry = start(false).await;
        let repository = Repository {
            registry: registry.address().to_string(),
            path: "acme/web".into(),
        };
        push(
            &registry,
            key.sign_tag(&repository, Digest::of(IMAGE)).unwrap(),
        );
        let verdict = ask(&registry, &client(), &policy(key.public_pem().as_bytes())).await;
        assert!(verdict.is_verified(), "{verdict:?}");
    }

    #[tokio::test]
    async fn a_registry_that_is_gone_is_not_unsigned() {
        let registry = start(true).await;
        let policy = policy(include_bytes!("fixtures/keys/other.pub"));
        let repository = Repository {
            registry: registry.address().to_string(),
            path: "acme/web".into(),
        };
        registry.stop().await;
        let verdict = verify(&client(), &policy, &repository, Digest::of(IMAGE)).await;
        assert_eq!(verdict.exit(), ExitCode::LookupFailed);
        let failure = verdict.failure().unwrap();
        assert!(
            failure.causes[1].contains("refused the connection"),
            "{failure:?}"
        );
    }
}
