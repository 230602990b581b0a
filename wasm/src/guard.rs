//! What no grant may open or change, whoever asks for it: what decides what runs, and what runs.

use std::path::{Path, PathBuf};

use shipgate::failure::Failure;
use shipgate::outcome::ExitCode;

use crate::cage::Cage;
use crate::paths::{is_reached, real};
use crate::stale;

/// Where Linux shows processes: their variables, what they have open, and their memory.
const PROCESSES: &str = "/proc";

impl Cage {
    /// Says which grant would open a file or folder that is the launcher's own.
    pub fn opens(&self, own: &Path) -> Option<Failure> {
        let cause = format!(
            "the launcher keeps its own files in {}: whoever can change them is outside the sandbox",
            own.display()
        );
        let path = reaching(self.opened(), own)?;
        Some(refused(
            &path,
            cause,
            "grant a folder that does not hold it",
        ))
    }

    /// Says which grant would open the private folders of runs, or processes, the launcher's own among them.
    pub fn opens_others(&self) -> Option<Failure> {
        let private = self.working_folder.join(stale::all());
        let cause = format!(
            "the private folders of all runs are in {}: whoever can change one is outside the sandbox",
            private.parent().unwrap_or(&private).display()
        );
        if let Some(path) = reaching(self.opened(), &private) {
            let hint = "grant a folder below it, or have `TMPDIR` name another one";
            return Some(refused(&path, cause, hint));
        }
        // A document that comes through a pipe has a name there and nothing that could be opened.
        let path = reaching(
            self.opened().filter(|path| path.exists()),
            Path::new(PROCESSES),
        )?;
        let cause = "processes are shown there: whoever can read them has their variables, and whoever can \
                     write them is outside the sandbox";
        Some(refused(&path, cause.to_owned(), "grant a folder of files"))
    }

    /// Returns what is granted of files and folders, as it is once links are followed.
    fn opened(&self) -> impl Iterator<Item = PathBuf> {
        let folders = self.folders.iter().map(|mount| real(&mount.host));
        let files = self.files.iter().map(|(path, _)| self.real(path));
        folders.chain(files).chain(self.carried_files())
    }

    /// Says which grant would let the component change a file or folder that decides what runs, or that runs.
    pub fn changes(&self, own: &Path) -> Option<Failure> {
        let own = self.working_folder.join(own);
        let folders = self.folders.iter().filter(|mount| !mount.read_only);
        let folders = folders.map(|mount| real(&mount.host));
        let path = reaching(folders.chain(self.carried_files()), &own)?;
        let message = format!("can't grant {} to be written", path.display());
        Some(
            Failure::new(ExitCode::Usage, message)
                .caused_by(format!(
                    "{} runs, or says what may run: whoever can change it, or what leads to it, is outside the sandbox",
                    own.display()
                ))
                .hinted("grant a folder that does not hold it, or keep it elsewhere"),
        )
    }

    fn carried_files(&self) -> impl Iterator<Item = PathBuf> {
        self.carried.iter().map(|(path, ..)| self.real(path))
    }
}

fn refused(path: &Path, cause: String, hint: &str) -> Failure {
    let message = format!("can't grant {}", path.display());
    Failure::new(ExitCode::Usage, message)
        .caused_by(cause)
        .hinted(hint)
}

/// Returns the first of the granted paths by which somebody gets at another.
fn reaching(mut granted: impl Iterator<Item = PathBuf>, own: &Path) -> Option<PathBuf> {
    granted.find(|path| is_reached(own, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cage::Mount;
    use crate::stage::Carry;

    fn cage(folder: &Path) -> Cage {
        Cage {
            working_folder: folder.to_owned(),
            ..Cage::default()
        }
    }

    fn mount(cage: &mut Cage, path: &str, read_only: bool) {
        cage.folders.push(Mount {
            shown: path.to_owned(),
            host: cage.working_folder.join(path),
            guests: Vec::new(),
            read_only,
            reason: String::new(),
        });
    }

    #[test]
    fn the_launchers_own_files_are_never_granted() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("state/key");
        let mut cage = cage(folder.path());
        cage.files.push(("p.yml".into(), String::new()));
        assert!(cage.opens(&own).is_none());
        cage.files
            .push(("state/../state/key".into(), String::new()));
        assert!(cage.opens(&own).is_some());
        cage.files.clear();
        mount(&mut cage, ".", true);
        assert!(cage.opens(&own).is_some());
        // What only decides may be read, and not be written.
        assert!(cage.changes(&own).is_none());
        mount(&mut cage, "state", false);
        assert!(cage.changes(&own).is_some());
        assert!(cage.changes(Path::new("p.yml")).is_none());
        cage.carried
            .push(("p.yml".into(), String::new(), Carry::Replace));
        assert!(cage.changes(Path::new("p.yml")).is_some());
    }

    #[test]
    fn neither_private_folders_nor_processes_are_granted() {
        let folder = tempfile::tempdir().unwrap();
        let above = stale::all().parent().unwrap().display().to_string();
        for (granted, refused) in [
            (&*above, true),
            ("/", true),
            ("/proc/self", true),
            ("a", false),
        ] {
            let mut cage = cage(folder.path());
            mount(&mut cage, granted, true);
            assert_eq!(cage.opens_others().is_some(), refused, "{granted}");
        }
        let mut cage = cage(folder.path());
        cage.files
            .push(("/proc/self/environ".into(), String::new()));
        assert!(cage.opens_others().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_them_is_as_good_as_they_are() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        for name in ["stow/cache/shipgate-wasm", "config", "cache"] {
            std::fs::create_dir_all(top.join(name)).unwrap();
        }
        std::fs::write(top.join("stow/trust.yml"), "").unwrap();
        symlink("../stow/trust.yml", top.join("config/trust.yml")).unwrap();
        symlink("../stow/cache/shipgate-wasm", top.join("cache/own")).unwrap();
        for granted in ["config", "stow", "."] {
            let mut cage = cage(top);
            mount(&mut cage, granted, false);
            let refused = cage.changes(&top.join("config/trust.yml"));
            assert!(refused.is_some(), "{granted}");
        }
        for granted in ["cache", "stow/cache", "stow/cache/shipgate-wasm/compiled"] {
            let mut cage = cage(top);
            mount(&mut cage, granted, false);
            assert!(cage.opens(&top.join("cache/own")).is_some(), "{granted}");
            assert!(cage.opens(&top.join("config/trust.yml")).is_none());
        }
    }
}
