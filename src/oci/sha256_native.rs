//! SHA-256 by ring: assembly that uses the CPU's SHA instructions, in every build profile.

pub(super) struct Sha256(ring::digest::Context);

impl Sha256 {
    pub(super) fn new() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        bytes
    }
}
