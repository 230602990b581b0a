//! The cage of one run: everything that the component gets, with the reason for each part.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use shipgate::cli::derive::AUTHORITY;
use shipgate::cli::environment::Environment;
use shipgate::cli::sandbox_args::SandboxArgs;
use shipgate::engine::grants::Grants;
use shipgate::failure::Failure;
use shipgate::outcome::ExitCode;
use shipgate::sandbox::policy::Subject;
use shipgate::sandbox::{Folder, Host, Policy, front, pattern};

use crate::egress::Granted;
use crate::failure;
use crate::paths::real;
use crate::stage::Carry;

/// The reason of what was given on the command line.
const BY_HAND: &str = "given by hand";

/// Everything that a component gets.
#[derive(Debug, Default)]
pub struct Cage {
    /// The folder that relative paths are below.
    pub working_folder: PathBuf,
    /// Hosts to connect to.
    pub hosts: Vec<(Granted, String)>,
    /// Files that are read: as they are written in the document, and why.
    pub files: Vec<(String, String)>,
    /// Where those are that were there when they were looked for: no others are judged, and no others are
    /// copied.
    pub found: BTreeMap<String, PathBuf>,
    /// Files with certificate authorities that the launcher trusts for it, and with its client
    /// certificates: the component does not get them.
    pub trusted: Vec<(String, String)>,
    /// Hosts that stand between, which the launcher alone connects to.
    pub between: Vec<(Host, String)>,
    /// Folders.
    pub folders: Vec<Mount>,
    /// Single files that are written: as they are written, why, and how they get out.
    pub carried: Vec<(String, String, Carry)>,
    /// What a run would write and a plan does not: a policy is asked all the same.
    pub planned: Vec<(String, String)>,
    /// Variables, and why.
    pub variables: Vec<(String, String)>,
    /// Variables of the command line itself, by [`front::VARIABLES`], that are set.
    pub front: Vec<String>,
}

/// A folder of this machine.
#[derive(Debug, Eq, PartialEq)]
pub struct Mount {
    /// The folder as it was named.
    pub shown: String,
    /// Its path here.
    pub host: PathBuf,
    /// Its names inside.
    pub guests: Vec<String>,
    /// Whether nothing in it may change.
    pub read_only: bool,
    /// What for.
    pub reason: String,
}

/// What the component is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To look: the cache, which is this folder, must not change.
    Look {
        /// The cache, as the grants name it.
        cache: String,
    },
    /// To run.
    Run,
}

impl Cage {
    /// Makes an empty cage, with the variables of the command line.
    pub fn new(working_folder: PathBuf, environment: &Environment) -> Self {
        let front = front::VARIABLES.iter().map(|(name, _)| *name);
        Self {
            working_folder,
            front: front
                .filter(|name| environment.variable(name).is_some())
                .map(str::to_owned)
                .collect(),
            ..Self::default()
        }
    }

    /// Adds what was derived from a pipeline.
    pub fn add(&mut self, grants: &Grants, purpose: &Purpose, environment: &Environment) {
        let reason = |reasons: &std::collections::BTreeSet<String>| {
            let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
            reasons.join(", ")
        };
        for (host, reasons) in &grants.hosts {
            // What is no host and port can't be connected to either.
            if let Ok(place) = host.parse::<Host>() {
                if grants.is_connecting(host, reasons) {
                    self.between.push((place, reason(reasons)));
                    continue;
                }
                let host = place;
                let granted = Granted {
                    host,
                    by_hand: false,
                };
                self.hosts.push((granted, reason(reasons)));
            }
        }
        for (path, reasons) in &grants.read {
            let only_trusted = reasons.iter().all(|reason| reason == AUTHORITY)
                || grants.is_connecting(path, reasons);
            let list = if only_trusted {
                &mut self.trusted
            } else {
                &mut self.files
            };
            list.push((path.clone(), reason(reasons)));
        }
        for (path, reasons) in &grants.write {
            let appended = front::APPENDED
                .iter()
                .any(|name| environment.filled(name).as_ref() == Some(path));
            match grants.files.contains(path) {
                true if appended => {
                    self.carried
                        .push((path.clone(), reason(reasons), Carry::Append));
                }
                // The lock file, which a plan writes too.
                true => {
                    self.carried
                        .push((path.clone(), reason(reasons), Carry::Replace));
                }
                false => {
                    let looked_at = matches!(purpose, Purpose::Look { cache } if cache == path);
                    if looked_at {
                        self.planned.push((path.clone(), reason(reasons)));
                    }
                    let mount = self.mount(path, looked_at, reason(reasons));
                    self.folders.push(mount);
                }
            }
        }
        for (name, reasons) in &grants.variables {
            if grants.is_connecting(name, reasons) {
                continue;
            }
            self.variables.push((name.clone(), reason(reasons)));
        }
        // What is granted by name needs no second mention.
        let granted = |name: &String| grants.variables.contains_key(name);
        self.front.retain(|name| !granted(name));
    }

