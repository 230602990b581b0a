//! In the component the launcher has done its part: its flags mean nothing here any more.

use super::environment::Environment;
use super::hosted;
use super::sandbox_args::SandboxArgs;
use crate::failure::Failure;
use crate::outcome::ExitCode;

/// Returns nothing where a launcher runs the component: the command goes on here.
///
/// # Errors
/// Another runtime runs it, which knows nothing of the grants.
pub fn hand_over(_: &SandboxArgs, _: &Environment) -> Result<Option<u8>, Failure> {
    if std::path::Path::new(hosted::FOLDER).is_dir() {
        return Ok(None);
    }
    Err(
        Failure::new(ExitCode::Usage, "--sandbox needs shipgate's own launcher")
            .caused_by("this component runs under another runtime, which has its own grants")
            .hinted("run `shipgate run --sandbox`, or leave --sandbox out"),
    )
}
