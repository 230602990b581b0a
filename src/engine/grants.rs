//! What a run may touch: hosts, folders and variables, each with its reason.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::authority::authority;

/// Everything outside the process that a run may touch.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Grants {
    /// `host:port`, and what for.
    pub hosts: BTreeMap<String, BTreeSet<String>>,
    /// Files and folders that are read, and what for.
    pub read: BTreeMap<String, BTreeSet<String>>,
    /// Files and folders that are written, and what for.
    pub write: BTreeMap<String, BTreeSet<String>>,
    /// Variables that are read, and what for.
    pub variables: BTreeMap<String, BTreeSet<String>>,
    /// Other programs that are run, and what for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, BTreeSet<String>>,
    /// Unix sockets that are spoken to, and what for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sockets: BTreeMap<String, BTreeSet<String>>,
    /// Which of what is written are single files: whoever grants them need not grant their folders.
    #[serde(skip)]
    pub files: BTreeSet<String>,
    /// Which of the programs a run can't do without.
    #[serde(skip)]
    pub needed: BTreeSet<String>,
    /// Names and reasons of what is for whoever makes the connections: a component does without.
    #[serde(skip)]
    pub connecting: BTreeSet<(String, String)>,
}

impl Grants {
    /// Adds a host and port.
    pub fn host(&mut self, host: &str, port: u16, reason: impl Into<String>) {
        let entry = self.hosts.entry(authority(host, port));
        entry.or_default().insert(reason.into());
    }

    /// Adds a host and port unless it is there already, for whatever it is.
    pub fn host_unless_known(&mut self, host: &str, port: u16, reason: impl Into<String>) {
        let entry = self.hosts.entry(authority(host, port));
        entry.or_insert_with(|| [reason.into()].into());
    }

    /// Adds a host that stands between a run and others.
    pub fn connecting_host(&mut self, host: &str, port: u16, reason: &str) {
        self.connecting
            .insert((authority(host, port), reason.to_owned()));
        self.host(host, port, reason);
    }

    /// Adds a file that connections are made with.
    pub fn connecting_file(&mut self, path: &str, reason: &str) {
        self.connecting.insert((path.to_owned(), reason.to_owned()));
        self.read(path, reason);
    }

    /// Adds a variable that says how connections are made.
    pub fn connecting_variable(&mut self, name: &str, reason: &str) {
        self.connecting.insert((name.to_owned(), reason.to_owned()));
        self.variable(name, reason);
    }

    /// Says whether something is for whoever makes the connections, and for nothing else.
    #[must_use]
    pub fn is_connecting(&self, name: &str, reasons: &BTreeSet<String>) -> bool {
        let known = |reason: &String| self.connecting.contains(&(name.to_owned(), reason.clone()));
        !reasons.is_empty() && reasons.iter().all(known)
    }

    /// Adds a file or folder that is read.
    pub fn read(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.read
            .entry(path.into())
            .or_default()
            .insert(reason.into());
    }

    /// Adds a file or folder that is written.
    pub fn write(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.write
            .entry(path.into())
            .or_default()
            .insert(reason.into());
    }

    /// Adds a single file that is written.
    pub fn write_file(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        let path = path.into();
        self.files.insert(path.clone());
        self.write(path, reason);
    }

    /// Adds another program; `needed` says that the run would miss it.
    pub fn program(&mut self, name: impl Into<String>, reason: impl Into<String>, needed: bool) {
        let name = name.into();
        if needed {
            self.needed.insert(name.clone());
        }
        self.programs.entry(name).or_default().insert(reason.into());
    }

    /// Adds a Unix socket.
    pub fn socket(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        let reasons = self.sockets.entry(path.into()).or_default();
        reasons.insert(reason.into());
    }

    /// Adds a variable.
    pub fn variable(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.variables
            .entry(name.into())
            .or_default()
            .insert(reason.into());
    }

    /// Returns one line a grant: kind, name, reasons.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String, String)> {
        let kinds = [
            ("connect", &self.hosts),
            ("read", &self.read),
            ("write", &self.write),
            ("variable", &self.variables),
            ("run", &self.programs),
            ("socket", &self.sockets),
        ];
        kinds
            .into_iter()
            .flat_map(|(kind, entries)| {
                entries.iter().map(move |(name, reasons)| {
                    let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
                    (kind, name.clone(), reasons.join(", "))
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_listed_once_with_all_its_reasons() {
        let mut grants = Grants::default();
        grants.host("ghcr.io", 443, "preload");
        grants.host("ghcr.io", 443, "check");
        grants.host("::1", 80, "probe http");
        grants.variable("TOKEN", "secret ghcr");
        let lines: Vec<String> = grants
            .lines()
            .into_iter()
            .map(|(kind, name, reasons)| format!("{kind} {name}: {reasons}"))
            .collect();
        grants.connecting_host("p", 3128, "proxy");
        assert!(grants.is_connecting("p:3128", &grants.hosts["p:3128"]));
        grants.host("p", 3128, "probe");
        assert!(!grants.is_connecting("p:3128", &grants.hosts["p:3128"]));
        assert_eq!(
            lines,
            [
                "connect [::1]:80: probe http",
                "connect ghcr.io:443: check, preload",
                "variable TOKEN: secret ghcr",
            ]
        );
    }
}
