//! The launcher's own interface (`wasm/wit/launcher.wit`): what WASI does not have, or has slowly.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, Host as _, HostDescriptor as _, OpenFlags, PathFlags,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::cage::Mount;
use crate::egress::Teller;
use crate::hasher::{Hasher, Hashing};
use crate::refusals::{is_read_only, out_of_folder};
use crate::sink::{Sink, Sinks};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "hosted",
        imports: {
            "shipgate:launcher/hashing.[method]sha256.update": async | trappable,
            "shipgate:launcher/hashing.[static]sha256.finish": async | trappable,
            "shipgate:launcher/filling.[static]sink.open": async | trappable,
            default: trappable,
        },
        with: {
            "shipgate:launcher/hashing.sha256": crate::hasher::Hasher,
            "shipgate:launcher/filling.sink": crate::sink::Sink,
        },
        require_store_data_send: true,
    });
}

use bindings::shipgate::launcher::{filling, folders, hashing};

/// Links the interface. A component that does not import it is none the worse.
///
/// # Errors
/// Something of the same name is linked already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> InterfaceView<'_>,
) -> wasmtime::Result<()> {
    hashing::add_to_linker::<T, Interface>(linker, view)?;
    folders::add_to_linker::<T, Interface>(linker, view)?;
    filling::add_to_linker::<T, Interface>(linker, view)
}

/// What the interface needs of a run.
pub struct InterfaceView<'a> {
    /// The granted folders.
    pub granted: &'a Granted,
    /// The thread that hashes.
    pub hashing: &'a Hashing,
    /// The files that are filled out here.
    pub sinks: &'a Sinks,
    /// Who tells of what is refused.
    pub teller: &'a Teller,
    /// What the component may do by WASI.
    pub context: &'a mut WasiCtx,
    /// What the component holds.
    pub table: &'a mut ResourceTable,
}

struct Interface;

impl HasData for Interface {
    type Data<'a> = InterfaceView<'a>;
}

/// The folders that the component may ask about, by their names inside, where they are, and whether they are to be
/// read only.
#[derive(Debug, Default)]
pub struct Granted(Vec<(PathBuf, PathBuf, bool)>);

impl Granted {
    /// Takes the granted folders.
    pub fn new(folders: &[Mount]) -> Self {
        let named = folders.iter().flat_map(|mount| {
            let names = mount.guests.iter();
            names.map(|name| (PathBuf::from(name), mount.host.clone(), mount.read_only))
        });
        Self(named.collect())
    }

    /// Returns the folder of this machine that holds a path, by the longest name that does. What is below it is not
    /// looked at: no path of the component's is ever opened here.
    fn holding(&self, path: &Path) -> Option<&Path> {
        self.longest(path).map(|(_, folder, _)| folder.as_path())
    }

    /// Returns the same folder, if it may be written.
    fn written(&self, path: &Path) -> Option<&Path> {
        let (_, folder, read_only) = self.longest(path)?;
        (!read_only).then_some(folder)
    }

    fn longest(&self, path: &Path) -> Option<&(PathBuf, PathBuf, bool)> {
        let holding = self.0.iter().filter(|(name, ..)| path.starts_with(name));
        holding.max_by_key(|(name, ..)| name.components().count())
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
        Ok(words(&self.table.delete(this)?.finish().await))
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

    fn boot(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(shipgate::cache::boot())
    }

    fn flush(&mut self, path: String) -> wasmtime::Result<bool> {
        // Whoever writes nothing has nothing to wait for, and would only hold up others.
        Ok(self.granted.written(Path::new(&path)).is_some_and(flush))
    }
}

impl filling::Host for InterfaceView<'_> {}

impl filling::HostSink for InterfaceView<'_> {
    async fn open(
        &mut self,
        path: String,
        size: u64,
        there: Vec<(u64, u64)>,
    ) -> wasmtime::Result<Result<Resource<Sink>, filling::Error>> {
        let file = match self.file(&path).await? {
            Ok(file) => file,
            Err((ErrorCode::NotPermitted, read_only)) => {
                self.teller.tell(&out_of_folder(&path, read_only));
                let words = ErrorCode::NotPermitted.message().to_owned();
                return Ok(Err(filling::Error::Other(words)));
            }
            Err((code, _)) => return Ok(Err(filling::Error::Other(code.message().to_owned()))),
        };
        let there = there.into_iter().map(|(from, to)| from..to);
        Ok(match self.sinks.open(file, size, there) {
            Ok(sink) => Ok(self.table.push(sink)?),
            Err(error) => Err(error.into()),
        })
    }

