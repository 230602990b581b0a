//! Where things are for those who read the files: below the root of the repository.

use std::path::{Component, Path, PathBuf};

/// The folders by which paths are understood. Both are absolute, or nothing can be said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Roots {
    /// The working directory, to which a path that was given is relative.
    pub here: Option<PathBuf>,
    /// The root of the repository, to which a path that is shown is relative.
    pub project: Option<PathBuf>,
}

impl Roots {
    /// Returns a path as seen from the root of the repository, with `/` on every system, or nothing if it
    /// is not below it.
    ///
    /// Only the names are looked at: the file need not be there.
    #[must_use]
    pub fn below_project(&self, path: &Path) -> Option<String> {
        let project = plain(self.project.as_deref()?);
        let path = plain(&self.here.as_deref()?.join(path));
        let below = path.strip_prefix(project).ok()?;
        let names = below.components().map(|name| name.as_os_str().to_str());
        Some(names.collect::<Option<Vec<_>>>()?.join("/"))
    }

    /// Returns how a file that was named on the command line is called in files for others: as seen from the
    /// root of the repository, else as it was named.
    #[must_use]
    pub fn shown(&self, file: &str) -> String {
        if file == STDIN {
            return file.to_owned();
        }
        self.file_of_project(file).unwrap_or_else(|| {
            let file = if cfg!(windows) {
                file.replace('\\', "/")
            } else {
                file.to_owned()
            };
            file.strip_prefix("./").map_or(file.clone(), str::to_owned)
        })
    }

    /// Returns which file of the repository a file is that was named on the command line: its path from the root,
    /// or nothing if it lies outside or is standard input.
    #[must_use]
    pub fn file_of_project(&self, file: &str) -> Option<String> {
        let file = Some(file).filter(|file| *file != STDIN)?;
        self.below_project(Path::new(file))
            .filter(|path| !path.is_empty())
    }

    /// Returns a path from the root of the system, or as it is if the working directory is not known.
    #[must_use]
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.here
            .as_ref()
            .map_or_else(|| path.to_owned(), |here| plain(&here.join(path)))
    }
}

/// What a pipeline from standard input is called.
pub const STDIN: &str = "<stdin>";

/// Resolves `.` and `..` by name.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn roots() -> Roots {
        Roots {
            here: Some("/builds/acme/web/deploy".into()),
            project: Some("/builds/acme/web/".into()),
        }
    }

    #[test]
    fn files_are_named_from_the_root_of_the_repository() {
        for (named, shown) in [
            ("pipeline.yml", "deploy/pipeline.yml"),
            ("./a/../pipeline.yml", "deploy/pipeline.yml"),
            ("../pipeline.yml", "pipeline.yml"),
            ("/builds/acme/web/x.yml", "x.yml"),
            ("/builds/acme/website/x.yml", "/builds/acme/website/x.yml"),
            ("../../x.yml", "../../x.yml"),
            ("<stdin>", "<stdin>"),
        ] {
            assert_eq!(roots().shown(named), shown, "{named}");
        }
        assert_eq!(Roots::default().shown("./p.yml"), "p.yml");
        let of_project = |file| roots().file_of_project(file);
        assert_eq!(of_project("p.yml").as_deref(), Some("deploy/p.yml"));
        for outside in ["<stdin>", "../../p.yml", "/tmp/p.yml", ".."] {
            assert_eq!(of_project(outside), None, "{outside}");
        }
    }

    #[test]
    fn a_folder_outside_of_the_repository_is_not_below_it() {
        assert_eq!(roots().below_project(Path::new("/tmp/out")), None);
        assert_eq!(roots().below_project(Path::new("..")), Some(String::new()));
        assert_eq!(
            roots().absolute(Path::new("../out")),
            Path::new("/builds/acme/web/out")
        );
    }
}
