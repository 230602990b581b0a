//! The launcher's own errors, in shipgate's voice: what failed, why, what to change.

use std::fmt;
use std::path::PathBuf;

use crate::exit;
use crate::network::Grant;

/// Why the component could not be run to its end.
#[derive(Debug)]
pub enum Failure {
    /// The component's file can't be read.
    Component { path: PathBuf, cause: String },
    /// The file holds no component that this runtime can run.
    Compile { path: PathBuf, cause: String },
    /// A granted folder can't be opened.
    Folder { path: PathBuf, cause: String },
    /// The host could not prepare the run.
    Host { cause: String },
    /// The component asks for something that this launcher does not offer.
    Instantiate { path: PathBuf, cause: String },
    /// No component was named, and none lies beside the launcher.
    NoComponent { looked_at: Option<PathBuf> },
    /// The component was stopped by a fault of its own.
    Trap { cause: String },
    /// A granted variable holds no text.
    Variable { name: String },
}

impl Failure {
    /// Returns the launcher's exit code: that of a usage error where the command line is at fault.
    pub fn code(&self) -> u8 {
        match self {
            Self::Component { .. }
            | Self::Folder { .. }
            | Self::NoComponent { .. }
            | Self::Variable { .. } => exit::USAGE,
            Self::Compile { .. }
            | Self::Host { .. }
            | Self::Instantiate { .. }
            | Self::Trap { .. } => exit::UNEXPECTED,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Component { path, .. } => format!("can't read the component {}", path.display()),
            Self::Compile { path, .. } => format!("{} is no component to run", path.display()),
            Self::Folder { path, .. } => format!("can't grant the folder {}", path.display()),
            Self::Host { .. } => "can't prepare the run".to_owned(),
            Self::Instantiate { path, .. } => format!("can't start {}", path.display()),
            Self::NoComponent { .. } => "there is no component to run".to_owned(),
            Self::Trap { .. } => "the component was stopped by a fault of its own".to_owned(),
            Self::Variable { name } => format!("can't hand over the variable {name}"),
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Component { cause, .. }
            | Self::Compile { cause, .. }
            | Self::Folder { cause, .. }
            | Self::Host { cause }
            | Self::Instantiate { cause, .. }
            | Self::Trap { cause } => Some(cause.clone()),
            Self::NoComponent { looked_at } => looked_at
                .as_ref()
                .map(|path| format!("{} does not exist", path.display())),
            Self::Variable { .. } => Some("its value is not UTF-8".to_owned()),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Compile { .. } => Some(
                "build it with `cargo build --release --target wasm32-wasip2`: core modules \
                 (wasip1) are not components",
            ),
            Self::Folder { .. } => Some("create the folder first: `--dir` grants what exists"),
            Self::Instantiate { .. } => {
                Some("use the component and the launcher of the same release")
            }
            Self::Component { .. } | Self::NoComponent { .. } => Some(
                "name it with `--component FILE`, after `cargo build --release --target \
                 wasm32-wasip2`",
            ),
            Self::Trap { .. } => {
                Some("what it printed last says more; please report it with the command line")
            }
            Self::Host { .. } | Self::Variable { .. } => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message())?;
        if let Some(cause) = self.cause() {
            write!(f, "\n  cause: {cause}")?;
        }
        if let Some(hint) = self.hint() {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Returns what is said when the component tries a connection that no grant covers; the component
/// itself only learns that it was denied.
pub fn refused_connection(address: std::net::SocketAddr, grants: &[Grant]) -> String {
    let mut text = format!("refused: a connection to {address}");
    if grants.is_empty() {
        text.push_str("\n  cause: no host is granted");
    } else {
        let list: Vec<_> = grants.iter().map(ToString::to_string).collect();
        text.push_str(&format!("\n  cause: it is none of {}", list.join(", ")));
    }
    text.push_str(&format!(
        "\nhint: to allow it, add `--allow-host {address}`, or the name behind it with this port"
    ));
    text
}
