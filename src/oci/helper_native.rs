//! Docker's credential helpers as child processes.

use std::process::Stdio;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::credentials::{HelperError, HelperOutput, HelperRunner};

/// Runs helpers that are on the search path, each for at most 10 s.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessHelpers;

impl HelperRunner for ProcessHelpers {
    fn run<'a>(
        &'a self,
        helper: &'a str,
        server: &'a str,
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>> {
        Box::pin(async move {
            let name = format!("docker-credential-{helper}");
            let mut command = Command::new(name);
            let run = run(command.arg("get"), server);
            match within(LONGEST, run).await {
                Err(HelperError::NoProgram) => Err(HelperError::Missing {
                    name: helper.to_owned(),
                }),
                outcome => outcome,
            }
        })
    }

    fn program<'a>(
        &'a self,
        words: &'a [String],
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>> {
        Box::pin(async move {
            let (name, arguments) = words.split_first().ok_or(HelperError::Name)?;
            let mut command = Command::new(name);
            let run = run(command.args(arguments), "");
            within(LONGEST_PROGRAM, run).await
        })
    }
}

/// Programs may ask services of their own, or a person.
const LONGEST_PROGRAM: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(10);
const LARGEST_OUTPUT: u64 = 64 * 1024;

async fn within(
    longest: Duration,
    run: impl Future<Output = Result<HelperOutput, HelperError>>,
) -> Result<HelperOutput, HelperError> {
    let seconds = longest.as_secs();
    timeout(longest, run)
        .await
        .unwrap_or(Err(HelperError::Timeout { seconds }))
}

async fn run(command: &mut Command, input: &str) -> Result<HelperOutput, HelperError> {
    let failed = |error: std::io::Error| HelperError::Failed {
        said: Some(error.to_string()),
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // What helpers say there is not bounded by any protocol, and may hold secrets.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => HelperError::NoProgram,
            _ => failed(error),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input is known by its answer.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let mut stdout = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(LARGEST_OUTPUT)
            .read_to_end(&mut stdout)
            .await
            .map_err(failed)?;
    }
    let status = child.wait().await.map_err(failed)?;
    Ok(HelperOutput {
        success: status.success(),
        stdout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_helper_that_is_not_installed_is_missing() {
        let outcome = ProcessHelpers.run("shipgate-no-such-helper", "a").await;
        assert!(matches!(outcome, Err(HelperError::Missing { .. })));
    }
}
