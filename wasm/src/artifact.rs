//! A component as an artifact in a registry: the layout that runtimes agreed on.
//!
//! CNCF TAG Runtime, "Wasm OCI Artifact layout": an OCI image manifest with one layer, which is the
//! component as it is, and a config that says what it is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shipgate::failure::Failure;
use shipgate::oci::{Descriptor, Digest, Manifest};
use shipgate::outcome::ExitCode;
use shipgate::sandbox::Artifact;

/// The media type of the manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of the config.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The media type of the layer.
pub const LAYER: &str = "application/wasm";

/// The largest component, in bytes.
pub const LARGEST: u64 = 128 << 20;
/// The largest config, in bytes.
pub const LARGEST_CONFIG: u64 = 1 << 20;

/// The only architecture that a config may name.
const ARCHITECTURE: &str = "wasm";
/// What a config calls the system of a component for WASI 0.2.
const OS: &str = "wasip2";

/// What the config says of a component.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// When it was written, RFC 3339.
    pub created: Option<String>,
    /// Always `wasm`.
    pub architecture: String,
    /// The generation of WASI.
    pub os: String,
    /// The layers of the manifest, in its order.
    pub layer_digests: Vec<String>,
    /// What the component offers and needs.
    pub component: Option<World>,
}

/// What a component offers and needs.
#[derive(Debug, Deserialize, Serialize)]
pub struct World {
    /// Its exports.
    #[serde(default)]
    pub exports: Vec<String>,
    /// Its imports.
    #[serde(default)]
    pub imports: Vec<String>,
    /// The world that it was made for.
    #[serde(default)]
    pub target: Option<String>,
}

impl Config {
    /// Describes a component.
    pub fn of(layer: Digest, created: String, world: World) -> Self {
        Self {
            created: Some(created),
            architecture: ARCHITECTURE.to_owned(),
            os: OS.to_owned(),
            layer_digests: vec![layer.to_string()],
            component: Some(world),
        }
    }
}

/// The parts of an artifact that are fetched by its manifest.
#[derive(Debug)]
pub struct Parts {
    /// The config.
    pub config: Descriptor,
    /// The component.
    pub layer: Descriptor,
}

/// Reads the parts off a manifest.
///
/// # Errors
/// It is no artifact with one component in it, or the component is too large.
pub fn parts(artifact: &Artifact, manifest: &Manifest) -> Result<Parts, Failure> {
    let refuse = |cause: String| Err(refused(artifact, cause));
    let Some(image) = manifest.image() else {
        return refuse(
            "it is an index of several manifests, and a component has one: name that by its own digest"
                .to_owned(),
        );
    };
    if manifest.media_type != MANIFEST {
        return refuse(format!(
            "its manifest is {}, not {MANIFEST}",
            manifest.media_type
        ));
    }
    if image.config.media_type != CONFIG {
        return refuse(format!(
            "its config is {}, not {CONFIG}",
            image.config.media_type
        ));
    }
    let [layer] = &image.layers[..] else {
        return refuse(format!(
            "it has {} layers, and a component is one",
            image.layers.len()
        ));
    };
    if layer.media_type != LAYER {
        return refuse(format!("its layer is {}, not {LAYER}", layer.media_type));
    }
    for (what, part, most) in [
        ("config", &image.config, LARGEST_CONFIG),
        ("component", layer, LARGEST),
    ] {
        if part.is_foreign() {
            return refuse(format!(
                "its {what} lies outside of the registry, and is not fetched from there"
            ));
        }
        if part.size > most {
            return refuse(format!(
                "its {what} has {} bytes, and {most} are the most",
                part.size
            ));
        }
    }
    Ok(Parts {
        config: image.config.clone(),
        layer: layer.clone(),
    })
}

/// Checks that a config describes a component with this layer.
///
/// # Errors
/// It is none, or describes something else.
pub fn check(artifact: &Artifact, parts: &Parts, config: &Bytes) -> Result<(), Failure> {
    let refuse = |cause: String| Err(refused(artifact, cause));
    let config: Config = match serde_json::from_slice(config) {
        Ok(config) => config,
        Err(error) => return refuse(format!("its config can't be read: {error}")),
    };
    if config.architecture != ARCHITECTURE {
        return refuse(format!(
            "its config is for `{}`, not {ARCHITECTURE}",
            config.architecture
        ));
    }
    if config.os != OS {
        return refuse(format!("its config is for `{}`, not {OS}", config.os));
    }
    if config.layer_digests != [parts.layer.digest.to_string()] {
        return refuse(format!(
            "its config is about other layers: {}",
            config.layer_digests.join(", ")
        ));
    }
    Ok(())
}

