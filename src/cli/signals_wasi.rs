//! WASI has no signals: the launcher passes them on by a file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::hosted::{ANSWERS, CANCEL, FOLDER, LISTENING};
use crate::engine::{Cancel, Urgency};

/// How often the file is looked for.
const EVERY: Duration = Duration::from_millis(100);

/// Turns the launcher's word into cancellation until the runtime ends. Under another runtime there
/// is nobody to say it: that one ends the component.
///
/// # Errors
/// The folder for answers can't be written.
pub fn listen(cancel: Cancel) -> std::io::Result<()> {
    let folder = Path::new(FOLDER);
    if !folder.is_dir() {
        return Ok(());
    }
    fs::write(Path::new(ANSWERS).join(LISTENING), "")?;
    tokio::spawn(async move {
        let mut interval = interval(EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let Ok(word) = fs::read(folder.join(CANCEL)) else {
                continue;
            };
            if word == b"abort" {
                cancel.raise(Urgency::Abort);
                return;
            }
            cancel.raise(Urgency::Cancel);
        }
    });
    Ok(())
}
