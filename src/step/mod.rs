//! The verbs: one file each, with what the document says about it.
//!
//! A verb is registered here, once; everything else that it has is in its own file.

pub mod check;
pub mod gate;
pub mod notify;
pub mod preload;
pub mod verify;

use crate::pipeline::record::one_of;

one_of! {
    /// What a step does.
    pub enum Verb("a verb", later = [
        "deploy", "rollback",
    ]) {
        /// Asks whether a registry is alive, and whether the login works.
        Check(check::Check) = "check",
        /// Fetches images into the cache, every byte checked against its digest.
        Preload(preload::Preload) = "preload",
        /// Verifies the signatures of images by the rules under `trust`.
        Verify(verify::Verify) = "verify",
        /// Watches a service until it is good, or is not.
        Gate(gate::Gate) = "gate",
        /// Tells people how the run stands.
        Notify(notify::Notify) = "notify",
    }
}
