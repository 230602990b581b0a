//! The exit code's way out of the component.
//!
//! WASI 0.2 knows "ok" and "error" only. So the component writes its code into the private folder
//! that the launcher gives it.

use std::fs;
use std::path::Path;

use shipgate::cli::hosted::EXIT_CODE;
use shipgate::outcome::ExitCode;

/// The code for a command line that asks for what can't be had.
pub const USAGE: u8 = ExitCode::Usage as u8;

/// The code for what no other code says.
const UNEXPECTED: u8 = ExitCode::Unexpected as u8;

/// Returns the code that the component has left in the folder, if it has left a proper one.
///
/// The component may have put anything there: a link is not followed, and no more is read than a
/// code can have.
pub fn reported(folder: &Path) -> Option<u8> {
    let path = folder.join(EXIT_CODE);
    let metadata = fs::symlink_metadata(&path).ok()?;
    if !metadata.is_file() || metadata.len() > 3 {
        return None;
    }
    fs::read_to_string(&path).ok()?.parse().ok()
}

/// Returns the launcher's exit code for a component that ended by itself: as it reported, where
/// that does not turn an error into a success.
pub fn code(succeeded: bool, reported: Option<u8>) -> u8 {
    match (succeeded, reported) {
        (true, None) => 0,
        (false, None | Some(0)) => UNEXPECTED,
        (_, Some(code)) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_through() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=255 {
            fs::write(folder.path().join(EXIT_CODE), number.to_string()).unwrap();
            assert_eq!(code(number == 0, reported(folder.path())), number);
        }
    }

    #[test]
    fn an_error_never_ends_as_success() {
        assert_eq!(code(false, Some(0)), 1);
        assert_eq!(code(false, None), 1);
        assert_eq!(code(true, Some(7)), 7);
        assert_eq!(code(true, None), 0);
    }

    #[test]
    fn odd_files_are_no_code() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EXIT_CODE);
        assert_eq!(reported(folder.path()), None);
        for text in ["", "256", "-1", "7\n", "seven", "0007"] {
            fs::write(&path, text).unwrap();
            assert_eq!(reported(folder.path()), None, "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(reported(folder.path()), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "9").unwrap();
        std::os::unix::fs::symlink("secret", folder.path().join(EXIT_CODE)).unwrap();
        assert_eq!(reported(folder.path()), None);
    }
}
