//! What a standard stream is connected to: the sandbox does not tell.

/// Says that standard error might be a file.
pub fn stderr_is_file() -> bool {
    true
}
