//! WASI has no signals: whoever hosts the component ends it.

use crate::engine::Cancel;

/// Does nothing, and can't fail.
///
/// # Errors
/// None here; the signature is that of the other platforms.
pub fn listen(_: Cancel) -> std::io::Result<()> {
    Ok(())
}