    fn put_off(&mut self, this: Resource<Sink>) -> wasmtime::Result<()> {
        self.table.get(&this)?.filling().put_off();
        Ok(())
    }

    fn ticket(&mut self, this: Resource<Sink>) -> wasmtime::Result<String> {
        Ok(self.table.get(&this)?.ticket().to_owned())
    }

    fn write(
        &mut self,
        this: Resource<Sink>,
        offset: u64,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), filling::Error>> {
        let written = self.table.get(&this)?.filling().write(offset, &bytes);
        Ok(written.map_err(Into::into))
    }

    fn digest(
        &mut self,
        this: Resource<Sink>,
    ) -> wasmtime::Result<Option<Result<(u64, u64, u64, u64), filling::Error>>> {
        let outcome = self.table.get(&this)?.filling().outcome();
        let digest = |digest: io::Result<[u8; 32]>| match digest {
            Ok(digest) => Ok(words(&digest)),
            Err(error) => Err(error.into()),
        };
        Ok(outcome.map(digest))
    }

    fn drop(&mut self, this: Resource<Sink>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl InterfaceView<'_> {
    /// Opens a file by WASI's own ways, which know what was granted and follow nothing out of it. An error comes with
    /// whether its folder is granted to be read only.
    async fn file(&mut self, path: &str) -> wasmtime::Result<Result<Arc<File>, (ErrorCode, bool)>> {
        let mut files = self.filesystem();
        let folders = files.get_directories()?;
        let within = |name: &str| Path::new(path).strip_prefix(name).ok();
        let holding = folders
            .iter()
            .filter_map(|(folder, name)| Some((folder, Path::new(name), within(name)?)))
            .max_by_key(|(_, name, _)| name.components().count());
        let mut read_only = false;
        let opened: FsResult<Resource<Descriptor>> = match holding {
            Some((folder, _, below)) => {
                read_only = files.table.get(folder).is_ok_and(is_read_only);
                let folder = Resource::new_borrow(folder.rep());
                let below = below.to_string_lossy().into_owned();
                let (follow, make) = (PathFlags::empty(), OpenFlags::empty());
                let how = DescriptorFlags::READ | DescriptorFlags::WRITE;
                files.open_at(folder, follow, below, make, how).await
            }
            None => Err(ErrorCode::NotPermitted.into()),
        };
        for (folder, _) in folders {
            files.table.delete(folder)?;
        }
        let opened = match opened {
            Ok(opened) => files.table.delete(opened)?,
            Err(error) => return Ok(Err((files.convert_error_code(error)?, read_only))),
        };
        Ok(match opened {
            Descriptor::File(file) if !file.perms.write_not_permitted() => Ok(file.file),
            Descriptor::File(_) => Err((ErrorCode::NotPermitted, read_only)),
            Descriptor::Dir(_) => Err((ErrorCode::IsDirectory, read_only)),
        })
    }
}

impl WasiView for InterfaceView<'_> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.context,
            table: self.table,
        }
    }
}

impl From<io::Error> for filling::Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Returns a digest as the interface has it.
fn words(digest: &[u8; 32]) -> (u64, u64, u64, u64) {
    let mut words = digest.chunks_exact(8).map(|word| {
        word.iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    });
    let mut word = || words.next().unwrap_or_default();
    (word(), word(), word(), word())
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

/// Waits until all that was written to the file system of a folder is on its disk.
#[cfg(target_os = "linux")]
fn flush(folder: &Path) -> bool {
    std::fs::File::open(folder).is_ok_and(|folder| rustix::fs::syncfs(folder).is_ok())
}

/// Where nothing can be said, nothing is put off.
#[cfg(not(target_os = "linux"))]
fn flush(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(folders: &[(&str, &Path)]) -> Granted {
        let named = folders.iter();
        Granted(
            named
                .map(|(name, host)| (PathBuf::from(name), host.to_path_buf(), false))
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

    #[test]
    fn what_is_only_read_is_not_flushed() {
        let folder = tempfile::tempdir().unwrap();
        let mut granted = granted(&[("/cache", folder.path()), ("/cache/read", folder.path())]);
        granted.0[1].2 = true;
        let written = |path: &str| granted.written(Path::new(path));
        assert_eq!(written("/cache/blobs"), Some(folder.path()));
        assert_eq!(written("/cache/read/x"), None);
        assert_eq!(written("/etc"), None);
    }
}
