//! No other programs.

use super::{Error, Target};
use crate::oci::Platform;
use crate::platform::docker::Pieces;

/// Refuses.
///
/// # Errors
///
/// Always.
pub async fn import(_: &Target, _: Option<&Platform>, _: Box<dyn Pieces>) -> Result<(), Error> {
    Err(Error::Unsupported)
}
