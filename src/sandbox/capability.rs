//! What a step may need of the machine, and who provides it in the sandbox. `docs/sandbox.md` is made of this table.

use crate::engine::grants::Grants;
use crate::failure::Failure;
use crate::outcome::ExitCode;

/// Something that a run may need of the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// Another program, such as a credential helper.
    ChildProcess,
    /// The wall clock, and one that only goes on.
    Clock,
    /// An exit code other than 0 and 1.
    ExitCode,
    /// How much room is left on a disk.
    FreeSpace,
    /// Files and folders.
    File,
    /// A lock on a file that ends with its process.
    FileLock,
    /// A socket that others connect to.
    Listen,
    /// The addresses of a host name.
    Name,
    /// Random numbers for keys and names.
    Randomness,
    /// The wish to end the run.
    Signal,
    /// The machine's own store of certificate authorities.
    SystemRoots,
    /// A TCP connection to another host.
    Tcp,
    /// Work on several processors at once.
    Thread,
    /// Encryption of a connection.
    Tls,
    /// Datagrams.
    Udp,
    /// A Unix socket, such as that of a container engine.
    UnixSocket,
    /// Variables of the environment.
    Variable,
    /// What stands between a run and a host.
    Way,
}

/// Who provides something in the sandbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Provider {
    /// The component itself, by what WASI has.
    Component,
    /// The launcher, which does it or checks each use.
    Launcher,
    /// Nobody: what can't do without is refused.
    Nobody,
}

