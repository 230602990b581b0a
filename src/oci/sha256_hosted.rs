//! SHA-256 by the launcher, which has instructions for it.

pub(super) struct Sha256(shipgate_hosted::Sha256);

impl Sha256 {
    pub(super) fn new() -> Self {
        Self(shipgate_hosted::Sha256::new())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finish()
    }
}
