//! Docker Engine, by its HTTP interface over a Unix socket.
//!
//! Knows of images only: whether one is there, pulling, loading, naming. Where their bytes come from
//! is the caller's.

mod error;
#[cfg_attr(unix, path = "socket_native.rs")]
#[cfg_attr(not(unix), path = "socket_wasi.rs")]
mod socket;

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use self::error::{Error, ErrorKind};
use self::socket::{Answer, send};
use crate::oci::{Digest, Platform};

/// Where an engine listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address(PathBuf);

impl Address {
    /// Reads an address as `DOCKER_HOST` has it: `unix:///var/run/docker.sock`.
    ///
    /// # Errors
    ///
    /// It is of another kind.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let path = match text.split_once("://") {
            Some(("unix", path)) => Some(path),
            None if text.starts_with('/') => Some(text),
            _ => None,
        };
        match path.filter(|path| path.starts_with('/')) {
            Some(path) => Ok(Self(path.into())),
            None => Err(ErrorKind::Address {
                address: text.to_owned(),
            }
            .into()),
        }
    }

    /// Returns the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Address {
    fn default() -> Self {
        Self("/var/run/docker.sock".into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

/// An engine that has answered.
#[derive(Clone, Debug)]
pub struct Engine {
    address: Address,
    /// Its version, for instance `28.5.2`.
    pub version: String,
    /// How it keeps images.
    pub store: Store,
    /// The prefix of paths: the version of the interface that is spoken.
    api: String,
    interface: (u32, u32),
}

/// How an engine keeps images.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Store {
    /// Unpacked by a graph driver: an image is known by its config's digest, and the digest of a
    /// manifest only where the engine pulled it from a registry itself.
    Classic,
    /// By containerd: an image is known by the digest that its reference resolves to.
    Containerd,
}

/// An image as an engine knows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Known {
    /// Its id: a digest.
    pub id: String,
    /// The operating system that it is for.
    #[serde(default)]
    pub os: String,
    /// The architecture that it is for.
    #[serde(default)]
    pub architecture: String,
    /// The names that it has.
    #[serde(default, deserialize_with = "or_default")]
    pub repo_tags: Vec<String>,
    /// Which manifests of it are there, where the engine says so.
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<KnownManifest>,
}

/// A manifest of an image, and whether all of it is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KnownManifest {
    /// Its digest.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether the engine has all of it.
    #[serde(default)]
    pub available: bool,
}