    /// Adds what was given by hand.
    pub fn add_by_hand(&mut self, given: &SandboxArgs) {
        for host in &given.hosts {
            let granted = Granted {
                host: host.clone(),
                by_hand: true,
            };
            self.hosts.push((granted, BY_HAND.to_owned()));
        }
        for Folder {
            host,
            guest,
            read_only,
        } in &given.folders
        {
            self.folders.push(Mount {
                shown: host.display().to_string(),
                host: self.working_folder.join(host),
                guests: vec![guest.clone()],
                read_only: *read_only,
                reason: BY_HAND.to_owned(),
            });
        }
        for name in &given.variables {
            self.variables.push((name.clone(), BY_HAND.to_owned()));
        }
    }

    fn mount(&self, path: &str, read_only: bool, reason: String) -> Mount {
        let joined = self.working_folder.join(path);
        // The component may name it either way, and names inside are compared letter by letter.
        let mut guests = vec![joined.display().to_string()];
        let flat = pattern::flat(&joined).display().to_string();
        if flat != guests[0] {
            guests.push(flat);
        }
        Mount {
            shown: path.to_owned(),
            host: joined,
            guests,
            read_only,
            reason,
        }
    }

    /// Makes the folders that are to be written, and leaves out what is not there to be read.
    ///
    /// # Errors
    /// A folder can't be made.
    pub fn make_folders(&mut self) -> Result<(), Failure> {
        for mount in &self.folders {
            if !mount.read_only && mount.reason != BY_HAND {
                fs::create_dir_all(&mount.host)
                    .map_err(|error| failure::folder(&mount.host, error))?;
            }
        }
        self.folders
            .retain(|mount| mount.reason == BY_HAND || mount.host.is_dir());
        Ok(())
    }

    /// Looks for the files that are to be read.
    pub fn find_files(&mut self) {
        let files = self.files.iter().chain(&self.trusted);
        let found = files.map(|(path, _)| (path.clone(), self.real(path)));
        self.found = found.filter(|(_, real)| real.exists()).collect();
    }

    /// Returns what a policy refuses of it, of files those that were found: one failure a grant.
    pub fn denied(&self, policy: &Policy) -> Vec<Failure> {
        let folder = real(&self.working_folder);
        let refused = |subject: Subject<'_>, name: &str, reason: &str| {
            denial(&subject, name, reason, policy.refuses(subject, &folder)?)
        };
        let mut found = Vec::new();
        for (granted, reason) in &self.hosts {
            let name = granted.host.to_string();
            found.push(refused(Subject::Connect(&granted.host), &name, reason));
        }
        for (host, reason) in &self.between {
            found.push(refused(Subject::Connect(host), &host.to_string(), reason));
        }
        for (path, reason) in self.files.iter().chain(&self.trusted) {
            // What is not there can't be read.
            if let Some(real) = self.found.get(path) {
                found.push(refused(Subject::Read(real), path, reason));
            }
        }
        for mount in &self.folders {
            let real = real(&mount.host);
            let (name, reason) = (&mount.shown, &mount.reason);
            let planned = self.planned.iter().any(|(path, _)| path == name);
            // Who may write a folder may read it: a list of what may be written is enough for that.
            let denied = || {
                let why = policy.denies(Subject::Read(&real), &folder)?;
                denial(&Subject::Read(&real), name, reason, why)
            };
            found.push(match mount.read_only {
                // What a run would write is asked about below.
                true if planned => denied(),
                true => refused(Subject::Read(&real), name, reason),
                false => denied().or_else(|| refused(Subject::Write(&real), name, reason)),
            });
        }
        for (path, reason) in &self.planned {
            let real = self.real(path);
            found.push(refused(Subject::Write(&real), path, reason));
        }
        for (path, reason, how) in &self.carried {
            // The CI system's own files are no matter of the pipeline's.
            if *how == Carry::Replace {
                let real = self.real(path);
                found.push(refused(Subject::Write(&real), path, reason));
            }
        }
        for (name, reason) in &self.variables {
            let subject = Subject::Variable(name);
            // The command line's own are no matter of the pipeline's, unless they are denied by name.
            let why = if front::is_own(name) {
                policy.denies(subject, &folder)
            } else {
                policy.refuses(subject, &folder)
            };
            found.push(why.and_then(|why| denial(&subject, name, reason, why)));
        }
        found.into_iter().flatten().collect()
    }

    /// Takes away the command line's own variables that a policy denies by name: a run can do
    /// without them. A list of what is allowed does not concern them.
    pub fn without_denied_front(&mut self, policy: &Policy) {
        let folder = real(&self.working_folder);
        let kept = |name: &String| policy.denies(Subject::Variable(name), &folder).is_none();
        self.front.retain(kept);
    }

    /// Returns a path as it is once links are followed.
    pub fn real(&self, path: &str) -> PathBuf {
        real(&self.working_folder.join(path))
    }

    /// Returns each variable with its value, if it is set.
    ///
    /// # Errors
    /// A value is no text.
    pub fn values(&self) -> Result<BTreeMap<String, String>, Failure> {
        let granted = self.variables.iter().map(|(name, _)| name);
        let mut values = BTreeMap::new();
        for name in granted.chain(&self.front) {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is where a variable is granted"
            )]
            match std::env::var(name) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => {
                    let what = format!("can't hand over the variable {name}");
                    return Err(failure::not_text(what));
                }
            }
        }
        Ok(values)
    }
}

