//! Registries: references, digests, manifests, credentials and the one transport for all of them.
//!
//! May not know the document, the cache's layout or the terminal.

mod answer;
pub mod auth_file;
pub mod aws;
mod blob;
mod call;
pub mod challenge;
pub mod client;
mod config;
pub mod credentials;
mod delay;
mod diagnosis;
pub mod digest;
pub mod error;
mod explain;
#[cfg(test)]
pub(crate) mod fake;
pub mod health;
mod hedge;
#[cfg_attr(target_family = "wasm", path = "helper_wasi.rs")]
#[cfg_attr(not(target_family = "wasm"), path = "helper_native.rs")]
mod helper;
mod hop;
pub mod hosts;
pub mod known_hosts;
pub mod login;
pub mod manifest;
pub mod mirror;
mod named;
mod part;
pub mod platform;
pub mod pull_secret;
pub mod push;
mod quota;
mod realm;
pub mod reference;
pub mod referrers;
pub mod resolve;
mod retry;
#[cfg_attr(
    all(target_family = "wasm", feature = "hosted"),
    path = "sha256_hosted.rs"
)]
#[cfg_attr(
    all(target_family = "wasm", not(feature = "hosted")),
    path = "sha256_wasi.rs"
)]
#[cfg_attr(not(target_family = "wasm"), path = "sha256_native.rs")]
mod sha256;
#[cfg(test)]
mod tests;
mod token;
mod token_answer;
mod traffic;
mod transport;

pub use auth_file::{AuthFile, DockerConfig, Keys};
pub use blob::Blob;
pub use client::{Client, Selector};
pub use config::{Config, Notice};
pub use credentials::{Credential, Credentials, Secret};
pub use digest::Digest;
pub use error::{Error, ErrorKind, GaveUp};
pub use health::{Access, Health};
pub use helper::ProcessHelpers;
pub use hosts::Hosts;
pub use manifest::{Descriptor, Manifest};
pub use mirror::{Fallback, Mirror, Mirrors, Sources};
pub(crate) use part::{Answered, Part, PartAttempts};
pub use platform::Platform;
pub use quota::Quota;
pub use reference::{Reference, Repository};
pub use referrers::{Place, Referrers};
pub use resolve::{Local, PlatformRule, Resolved};
pub use retry::RetryPolicy;
