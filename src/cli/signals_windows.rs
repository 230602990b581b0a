//! Ctrl-C on Windows.

use crate::engine::{Cancel, Urgency};

/// Turns the first Ctrl-C into cancellation and the second into an abort.
///
/// # Errors
/// When the handler can't be installed.
pub fn listen(cancel: Cancel) -> std::io::Result<()> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    tokio::spawn(async move {
        for urgency in [Urgency::Cancel, Urgency::Abort] {
            interrupt.recv().await;
            cancel.raise(urgency);
        }
    });
    Ok(())
}
