//! Keys and signatures of the real cosign, without a log and without the network.

use std::path::PathBuf;

use super::{Sandbox, Tool};

/// A cosign key pair.
pub struct Signer {
    folder: Sandbox,
}

/// Where cosign puts a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// A bundle that refers to the image: cosign 3's own form.
    Bundle,
    /// The tag `sha256-HEX.sig`: the form of cosign 1 and 2.
    Tag,
}

impl Signer {
    /// Makes a key pair with an empty password.
    pub fn new() -> Self {
        let folder = Sandbox::new();
        Tool::new(&folder, "cosign")
            .args(["generate-key-pair"])
            .run();
        // Both empty: no log, no time stamps, and no look at the public instance either.
        for kind in ["trusted-root", "signing-config"] {
            Tool::new(&folder, "cosign")
                .args([kind, "create", "--out", kind])
                .run();
        }
        Self { folder }
    }

    /// Returns the path of the public key.
    pub fn public_key(&self) -> PathBuf {
        self.folder.path().join("cosign.pub")
    }

    /// Signs a reference by digest.
    pub fn sign(&self, reference: &str, layout: Layout) {
        assert!(reference.contains('@'), "sign digests, not tags");
        let cosign =
            Tool::new(&self.folder, "cosign").args(["sign", "--yes", "--key", "cosign.key"]);
        let cosign = match layout {
            Layout::Bundle => cosign.args([
                "--signing-config",
                "signing-config",
                "--trusted-root",
                "trusted-root",
            ]),
            Layout::Tag => cosign.args([
                "--new-bundle-format=false",
                "--use-signing-config=false",
                "--tlog-upload=false",
            ]),
        };
        cosign.args([reference]).run();
    }

    /// Says whether cosign itself accepts a signature of this key.
    pub fn accepts(&self, reference: &str) -> bool {
        let output = Tool::new(&self.folder, "cosign")
            .args([
                "verify",
                "--key",
                "cosign.pub",
                "--insecure-ignore-tlog",
                reference,
            ])
            .attempt();
        output.status.success()
    }
}
