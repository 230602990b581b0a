//! `ctr` as a child process that reads an archive.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{Error, PROGRAM, Target};
use crate::oci::Platform;
use crate::platform::docker::Pieces;

/// Imports an archive.
///
/// # Errors
///
/// The program is not here, says no, or the archive can't be read.
pub async fn import(
    target: &Target,
    platform: Option<&Platform>,
    mut archive: Box<dyn Pieces>,
) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Failed {
        message: error.to_string(),
    };
    let mut command = Command::new(PROGRAM);
    if let Some(address) = &target.address {
        command.arg("--address").arg(address);
    }
    command.args(["--namespace", &target.namespace, "images", "import"]);
    if let Some(platform) = platform {
        command.args(["--platform", &platform.to_string()]);
    }
    let mut child = command
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing,
            _ => failed(error),
        })?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        let Some(mut stdin) = stdin else {
            return Ok(());
        };
        while let Some(piece) = archive.next().map_err(|reason| Error::Archive { reason })? {
            // One that stops reading says why when it ends.
            if stdin.write_all(&piece).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let listen = async {
        let mut words = Vec::new();
        if let Some(mut pipe) = stderr {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut piece).await {
                // Read on, so that it never waits; kept is the beginning.
                let room = LARGEST.saturating_sub(words.len());
                words.extend_from_slice(&piece[..count.min(room)]);
            }
        }
        words
    };
    let (fed, words) = tokio::join!(feed, listen);
    let status = child.wait().await.map_err(failed)?;
    fed?;
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&words);
    let message = words.trim().chars().take(500).collect();
    Err(Error::Failed { message })
}

const LARGEST: usize = 16 << 10;
