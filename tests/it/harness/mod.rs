//! What the themes stand on: sandboxes, real servers and clients, images, keys.
//!
//! Everything listens on 127.0.0.1, waits with a bound, and is ended by its process id when its
//! value is dropped, which a panic does too.

mod act;
mod between;
mod certificates;
mod client;
mod component;
mod engine;
#[path = "../../fault/mod.rs"]
mod fault;
mod image;
mod notary;
mod playground;
mod process;
mod proxy;
mod registry;
mod reports;
mod runner;
mod sandbox;
mod service;
mod signer;
mod tokens;
mod tools;
mod yaml;

pub use act::{Job, Project};
pub use between::Between;
pub use certificates::Authority;
pub use client::{Reply, fetch};
pub use component::{
    Runtime, component, hostile, installed, launcher, shared, stock_component, warm,
};
pub use engine::{Engine, Era};
pub use fault::{
    BlackHole, Content, Ending, Exchange, Fault, FaultProxy, Length, RangeLie, Rule, Seen,
    TokenRule,
};
pub use image::{Image, Index, push_blob, put_manifest};
pub use notary::{Extensions, Notary};
pub use playground::PlaygroundRegistry;
pub use process::{Process, Signal, signal_below};
pub use proxy::{Access, Proxy};
pub use registry::{PASSWORD, Registry, USER};
pub use reports::{DIFFERS, comparable};
pub use runner::Runner;
pub use sandbox::{Output, Running, Sandbox, normalise};
pub use service::{Answer, Request, Service};
pub use signer::{Layout, Signer};
pub use tools::{Tool, tool};
pub use yaml::yaml_documents;

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

/// Longest wait for anything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns what `probe` finds, asking every 10 ms, and panics when it finds nothing in time.
pub fn wait_for<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, probe).unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}"))
}

/// Returns what `probe` finds within `limit`, asking every 10 ms.
pub fn wait_within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if began.elapsed() > limit {
            return None;
        }
        pause(Duration::from_millis(10));
    }
}

/// Waits on real processes, which no paused clock can hurry.
#[expect(clippy::disallowed_methods, reason = "a test thread has no runtime")]
pub fn pause(duration: Duration) {
    assert!(
        duration <= Duration::from_millis(50),
        "poll instead of sleeping"
    );
    std::thread::sleep(duration);
}

/// Returns a SHA-256 as `sha256:HEX`.
pub fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref()
        .iter()
        .fold(String::from("sha256:"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
