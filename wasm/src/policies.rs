//! What is taken away from the grants of a pipeline, and what comes of what is not there any more.

use shipgate::cli::sandbox_args::SandboxArgs;
use shipgate::cli::session::Session;
use shipgate::failure::Failure;
use shipgate::outcome::ExitCode;
use shipgate::pipeline::{Diagnostic, Source};
use shipgate::sandbox::Policy;

/// Tells all refusals but the last.
///
/// # Errors
/// The last one, as the failure of the run.
pub fn refuse(mut refusals: Vec<Failure>, session: &Session) -> Result<(), Failure> {
    let Some(last) = refusals.pop() else {
        return Ok(());
    };
    for refusal in &refusals {
        session.printer.failure(refusal);
    }
    Err(last)
}

/// Reads what the command line and the policies that it names take away.
///
/// # Errors
/// One of them can't be read, or says what no policy can.
pub fn policy(sandbox: &SandboxArgs) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    policy.deny(sandbox.deny.iter().cloned());
    for path in &sandbox.policy {
        let name = path.display().to_string();
        let unusable = |causes: Vec<Diagnostic>| {
            let message = format!("the policy {name} can't be used");
            let failure = Failure::new(ExitCode::Usage, message);
            let failure = causes.iter().fold(failure, |failure, cause| {
                failure.caused_by(cause.to_string())
            });
            failure.hinted("docs/sandbox.md describes what a policy says")
        };
        let bytes = std::fs::read(path).map_err(|error| {
            Failure::new(ExitCode::Usage, format!("the policy {name} can't be read"))
                .caused_by(error.to_string())
                .hinted("without it nothing is run: check the path")
        })?;
        let source = Source::from_bytes(&name, &bytes).map_err(|found| unusable(vec![found]))?;
        policy.add_file(&source).map_err(unusable)?;
    }
    Ok(policy)
}