impl Provider {
    /// Returns the word for tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Component => "the component",
            Self::Launcher => "the launcher",
            Self::Nobody => "not there",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capability {
    /// What is needed.
    pub need: Need,
    /// The same, for people.
    pub what: &'static str,
    /// How it is done natively.
    pub natively: &'static str,
    /// Who provides it in the sandbox.
    pub provider: Provider,
    /// How, or what happens without.
    pub how: &'static str,
}

/// Every need, in the order of the page.
pub const CAPABILITIES: [Capability; 18] = [
    row(
        Need::Tcp,
        "TCP connections out",
        "any host; `plan` lists them",
        Provider::Launcher,
        "the launcher connects, to granted hosts on granted ports alone, and passes the bytes on; the component itself reaches nothing",
    ),
    row(
        Need::Name,
        "names of hosts",
        "the system's resolver",
        Provider::Launcher,
        "looked up by the launcher, granted ones only, once a connection; the component can look none up",
    ),
    row(
        Need::Tls,
        "TLS",
        "rustls",
        Provider::Launcher,
        "natively, for the component: keys and authorities stay outside",
    ),
    row(
        Need::Way,
        "proxies, `connect-to`, client certificates",
        "as the variables and the document say",
        Provider::Launcher,
        "the launcher goes these ways: the component can't reach what stands between, and gets no key and no variable with a proxy's password",
    ),
    row(
        Need::SystemRoots,
        "the system's certificate authorities",
        "trusted, beside Mozilla's",
        Provider::Launcher,
        "the same ones, with `net.ca` and `SSL_CERT_FILE`: the launcher trusts them, and the component does not get the files",
    ),
    row(
        Need::File,
        "files",
        "as the user may",
        Provider::Launcher,
        "copies of the files that are read, and no others; folders that are written, themselves; the launcher may fill a file of these for the component",
    ),
    row(
        Need::FileLock,
        "file locks",
        "of the journals of runs",
        Provider::Nobody,
        "the launcher holds one for the run, by which `finish` knows whether it lives; the cache's own lock is a file that natives and components mind",
    ),
    row(
        Need::FreeSpace,
        "free space on a disk",
        "the file system's answer",
        Provider::Launcher,
        "for granted folders, if the component is the one that is made for it; without, a full disk is an error of the write",
    ),
    row(
        Need::Variable,
        "variables",
        "those that the document and the front name",
        Provider::Launcher,
        "the granted ones, and the list below",
    ),
    row(
        Need::Listen,
        "listening",
        "the playground, on 127.0.0.1",
        Provider::Launcher,
        "the launcher hosts the playground, and grants its two addresses",
    ),
    row(
        Need::Signal,
        "signals",
        "cancel the run",
        Provider::Launcher,
        "the launcher passes them on, and ends a component that does not listen",
    ),
    row(
        Need::ExitCode,
        "exit codes",
        "the process's own",
        Provider::Launcher,
        "by a file in a private folder",
    ),
    row(
        Need::Clock,
        "clocks",
        "the system's",
        Provider::Component,
        "WASI's: the same clocks",
    ),
    row(
        Need::Randomness,
        "randomness",
        "the system's",
        Provider::Component,
        "WASI's: the same source",
    ),
    row(
        Need::Thread,
        "threads",
        "one for each processor",
        Provider::Nobody,
        "one thread does everything but what the launcher does: TLS, and SHA-256 if the component is the one that is made for it",
    ),
    row(
        Need::ChildProcess,
        "other programs",
        "credential helpers of Docker's configuration, containerd's `ctr`",
        Provider::Nobody,
        "a pipeline that needs a login from a credential helper, or `ctr`, is refused before it runs",
    ),
    row(
        Need::UnixSocket,
        "Unix sockets",
        "`preload` into Docker Engine or containerd",
        Provider::Nobody,
        "a pipeline that needs one is refused before it runs; `docker-archive` and registries need none",
    ),
    row(
        Need::Udp,
        "UDP, raw sockets",
        "not used",
        Provider::Nobody,
        "not used",
    ),
];

const fn row(
    need: Need,
    what: &'static str,
    natively: &'static str,
    provider: Provider,
    how: &'static str,
) -> Capability {
    Capability {
        need,
        what,
        natively,
        provider,
        how,
    }
}

/// Returns what a run would need and the sandbox does not have: one failure a thing.
#[must_use]
pub fn lacking(grants: &Grants) -> Vec<Failure> {
    let programs = grants
        .programs
        .iter()
        .filter(|(program, _)| grants.needed.contains(*program))
        .filter(|_| !is_provided(Need::ChildProcess));
    let sockets = grants
        .sockets
        .iter()
        .filter(|_| !is_provided(Need::UnixSocket));
    let sockets = sockets.map(|(path, reasons)| {
        let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
        let message = format!("the sandbox has no Unix sockets, and this run needs {path}");
        Failure::new(ExitCode::NotGranted, message)
            .caused_by(format!("{}: it would be spoken to", reasons.join(", ")))
            .hinted(
                "write the image with `docker-archive`, and load it after the run; or leave --sandbox out",
            )
    });
    let programs = programs
        .map(|(program, reasons)| {
            let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
            Failure::new(
                ExitCode::NotGranted,
                format!("the sandbox runs no other program, and this run needs `{program}`"),
            )
            .caused_by(format!("{}: {program} would be asked", reasons.join(", ")))
            .hinted(if program == crate::platform::containerd::PROGRAM {
                "write the image with `oci-archive`, and import it after the run; or leave --sandbox out"
            } else {
                "give the registry its login under `registries`, from a secret, or write \
                 `credentials: []` to go without; or leave --sandbox out"
            })
        });
    sockets.chain(programs).collect()
}

fn is_provided(need: Need) -> bool {
    CAPABILITIES
        .iter()
        .any(|row| row.need == need && row.provider != Provider::Nobody)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_has_one_row() {
        for row in CAPABILITIES {
            let same = CAPABILITIES.iter().filter(|other| other.need == row.need);
            assert_eq!(same.count(), 1, "{:?}", row.need);
        }
    }

    #[test]
    fn engines_are_refused_with_what_to_do_instead() {
        let mut grants = Grants::default();
        grants.socket("/var/run/docker.sock", "docker");
        grants.program("ctr", "containerd", true);
        let lacking = lacking(&grants);
        let hint = |place: usize| lacking[place].hint.clone().unwrap();
        assert!(lacking[0].message.contains("/var/run/docker.sock"));
        assert!(hint(0).contains("docker-archive"), "{}", hint(0));
        assert!(lacking[1].message.contains("`ctr`"));
        assert!(hint(1).contains("oci-archive"), "{}", hint(1));
    }

    #[test]
    fn a_helper_is_refused_by_its_name() {
        let mut grants = Grants::default();
        grants.program("docker-credential-ecr-login", "credentials for a", true);
        // A store that is not known to have a login is not missed.
        grants.program("docker-credential-desktop", "credentials for b", false);
        let lacking = lacking(&grants);
        assert_eq!(lacking.len(), 1);
        assert_eq!(lacking[0].exit, ExitCode::NotGranted);
        assert!(lacking[0].message.contains("docker-credential-ecr-login"));
        assert!(super::lacking(&Grants::default()).is_empty());
    }
}