fn refused(artifact: &Artifact, cause: String) -> Failure {
    Failure::new(
        ExitCode::Usage,
        format!("{artifact} is no component to run"),
    )
    .caused_by(cause)
    .hinted("docs/sandbox.md says how a component is pushed")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shipgate::sandbox::Component;

    use super::*;

    fn artifact() -> Artifact {
        let text = format!("oci://ghcr.io/acme/shipgate@{}", Digest::of(b""));
        match text.parse() {
            Ok(Component::Registry(artifact)) => artifact,
            other => panic!("{other:?}"),
        }
    }

    fn descriptor(media_type: &str, size: u64) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(b"layer"), "size": size})
    }

    fn manifest(change: impl FnOnce(&mut Value)) -> Manifest {
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, 100), "layers": [descriptor(LAYER, 1000)],
        });
        change(&mut manifest);
        Manifest::parse(manifest.to_string().into(), None).unwrap()
    }

    fn why(failure: &Failure) -> String {
        failure.causes.join(": ")
    }

    #[test]
    fn what_is_no_component_is_refused_by_its_reason() {
        let docker = "application/vnd.docker.distribution.manifest.v2+json";
        let refusals: Vec<String> = [
            manifest(|it| *it = json!({"schemaVersion": 2, "manifests": []})),
            manifest(|it| it["mediaType"] = docker.into()),
            manifest(|it| it["config"] = descriptor("application/vnd.oci.image.config.v1+json", 1)),
            manifest(|it| it["layers"] = json!([])),
            manifest(|it| it["layers"] = json!([descriptor(LAYER, 1), descriptor(LAYER, 1)])),
            manifest(|it| {
                it["layers"][0] = descriptor("application/vnd.wasm.content.layer.v1+wasm", 1)
            }),
            manifest(|it| it["layers"][0]["size"] = (LARGEST + 1).into()),
            manifest(|it| it["config"]["size"] = (LARGEST_CONFIG + 1).into()),
            manifest(|it| it["layers"][0]["urls"] = json!(["https://elsewhere.example/"])),
        ]
        .iter()
        .map(|manifest| why(&parts(&artifact(), manifest).unwrap_err()))
        .collect();
        assert_eq!(
            refusals,
            [
                "it is an index of several manifests, and a component has one: name that by its own digest",
                "its manifest is application/vnd.docker.distribution.manifest.v2+json, not application/vnd.oci.image.manifest.v1+json",
                "its config is application/vnd.oci.image.config.v1+json, not application/vnd.wasm.config.v0+json",
                "it has 0 layers, and a component is one",
                "it has 2 layers, and a component is one",
                "its layer is application/vnd.wasm.content.layer.v1+wasm, not application/wasm",
                "its component has 134217729 bytes, and 134217728 are the most",
                "its config has 1048577 bytes, and 1048576 are the most",
                "its component lies outside of the registry, and is not fetched from there",
            ]
        );
    }

    #[test]
    fn a_config_describes_its_layer() {
        let parts = parts(&artifact(), &manifest(|_| ())).unwrap();
        let world = World {
            exports: vec!["wasi:cli/run@0.2.6".into()],
            imports: Vec::new(),
            target: None,
        };
        let config = Config::of(parts.layer.digest, "2026-01-01T00:00:00Z".into(), world);
        let config = serde_json::to_value(&config).unwrap();
        let checked = |change: fn(&mut Value)| {
            let mut config = config.clone();
            change(&mut config);
            check(&artifact(), &parts, &config.to_string().into())
        };
        checked(|_| ()).unwrap();
        // What later layouts add is no fault.
        checked(|it| it["author"] = "acme".into()).unwrap();
        let refusals: Vec<String> = [
            checked(|it| *it = json!([])),
            checked(|it| it["architecture"] = "amd64".into()),
            checked(|it| it["os"] = "wasip1".into()),
            checked(|it| it["layerDigests"] = json!([])),
        ]
        .into_iter()
        .map(|refused| why(&refused.unwrap_err()))
        .collect();
        assert_eq!(
            refusals[1..],
            [
                "its config is for `amd64`, not wasm",
                "its config is for `wasip1`, not wasip2",
                "its config is about other layers: ",
            ]
        );
        assert!(refusals[0].starts_with("its config can't be read"));
    }
}
