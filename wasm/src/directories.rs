//! Reading folders entry by entry.
//!
//! wasmtime reads a whole folder into the host's memory for each stream of entries, and a component may fill a folder and
//! open streams as it likes. Here a stream holds the one entry that is asked for, and there are few streams at once.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

/// The interface, in the version that wasmtime-wasi links.
const TYPES: &str = "wasi:filesystem/types@0.2.12";
const STREAM: &str = "directory-entry-stream";
const READ: &str = "[method]descriptor.read-directory";
const NEXT: &str = "[method]directory-entry-stream.read-directory-entry";
/// How many folders may be read at once. Whoever walks through a tree has as many open as it is deep.
const OPEN: usize = 128;

/// Takes the place of wasmtime's own streams of entries, which must be linked already.
///
/// # Errors
/// There is nothing whose place could be taken.
pub fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let linked = link(linker);
    linker.allow_shadowing(false);
    linked
}

fn link<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let open = Arc::<AtomicUsize>::default();
    let mut types = linker.instance(TYPES)?;
    types.resource(
        STREAM,
        ResourceType::host::<Entries>(),
        |mut store: StoreContextMut<'_, T>, stream| {
            let table = store.data_mut().ctx().table;
            table.delete(Resource::<Entries>::new_own(stream))?;
            Ok(())
        },
    )?;
    types.func_wrap(
        READ,
        move |mut store: StoreContextMut<'_, T>, (folder,): (Resource<Descriptor>,)| {
            let table = store.data_mut().ctx().table;
            let folder = match table.get(&folder)? {
                Descriptor::Dir(folder) => Arc::clone(&folder.dir),
                Descriptor::File(_) => return Ok((Err(ErrorCode::NotDirectory),)),
            };
            Ok((match Entries::of(&folder, &open) {
                Ok(entries) => Ok(table.push(entries)?),
                Err(error) => Err(error),
            },))
        },
    )?;
    types.func_wrap(
        NEXT,
        |mut store: StoreContextMut<'_, T>, (stream,): (Resource<Entries>,)| {
            let table = store.data_mut().ctx().table;
            Ok((table.get_mut(&stream)?.next().transpose(),))
        },
    )
}

/// A folder that is being read.
struct Entries {
    list: system::List,
    _permit: Permit,
}

impl Entries {
    fn of(folder: &File, open: &Arc<AtomicUsize>) -> Result<Self, ErrorCode> {
        let permit = Permit::of(open).ok_or(ErrorCode::InsufficientMemory)?;
        Ok(Self {
            list: system::List::of(folder)?,
            _permit: permit,
        })
    }

    fn next(&mut self) -> Option<Result<DirectoryEntry, ErrorCode>> {
        self.list.next()
    }
}

/// One of the folders that may be read at once.
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn of(open: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count: usize| (count < OPEN).then_some(count + 1);
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Self(Arc::clone(open)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(unix)]
mod system {
    use std::ffi::CStr;

    use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};

    use super::*;

    pub(super) struct List {
        folder: std::os::fd::OwnedFd,
        entries: Dir,
    }

    impl List {
        pub(super) fn of(folder: &File) -> Result<Self, ErrorCode> {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            // Opened anew: a copy of the descriptor would share the place that was read up to.
            let open = || openat(folder, c".", flags, Mode::empty()).map_err(code);
            Ok(Self {
                entries: Dir::new(open()?).map_err(code)?,
                folder: open()?,
            })
        }

        pub(super) fn next(&mut self) -> Option<Result<DirectoryEntry, ErrorCode>> {
            loop {
                let entry = match self.entries.read()? {
                    Ok(entry) => entry,
                    Err(error) => return Some(Err(code(error))),
                };
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let type_ = match self.type_of(entry.file_type(), name) {
                    Ok(type_) => type_,
                    Err(error) => return Some(Err(error)),
                };
                let name = name.to_str().map(str::to_owned);
                return Some(match name {
                    Ok(name) => Ok(DirectoryEntry { type_, name }),
                    Err(_) => Err(ErrorCode::IllegalByteSequence),
                });
            }
        }

        fn type_of(&self, found: FileType, name: &CStr) -> Result<DescriptorType, ErrorCode> {
            let found = match found {
                // Not every file system tells.
                FileType::Unknown => {
                    let found = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(found.map_err(code)?.st_mode)
                }
                found => found,
            };
            Ok(match found {
                FileType::RegularFile => DescriptorType::RegularFile,
                FileType::Directory => DescriptorType::Directory,
                FileType::Symlink => DescriptorType::SymbolicLink,
                FileType::Fifo => DescriptorType::Fifo,
                FileType::Socket => DescriptorType::Socket,
                FileType::CharacterDevice => DescriptorType::CharacterDevice,
                FileType::BlockDevice => DescriptorType::BlockDevice,
                FileType::Unknown => DescriptorType::Unknown,
            })
        }
    }

    fn code(error: rustix::io::Errno) -> ErrorCode {
        io::Error::from(error).into()
    }
}

#[cfg(not(unix))]
mod system {
    use super::*;

    pub(super) struct List;

    impl List {
        pub(super) fn of(_: &File) -> Result<Self, ErrorCode> {
            Err(ErrorCode::from(io::Error::from(io::ErrorKind::Unsupported)))
        }

        pub(super) fn next(&mut self) -> Option<Result<DirectoryEntry, ErrorCode>> {
            None
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn entries_come_one_by_one_with_their_kinds() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("link")).unwrap();
        let open = Arc::default();
        let handle = File::open(folder.path()).unwrap();
        // The second is not held up by what the first has read.
        let streams = [(); 2].map(|()| Entries::of(&handle, &open).unwrap());
        for mut stream in streams {
            let mut found = Vec::new();
            while let Some(entry) = stream.next() {
                let entry = entry.unwrap();
                found.push((entry.name, format!("{:?}", entry.type_)));
            }
            found.sort();
            let found: Vec<_> = found
                .iter()
                .map(|(name, kind)| format!("{name} {kind}"))
                .collect();
            assert_eq!(
                found,
                [
                    "file DescriptorType::RegularFile",
                    "folder DescriptorType::Directory",
                    "link DescriptorType::SymbolicLink",
                ]
            );
        }
        assert_eq!(open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn few_are_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let handle = File::open(folder.path()).unwrap();
        let open = Arc::default();
        let mut streams: Vec<_> = (0..OPEN)
            .map(|_| Entries::of(&handle, &open).unwrap())
            .collect();
        assert!(matches!(
            Entries::of(&handle, &open),
            Err(ErrorCode::InsufficientMemory)
        ));
        streams.pop();
        assert!(Entries::of(&handle, &open).is_ok());
    }
}
