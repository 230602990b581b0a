//! The checked-out repository that a CI job works in: what its files are called there.

use std::path::{Component, Path, PathBuf};

use super::document::STDIN;
use super::environment::Environment;

/// Where the repository is, and where this process stands.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// The root, as the system names it and as the file system does.
    roots: Vec<PathBuf>,
    here: PathBuf,
}

impl Repository {
    /// Asks the environment: `$GITHUB_WORKSPACE`, else `$CI_PROJECT_DIR`, else the working folder is the root.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let named = environment
            .filled("GITHUB_WORKSPACE")
            .or_else(|| environment.filled("CI_PROJECT_DIR"))
            .map(PathBuf::from);
        // The sandbox has no working folder but the root of what it is granted: paths are then the repository's.
        let here = std::env::current_dir().ok();
        let here = here
            .filter(|here| here.parent().is_some())
            .or_else(|| named.clone());
        let here = here.unwrap_or_default();
        let root = named.unwrap_or_else(|| here.clone());
        let real = std::fs::canonicalize(&root).ok();
        Self {
            roots: [Some(root), real].into_iter().flatten().collect(),
            here,
        }
    }

    /// Returns the path of a file from the root, with `/`; nothing if it lies outside or is no file at all.
    #[must_use]
    pub fn relative(&self, file: &str) -> Option<String> {
        if file == STDIN {
            return None;
        }
        let path = lexical(&self.here.join(file));
        let inside = self
            .roots
            .iter()
            .find_map(|root| path.strip_prefix(lexical(root)).ok())?;
        let names: Vec<_> = inside
            .components()
            .map(|component| component.as_os_str().to_string_lossy())
            .collect();
        (!names.is_empty()).then(|| names.join("/"))
    }
}

/// Resolves `.` and `..` by the names alone: a link in the repository is a path of the repository.
fn lexical(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_from_the_root() {
        let repository = Repository {
            roots: vec!["/w/repo".into(), "/real/repo/.".into()],
            here: "/real/repo/deploy".into(),
        };
        let relative = |file: &str| repository.relative(file);
        assert_eq!(relative("p.yml").as_deref(), Some("deploy/p.yml"));
        assert_eq!(relative("./a/../../p.yml").as_deref(), Some("p.yml"));
        assert_eq!(relative("/w/repo/x/p.yml").as_deref(), Some("x/p.yml"));
        assert_eq!(relative("/w/repository/p.yml"), None);
        assert_eq!(relative("../../p.yml"), None);
        assert_eq!(relative("/tmp/p.yml"), None);
        assert_eq!(relative(".."), None);
        assert_eq!(relative("<stdin>"), None);
    }
}
