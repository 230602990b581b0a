//! `check`: is a registry alive, does it take our login, and is its certificate good for a while?

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};

use super::registry;
use crate::engine::grants::Grants;
use crate::engine::task::{Action, Rehearsal};
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::oci::{Access, Health};
use crate::outcome::ExitCode;
use crate::pipeline::address::RegistryHost;
use crate::pipeline::record::record;
use crate::pipeline::source::Spanned;
use crate::report::{Detail, words};

record! {
    /// Asks a registry's API whether it is alive and whether the login works.
    pub struct Check("`check`") {
        /// The registry's host, with a port if it is not the usual one.
        registry: Spanned<RegistryHost>,
        /// Fails if the certificate expires sooner than this.
        min_certificate_validity: Option<Duration>,
    }
}

impl Action for Check {
    fn verb(&self) -> &'static str {
        "check"
    }

    fn family(&self) -> ExitCode {
        ExitCode::RegistryUnhealthy
    }

    fn grants(&self, grants: &mut Grants, context: &Context) {
        registry(&self.registry.value.0, "check", grants, context);
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        self.ask(context).map_ok(|_| ()).boxed()
    }

    fn rehearse<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<Rehearsal, Failure>> {
        let told = |health: Health| {
            Rehearsal::said(format!(
                "registry {} is {}",
                self.registry.value, health.access
            ))
        };
        self.ask(context).map_ok(told).boxed()
    }
}

impl Check {
    async fn ask(&self, context: &Context) -> Result<Health, Failure> {
        let registry = self.registry.value.0.as_str();
        let health = context.registries().ping(registry).await.map_err(|error| {
            let message = format!("registry {registry} did not answer as a registry should");
            Failure::explained(ExitCode::RegistryUnhealthy, message, &error)
        })?;
        let tls = health.tls.as_ref();
        context.events.emit(Detail::RegistryChecked {
            registry: registry.to_owned(),
            summary: summary(&health),
            latency: health.latency,
            tls: tls.map(|tls| tls.version.to_owned()),
            certificate_expires: tls.and_then(|tls| tls.not_after).map(|at| at.to_string()),
        });
        self.refused(&health)
            .or_else(|| self.expiring(&health, context))
            .map_or(Ok(health), Err)
    }
}

impl Check {
    /// Says why a registry that refuses our login is not healthy for us.
    fn refused(&self, health: &Health) -> Option<Failure> {
        let Access::LoginRefused { reason } = &health.access else {
            return None;
        };
        let message = format!(
            "registry {} is alive and refused the login",
            self.registry.value
        );
        let failure = Failure::new(ExitCode::RegistryUnhealthy, message).caused_by(reason.clone());
        Some(
            failure.hinted("check the credentials under `registries`, or run `docker login` again"),
        )
    }

    /// Says whether the certificate ends before the step's least validity.
    fn expiring(&self, health: &Health, context: &Context) -> Option<Failure> {
        let least = self.min_certificate_validity?;
        let ends = health.tls.as_ref()?.not_after?;
        let left =
            Duration::try_from(ends.duration_since(context.world.clock.now())).unwrap_or_default();
        (left < least).then(|| {
            let message = format!("the certificate of {} ends too soon", self.registry.value);
            Failure::new(ExitCode::RegistryUnhealthy, message)
                .fact("ends", ends)
                .fact("left", words::duration(left))
                .fact("wanted", words::duration(least))
                .hinted("renew the certificate, or lower `min-certificate-validity`")
        })
    }
}

/// Says in one phrase how a registry is, with its challenge and its certificate.
fn summary(health: &Health) -> String {
    let mut summary = health.access.to_string();
    if let Some(challenge) = &health.challenge {
        summary += &format!(" ({challenge})");
    }
    summary
}
