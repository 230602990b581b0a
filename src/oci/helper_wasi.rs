//! Docker's credential helpers inside a component: there are no child processes.

use futures_util::future::BoxFuture;

use super::credentials::{HelperError, HelperOutput, HelperRunner};

/// Says that helpers can't be run here.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessHelpers;

impl HelperRunner for ProcessHelpers {
    fn run<'a>(
        &'a self,
        _helper: &'a str,
        _server: &'a str,
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>> {
        Box::pin(async { Err(HelperError::Unsupported) })
    }
}