impl Engine {
    /// Asks an engine for its version and how it keeps images.
    ///
    /// # Errors
    ///
    /// Nothing listens there, this user may not ask, or it is no engine.
    pub async fn connect(address: Address) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Version {
            version: String,
            api_version: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            #[serde(default, deserialize_with = "or_default")]
            driver_status: Vec<Vec<String>>,
        }
        let version: Version = json(&address, "/version").await?;
        let interface = number(&version.api_version).unwrap_or(NEWEST).min(NEWEST);
        let api = format!("/v{}.{}", interface.0, interface.1);
        let info: Info = json(&address, &format!("{api}/info")).await?;
        let by_containerd = info.driver_status.iter().any(|line| {
            matches!(&line[..], [key, value] if key == "driver-type" && value.starts_with("io.containerd.snapshotter"))
        });
        Ok(Self {
            address,
            version: version.version,
            store: if by_containerd {
                Store::Containerd
            } else {
                Store::Classic
            },
            api,
            interface,
        })
    }

    /// Says whether it reads layers that are packed with Zstandard: version 23 was the first.
    #[must_use]
    pub fn reads_zstd(&self) -> bool {
        let major = self
            .version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok());
        major.is_none_or(|major: u32| major >= 23)
    }

    /// Looks for an image by name or id.
    ///
    /// # Errors
    ///
    /// The engine could not be asked.
    pub async fn image(&self, name: &str) -> Result<Option<Known>, Error> {
        let manifests = if self.interface >= (1, 48) {
            "?manifests=1"
        } else {
            ""
        };
        let path = format!("/images/{}/json{manifests}", encoded(name));
        let answer = self.ask(Method::GET, &path, Body::Empty).await?;
        if answer.status == StatusCode::NOT_FOUND {
            answer.text().await?;
            return Ok(None);
        }
        answer.checked().await?.json().await.map(Some)
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    ///
    /// It does not have the image, or could not be asked.
    pub async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), Error> {
        let query = query(&[("repo", repository), ("tag", tag)]);
        let path = format!("/images/{}/tag?{query}", encoded(image));
        let answer = self.ask(Method::POST, &path, Body::Empty).await?;
        answer.checked().await?.text().await.map(|_| ())
    }

    /// Takes a name away. The image stays where it has others.
    ///
    /// # Errors
    ///
    /// The engine could not be asked. A name that is not there is none.
    pub async fn untag(&self, name: &str) -> Result<(), Error> {
        let path = format!("/images/{}?noprune=1", encoded(name));
        let answer = self.ask(Method::DELETE, &path, Body::Empty).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return answer.text().await.map(|_| ());
        }
        answer.checked().await?.text().await.map(|_| ())
    }

    /// Has it pull an image by digest.
    ///
    /// # Errors
    ///
    /// The engine's own word on why it could not.
    pub async fn pull(
        &self,
        repository: &str,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> Result<(), Error> {
        let digest = digest.to_string();
        let platform = platform.map(ToString::to_string);
        let mut pairs = vec![("fromImage", repository), ("tag", &digest)];
        pairs.extend(platform.as_deref().map(|platform| ("platform", platform)));
        let path = format!("/images/create?{}", query(&pairs));
        let answer = self.ask(Method::POST, &path, Body::Empty).await?;
        answer.checked().await?.follow().await
    }

    /// Hands it an archive.
    ///
    /// # Errors
    ///
    /// The engine's own word on why it could not, or the archive can't be read.
    pub async fn load(&self, archive: Box<dyn Pieces>, length: u64) -> Result<(), Error> {
        let body = Body::Pieces { archive, length };
        let answer = self.ask(Method::POST, "/images/load?quiet=1", body).await?;
        answer.checked().await?.follow().await
    }

    async fn ask(&self, method: Method, path: &str, body: Body) -> Result<Answer, Error> {
        let path = format!("{}{path}", self.api);
        send(&self.address, method, &path, body).await
    }
}

/// A body that is made piece by piece.
pub trait Pieces: Send {
    /// Returns the next piece, or nothing at the end.
    ///
    /// # Errors
    ///
    /// It can't be made, in words.
    fn next(&mut self) -> Result<Option<Bytes>, String>;
}

/// The body of a request.
pub(super) enum Body {
    Empty,
    Pieces {
        archive: Box<dyn Pieces>,
        length: u64,
    },
}

/// The newest version of the interface that is spoken here.
const NEWEST: (u32, u32) = (1, 48);

async fn json<T: DeserializeOwned>(address: &Address, path: &str) -> Result<T, Error> {
    let answer = send(address, Method::GET, path, Body::Empty).await?;
    answer.checked().await?.json().await
}

fn number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Writes a name for a path. Slashes, colons and `@` stand for themselves there.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte);
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    query.finish()
}

/// Reads `null` as nothing, as Go programs write empty lists.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sockets() {
        for text in ["unix:///run/d.sock", "/run/d.sock"] {
            assert_eq!(
                Address::parse(text).unwrap().path(),
                Path::new("/run/d.sock")
            );
        }
        for text in [
            "tcp://127.0.0.1:2375",
            "ssh://host",
            "d.sock",
            "",
            "unix://d.sock",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Address { .. }), "{text}");
        }
        assert_eq!(
            Address::default().to_string(),
            "unix:///var/run/docker.sock"
        );
    }

    #[test]
    fn names_go_into_paths_and_nothing_else_does() {
        assert_eq!(
            encoded("127.0.0.1:5/a/b:v1@sha256:0"),
            "127.0.0.1:5/a/b:v1@sha256:0"
        );
        assert_eq!(encoded("a?b#c d"), "a%3Fb%23c%20d");
        assert_eq!(
            query(&[("repo", "a/b"), ("tag", "v1&x")]),
            "repo=a%2Fb&tag=v1%26x"
        );
    }
}
