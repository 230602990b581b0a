//! `check`: is the registry alive, and does the login work?

use std::time::Duration;

use crate::pipeline::address::RegistryHost;
use crate::pipeline::record::record;
use crate::pipeline::source::Spanned;

record! {
    /// Asks a registry's API whether it is alive and whether the login works.
    pub struct Check("`check`") {
        /// The registry's host, with a port if it is not the usual one.
        registry: Spanned<RegistryHost>,
        /// Fails if the certificate expires sooner than this.
        min_certificate_validity: Option<Duration>,
    }
}
