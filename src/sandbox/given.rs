//! What is granted by hand, on the command line: hosts, folders and variables.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::authority::authority;

/// A host and port that may be connected to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Host {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write HOST:PORT, such as registry.example:443 or [::1]:5000".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(form)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(form)?,
            None if host.contains(':') => return Err(form()),
            None => host,
        };
        if host.is_empty() || host.contains(['/', '*', '@', ' ', '[', ']']) {
            return Err(form());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// A folder of this machine, and what the component may do with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Folder {
    /// The folder here.
    pub host: PathBuf,
    /// Its name in there.
    pub guest: String,
    /// Whether nothing in it may change.
    pub read_only: bool,
}

impl FromStr for Folder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text, false),
        };
        let (host, guest) = paths.split_once("::").unwrap_or((paths, paths));
        if host.is_empty() || guest.is_empty() {
            return Err("write FOLDER, FOLDER::NAME, or either with :ro".to_owned());
        }
        Ok(Self {
            host: host.into(),
            guest: guest.to_owned(),
            read_only,
        })
    }
}

/// Reads the name of a variable.
///
/// # Errors
/// It is no name, or a value stands behind it.
pub fn variable(name: &str) -> Result<String, String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("write the variable's name alone: its value is taken from here".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(host: &str, guest: &str, read_only: bool) -> Folder {
        Folder {
            host: host.into(),
            guest: guest.to_owned(),
            read_only,
        }
    }

    #[test]
    fn hosts_are_parsed_strictly() {
        for good in ["registry.example:443", "127.0.0.1:5000", "[::1]:5000"] {
            assert_eq!(good.parse::<Host>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "::1:5000",
            "[::1:1",
            "*:1",
            "http://a:1",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_are_parsed() {
        assert_eq!(".".parse(), Ok(folder(".", ".", false)));
        assert_eq!("/a:ro".parse(), Ok(folder("/a", "/a", true)));
        assert_eq!("/a::b".parse(), Ok(folder("/a", "b", false)));
        assert_eq!("/a::/b:ro".parse(), Ok(folder("/a", "/b", true)));
        for bad in ["", "::b", "a::", ":ro"] {
            assert!(bad.parse::<Folder>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_variable_is_named_without_a_value() {
        assert_eq!(variable("A").as_deref(), Ok("A"));
        assert!(variable("A=b").is_err());
        assert!(variable("").is_err());
    }
}