fn denial(subject: &Subject<'_>, name: &str, reason: &str, why: String) -> Option<Failure> {
    let message = format!("not granted: {} {name}", subject.kind().name());
    Some(
        Failure::new(ExitCode::NotGranted, message)
            .caused_by(why)
            .fact("needed for", reason)
            .hinted("take it out of the pipeline, or have the policy allow it"),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn cage(folder: &Path) -> Cage {
        Cage {
            working_folder: folder.to_owned(),
            ..Cage::default()
        }
    }

    fn grants() -> Grants {
        let mut grants = Grants::default();
        grants.host("ghcr.io", 443, "preload");
        grants.read("p.yml", "pipeline");
        grants.read("keys/a.pub", "key");
        grants.write("cache", "cache");
        grants.write_file("a.lock", "lock file");
        grants.variable("TOKEN", "secret");
        grants.variable("GITHUB_OUTPUT", "outputs of the job");
        grants.write_file("/o", "outputs of the job");
        grants
    }

    fn environment() -> Environment {
        let clock = shipgate::clock::Clock::new(|| unreachable!());
        Environment::given(&[("GITHUB_OUTPUT", "/o"), ("TERM", "dumb")], clock)
    }

    #[test]
    fn a_run_writes_and_a_plan_looks() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = cage(folder.path());
        run.add(&grants(), &Purpose::Run, &environment());
        assert_eq!(run.hosts.len(), 1);
        assert_eq!(run.files.len(), 2);
        assert!(!run.folders[0].read_only);
        let carried: Vec<_> = run.carried.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(carried, ["/o", "a.lock"]);
        run.make_folders().unwrap();
        assert!(folder.path().join("cache").is_dir());

        let other = tempfile::tempdir().unwrap();
        let mut plan = cage(other.path());
        let cache = "cache".to_owned();
        let mut grants = grants();
        grants.write("report", "report");
        plan.add(&grants, &Purpose::Look { cache }, &environment());
        assert!(plan.folders[0].read_only && !plan.folders[1].read_only);
        // A plan writes a lock file too.
        let carried: Vec<_> = plan.carried.iter().map(|(path, ..)| path).collect();
        assert_eq!(carried, ["/o", "a.lock"]);
        plan.make_folders().unwrap();
        assert_eq!(plan.folders.len(), 1);
        assert!(other.path().join("report").is_dir() && !other.path().join("cache").exists());
    }

    #[test]
    fn the_front_is_what_is_set() {
        assert_eq!(
            Cage::new("/".into(), &environment()).front,
            ["GITHUB_OUTPUT", "TERM"]
        );
    }

    #[test]
    fn a_policy_refuses_each_grant_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("p.yml"), "").unwrap();
        let mut cage = cage(folder.path());
        cage.add(&grants(), &Purpose::Run, &environment());
        cage.find_files();
        let mut policy = Policy::default();
        let denied = [
            "connect:ghcr.io",
            "read:p.yml",
            "write:cache",
            "variable:T*",
        ];
        policy.deny(denied.map(|deny| deny.parse().unwrap()));
        let messages: Vec<_> = cage
            .denied(&policy)
            .into_iter()
            .map(|failure| failure.message)
            .collect();
        assert_eq!(
            messages,
            [
                "not granted: connect ghcr.io:443",
                "not granted: read p.yml",
                "not granted: write cache",
                "not granted: variable TOKEN",
            ]
        );
        assert!(cage.denied(&Policy::default()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_policy_sees_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("keys")).unwrap();
        let mut cage = cage(folder.path());
        cage.files.push(("keys/secret".into(), "key".into()));
        cage.find_files();
        let mut policy = Policy::default();
        let file = "version: 1\nallow: {read: [.]}\n";
        policy
            .add_file(&shipgate::pipeline::Source::new("p", file))
            .unwrap();
        assert_eq!(cage.denied(&policy).len(), 1);
    }
}
