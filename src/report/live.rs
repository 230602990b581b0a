//! The interactive terminal: lines above, bars below. Natively only; elsewhere lines alone.

#[cfg(not(target_family = "wasm"))]
#[path = "live_native.rs"]
mod system;
#[cfg(target_family = "wasm")]
#[path = "live_wasi.rs"]
mod system;

pub use system::LiveRenderer;
