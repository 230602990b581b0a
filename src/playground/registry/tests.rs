//! Each endpoint through a plain HTTP client.

use serde_json::{Value, json};

use super::*;
use crate::playground::tests::{Answer, send, send_raw};

mod access;
mod hostile;
mod lists;
mod pull;
mod push;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn start(change: impl FnOnce(&mut Config)) -> Registry {
    let mut config = Config::default();
    change(&mut config);
    Registry::start(config).await.unwrap()
}

impl Registry {
    async fn get(&self, path: &str) -> Answer {
        send(self.address(), "GET", path, &[], "").await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        send(self.address(), method, path, headers, body).await
    }

    /// Pushes a manifest over HTTP.
    async fn push(&self, path: &str, media_type: &str, manifest: &Value) -> Answer {
        let headers = [("content-type", media_type)];
        self.send("PUT", path, &headers, manifest.to_string()).await
    }
}

/// Returns an image manifest without layers whose configuration is in the repository already.
fn manifest(registry: &Registry, repository: &str, config_type: &str) -> Value {
    let config = registry.put_blob(repository, "{}").unwrap();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": config_type, "digest": config, "size": 2},
        "layers": [],
    })
}
