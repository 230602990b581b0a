//! What the launcher and the component tell each other, by files in two private folders.
//!
//! The launcher makes them anew for each run and gives them to the component under [`FOLDER`] and
//! [`ANSWERS`]; other runtimes have none. Each of them is written by one side alone: in a folder that the other
//! could write, a link might stand where a file is about to be made.

use serde::{Deserialize, Serialize};

use crate::net::egress;
use crate::pipeline::PlaygroundNames;

/// Where the component sees the launcher's folder, which it can't change.
pub const FOLDER: &str = "/.shipgate-launcher";

/// Where the component sees the folder for its answers.
pub const ANSWERS: &str = "/.shipgate-component";

/// From the launcher, before the start: a [`Brief`] as JSON.
pub const BRIEF: &str = "brief.json";

/// From the launcher, at any time: `cancel`, and later perhaps `abort`.
pub const CANCEL: &str = "cancel";

/// From the component: it is there once [`CANCEL`] is looked for.
pub const LISTENING: &str = "listening";

/// From the component, at its end: the exit code in decimal digits. WASI 0.2 itself passes on "ok"
/// and "error" only.
pub const EXIT_CODE: &str = "exit-code";

/// What the component could not find out by itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Brief {
    /// The run's id: the launcher keeps what it was given under that name.
    pub run: Option<String>,
    /// The folder that relative paths are below, by its name outside.
    pub working_folder: Option<String>,
    /// What the machine is called from one start to the next.
    pub boot: Option<String>,
    /// The machine's operating system and architecture, by Rust's names: the component's own are WASI's.
    pub machine: Option<(String, String)>,
    /// The playground that the launcher hosts.
    pub playground: Option<PlaygroundNames>,
    /// The only way to other hosts.
    pub egress: Option<egress::Way>,
    /// Files with certificate authorities that the launcher trusts besides the usual ones.
    #[serde(default)]
    pub trusted: Vec<String>,
    /// By which ways the launcher reaches hosts, as the document says it.
    #[serde(default)]
    pub ways: Vec<String>,
}
