//! `describe`: the config of a component, for the artifact that it is in a registry.

use std::path::Path;

use shipgate::cli::session::Session;
use shipgate::failure::Failure;
use shipgate::oci::Digest;
use shipgate::outcome::ExitCode;

use crate::artifact::{Config, World};
use crate::compiled::{self, Bytes, Places};
use crate::{component, failure};

/// Prints the config, which a registry keeps beside the component.
///
/// `SOURCE_DATE_EPOCH` stands for the time, so that a build that is repeated has the same digest.
///
/// # Errors
/// The file holds no component.
pub fn describe(path: &Path, session: &Session) -> Result<u8, Failure> {
    let bytes = std::fs::read(path).map_err(|error| failure::component(path, error))?;
    let layer = Digest::of(&bytes);
    let engine = component::engine().map_err(failure::host)?;
    let places = Places::usual(&session.environment);
    let loaded = compiled::load(&engine, Bytes::Here(bytes), places.as_ref())
        .map_err(|error| failure::load(path, &error))?;
    let kind = loaded.component.component_type();
    let world = World {
        exports: kind
            .exports(&engine)
            .map(|(name, _)| name.to_owned())
            .collect(),
        imports: kind
            .imports(&engine)
            .map(|(name, _)| name.to_owned())
            .collect(),
        target: None,
    };
    session.json(&Config::of(layer, created(session)?, world), true)?;
    Ok(ExitCode::Done.code())
}

fn created(session: &Session) -> Result<String, Failure> {
    let Some(given) = session.environment.filled("SOURCE_DATE_EPOCH") else {
        return Ok(session.environment.clock.now().to_string());
    };
    let second = given
        .parse()
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    second.map(|second| second.to_string()).ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("SOURCE_DATE_EPOCH is `{given}`"))
            .caused_by("it is no number of seconds since 1970")
    })
}
