//! Signals on Unix.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};

use crate::engine::{Cancel, Urgency};

/// Turns signals into cancellation until the runtime ends.
///
/// The first SIGINT, SIGTERM or SIGHUP cancels. A later SIGTERM changes nothing: CI systems send it
/// when their patience is half over. A second SIGINT aborts if a person at a terminal sent it.
///
/// # Errors
/// When the handlers can't be installed.
pub fn listen(cancel: Cancel) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut interrupted = false;
        loop {
            let by_hand = tokio::select! {
                // Either may be redirected while a person watches the other.
                _ = interrupt.recv() => std::io::stdin().is_terminal() || std::io::stderr().is_terminal(),
                _ = terminate.recv() => false,
                _ = hangup.recv() => false,
            };
            if by_hand && interrupted {
                cancel.raise(Urgency::Abort);
            }
            interrupted |= by_hand;
            cancel.raise(Urgency::Cancel);
        }
    });
    Ok(())
}
