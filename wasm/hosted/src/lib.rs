//! The launcher's own interface (`wasm/wit/launcher.wit`) in safe words, for the component.
//!
//! It is a crate of its own since calls into a host are unsafe code, however it is written: the library
//! forbids that, and so it can go on to. Natively there is nothing in it.

#![cfg(target_family = "wasm")]

use std::io;

use bindings::shipgate::launcher::{filling, folders, hashing};

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
        bytes(hashing::Sha256::finish(self.0))
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

/// Returns which boot of the machine this is, if that is known.
#[must_use]
pub fn boot() -> Option<String> {
    folders::boot()
}

/// Waits until all that was written to the file system of a granted folder is on its disk; returns whether it is.
#[must_use]
pub fn flush(path: &str) -> bool {
    folders::flush(path)
}

/// A file that the launcher fills and hashes; dropped, nothing more is written.
#[derive(Debug)]
pub struct Sink(filling::Sink);

impl Sink {
    /// Opens one on a file that is there and is to have so many bytes, of which these ranges are there. Nothing
    /// comes back where the launcher refuses.
    #[must_use]
    pub fn open(path: &str, size: u64, there: &[(u64, u64)]) -> Option<Self> {
        filling::Sink::open(path, size, there).ok().map(Self)
    }

    /// Returns what names it in a request.
    #[must_use]
    pub fn ticket(&self) -> String {
        self.0.ticket()
    }

    /// Leaves it to the system when the bytes get on the disk.
    pub fn put_off(&self) {
        self.0.put_off();
    }

    /// Writes bytes at their place, but those that are there already.
    ///
    /// # Errors
    /// The disk does not take them.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes).map_err(error)
    }

    /// Returns the SHA-256 of the whole once that is known, and on disk unless that was put off; nothing as long as that takes.
    #[must_use]
    pub fn digest(&self) -> Option<io::Result<[u8; 32]>> {
        let digest = self.0.digest()?;
        Some(digest.map(bytes).map_err(error))
    }
}

fn error(error: filling::Error) -> io::Error {
    match error {
        filling::Error::NoRoom => io::ErrorKind::StorageFull.into(),
        filling::Error::Other(words) => io::Error::other(words),
    }
}

fn bytes((a, b, c, d): (u64, u64, u64, u64)) -> [u8; 32] {
    let mut digest = [0; 32];
    for (place, word) in digest.chunks_exact_mut(8).zip([a, b, c, d]) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    digest
}
