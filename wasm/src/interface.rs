//! The launcher's own interface (`wasm/wit/launcher.wit`): what WASI does not have, or has slowly.

use std::path::{Path, PathBuf};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use crate::cage::Mount;
use crate::hasher::{Hasher, Hashing};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "hosted",
        imports: {
            "shipgate:launcher/hashing.[method]sha256.update": async | trappable,
            "shipgate:launcher/hashing.[static]sha256.finish": async | trappable,
            default: trappable,
        },
        with: {"shipgate:launcher/hashing.sha256": crate::hasher::Hasher},
        require_store_data_send: true,
    });
}

use bindings::shipgate::launcher::{folders, hashing};

/// Links the interface. A component that does not import it is none the worse.
///
/// # Errors
/// Something of the same name is linked already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> InterfaceView<'_>,
) -> wasmtime::Result<()> {
    hashing::add_to_linker::<T, Interface>(linker, view)?;
    folders::add_to_linker::<T, Interface>(linker, view)
}

/// What the interface needs of a run.
pub struct InterfaceView<'a> {
    /// The granted folders.
    pub granted: &'a Granted,
    /// The thread that hashes.
    pub hashing: &'a Hashing,
    /// What the component holds.
    pub table: &'a mut ResourceTable,
}

struct Interface;

impl HasData for Interface {
    type Data<'a> = InterfaceView<'a>;
}

/// The folders that the component may ask about, by their names inside, and where they are.
#[derive(Debug, Default)]
pub struct Granted(Vec<(PathBuf, PathBuf)>);

impl Granted {
    /// Takes the granted folders.
    pub fn new(folders: &[Mount]) -> Self {
        let named = folders.iter().flat_map(|mount| {
            let names = mount.guests.iter();
            names.map(|name| (PathBuf::from(name), mount.host.clone()))
        });
        Self(named.collect())
    }

    /// Returns the folder of this machine that holds a path, by the longest name that does. What is below it is not
    /// looked at: no path of the component's is ever opened here.
    fn holding(&self, path: &Path) -> Option<&Path> {
        let holding = self.0.iter().filter(|(name, _)| path.starts_with(name));
        let longest = holding.max_by_key(|(name, _)| name.components().count())?;
        Some(&longest.1)
    }
}

impl hashing::Host for InterfaceView<'_> {}

impl hashing::HostSha256 for InterfaceView<'_> {
    fn new(&mut self) -> wasmtime::Result<Resource<Hasher>> {
        Ok(self.table.push(self.hashing.hasher())?)
    }

    async fn update(&mut self, this: Resource<Hasher>, bytes: Vec<u8>) -> wasmtime::Result<()> {
        self.table.get_mut(&this)?.update(bytes).await;
        Ok(())
    }

    async fn finish(&mut self, this: Resource<Hasher>) -> wasmtime::Result<(u64, u64, u64, u64)> {
        let digest = self.table.delete(this)?.finish().await;
        let mut words = digest.chunks_exact(8).map(|word| {
            word.iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        });
        let mut word = || words.next().unwrap_or_default();
        Ok((word(), word(), word(), word()))
    }

    fn drop(&mut self, this: Resource<Hasher>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl folders::Host for InterfaceView<'_> {
    fn free_space(&mut self, path: String) -> wasmtime::Result<Option<u64>> {
        Ok(self.granted.holding(Path::new(&path)).and_then(free_space))
    }
}

/// Returns how many bytes this user may still write on the disk of a folder.
#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(folders: &[(&str, &Path)]) -> Granted {
        let named = folders.iter();
        Granted(
            named
                .map(|(name, host)| (PathBuf::from(name), host.to_path_buf()))
                .collect(),
        )
    }

    #[test]
    fn only_what_is_in_a_granted_folder_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let granted = granted(&[("/cache", folder.path()), ("/cache/deep", &missing)]);
        let room = |path: &str| granted.holding(Path::new(path)).and_then(free_space);
        for path in ["/cache", "/cache/", "/cache/blobs/x", "/cache/deeper"] {
            assert_eq!(granted.holding(Path::new(path)), Some(folder.path()));
            assert!(room(path).unwrap() > 0, "{path}");
        }
        // The longest name counts, and a folder that is not there has no room.
        assert_eq!(room("/cache/deep/x"), None);
        for path in ["/", "", ".", "cache", "/cached", "/etc", "/cach"] {
            assert_eq!(granted.holding(Path::new(path)), None, "{path}");
        }
    }
}
