//! The launcher's own interface (`wasm/wit/launcher.wit`) in safe words, for the component.
//!
//! It is a crate of its own since calls into a host are unsafe code, however it is written: the library
//! forbids that, and so it can go on to. Natively there is nothing in it.

#![cfg(target_family = "wasm")]

use bindings::shipgate::launcher::{folders, hashing};

/// Generated from the WIT file: pointers and lengths as the canonical ABI passes them.
mod bindings {
    wit_bindgen::generate!({path: "../wit", world: "hosted"});
}

/// A running SHA-256, hashed by the launcher.
#[derive(Debug)]
pub struct Sha256(hashing::Sha256);

impl Sha256 {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self(hashing::Sha256::new())
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes that were added.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let (a, b, c, d) = hashing::Sha256::finish(self.0);
        let mut digest = [0; 32];
        for (place, word) in digest.chunks_exact_mut(8).zip([a, b, c, d]) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns how many bytes this user may still write below a granted folder, if that is known.
#[must_use]
pub fn free_space(path: &str) -> Option<u64> {
    folders::free_space(path)
}
