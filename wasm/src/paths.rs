//! Paths and the links on their way.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// How many links lead somewhere, to the system's own count: more are a ring.
const LINKS: usize = 40;

/// Returns a path without links, as far as it is there; the rest is taken by its letters.
pub fn real(path: &Path) -> PathBuf {
    walk(path, |_| ())
}

/// Says whether somebody who may change a folder, or the file of this path, may decide what another path leads
/// to: by what it leads to now, and by each folder and link that it leads through.
pub fn is_reached(path: &Path, changed: &Path) -> bool {
    let mut reached = false;
    let end = walk(path, |way| reached |= way.starts_with(changed));
    reached || changed.starts_with(end)
}

/// Goes where the system would go, and passes each name on the way where it really stands.
fn walk(path: &Path, mut pass: impl FnMut(&Path)) -> PathBuf {
    let mut rest = parts(path);
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match part {
            Part::Root(root) => here = root,
            Part::Up => {
                here.pop();
            }
            Part::Down(name) => {
                here.push(name);
                pass(&here);
                if let Ok(target) = fs::read_link(&here)
                    && links < LINKS
                {
                    links += 1;
                    here.pop();
                    rest.extend(parts(&target));
                }
            }
        }
    }
    here
}

enum Part {
    Root(PathBuf),
    Up,
    Down(std::ffi::OsString),
}

/// Returns the parts of a path, the last one first.
fn parts(path: &Path) -> Vec<Part> {
    let mut root = PathBuf::new();
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Prefix(_) | Component::RootDir => root.push(part),
            Component::CurDir => {}
            Component::ParentDir => parts.push(Part::Up),
            Component::Normal(name) => parts.push(Part::Down(name.to_owned())),
        }
    }
    if !root.as_os_str().is_empty() {
        parts.insert(0, Part::Root(root));
    }
    parts.reverse();
    parts
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_as_the_system_does() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/file"), "").unwrap();
        symlink("a/b", top.join("relative")).unwrap();
        symlink(top.join("a"), top.join("absolute")).unwrap();
        symlink("relative", top.join("twice")).unwrap();
        for path in [
            "a/file",
            "relative/../file",
            "absolute/b",
            "twice/../../a/./file",
            "absolute/../relative",
        ] {
            let path = top.join(path);
            assert_eq!(real(&path), path.canonicalize().unwrap(), "{path:?}");
        }
        // What is not there goes on by its letters; a link to it leads to it all the same.
        symlink("absolute/new", top.join("dangling")).unwrap();
        assert_eq!(real(&top.join("dangling")), top.join("a/new"));
        assert_eq!(real(&top.join("none/../x/y")), top.join("x/y"));
        symlink("ring", top.join("ring")).unwrap();
        assert_eq!(real(&top.join("ring")), top.join("ring"));
    }

    #[test]
    fn whoever_may_change_a_link_decides_where_it_leads() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        for name in ["config", "stow/deep", "other"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        fs::write(top.join("stow/deep/trust.yml"), "").unwrap();
        symlink("../stow/deep", top.join("config/deep")).unwrap();
        let policy = top.join("config/deep/trust.yml");
        for (changed, reached) in [
            ("config", true),
            ("stow", true),
            ("stow/deep", true),
            ("stow/deep/trust.yml", true),
            ("", true),
            ("other", false),
            ("stow/deep/trust.yml.d", false),
            ("conf", false),
        ] {
            assert_eq!(
                is_reached(&policy, &top.join(changed)),
                reached,
                "{changed}"
            );
        }
    }
}
