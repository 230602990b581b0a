//! Writing into files on the spot.
//!
//! wasmtime hands every write of a stream to another thread and wakes the component's when it is done, whatever it is
//! told about blocking; for 64 KiB into the system's cache that takes longer than the write itself. The
//! component has a thread of its own, so here it writes. What may be written is decided where a file is
//! opened, and is none of this module's business; a descriptor that may not be written to is refused in the
//! same words.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

/// The interface, in the version that wasmtime-wasi links.
const TYPES: &str = "wasi:filesystem/types@0.2.12";
const WRITE: &str = "[method]descriptor.write-via-stream";
const APPEND: &str = "[method]descriptor.append-via-stream";
/// The most that is written at once, in bytes.
const MOST: usize = 1 << 20;

/// Takes the place of wasmtime's own streams into files, which must be linked already.
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
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        WRITE,
        |store: StoreContextMut<'_, T>, (file, offset): (Resource<Descriptor>, u64)| {
            Ok((open(store, &file, Place::At(offset))?,))
        },
    )?;
    types.func_wrap(
        APPEND,
        |store: StoreContextMut<'_, T>, (file,): (Resource<Descriptor>,)| {
            Ok((open(store, &file, Place::End)?,))
        },
    )
}

fn open<T: WasiView>(
    mut store: StoreContextMut<'_, T>,
    file: &Resource<Descriptor>,
    place: Place,
) -> wasmtime::Result<Result<Resource<DynOutputStream>, ErrorCode>> {
    let table = store.data_mut().ctx().table;
    let file = match table.get(file)? {
        Descriptor::Dir(_) => return Ok(Err(ErrorCode::BadDescriptor)),
        Descriptor::File(file) if file.perms.write_not_permitted() => {
            return Ok(Err(ErrorCode::NotPermitted));
        }
        Descriptor::File(file) => Arc::clone(&file.file),
    };
    let stream: DynOutputStream = Box::new(Writing {
        file,
        place,
        failed: false,
    });
    Ok(Ok(table.push(stream)?))
}

/// A stream into a file.
struct Writing {
    file: Arc<File>,
    place: Place,
    failed: bool,
}

#[derive(Clone, Copy)]
enum Place {
    At(u64),
    End,
}

impl Writing {
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.place {
            Place::At(offset) => write_at(&self.file, bytes, offset),
            Place::End => append(&self.file, bytes),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Writing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.failed {
            return Err(StreamError::Closed);
        }
        if bytes.len() > MOST {
            return Err(StreamError::Trap(wasmtime::Error::msg(
                "more was written than was permitted",
            )));
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let written = match self.write_some(rest) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                written => written,
            };
            match written {
                Ok(count) => {
                    rest = &rest[count..];
                    if let Place::At(offset) = &mut self.place {
                        *offset += count as u64;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(StreamError::LastOperationFailed(error.into()));
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(|_| ())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.failed {
            return Err(StreamError::Closed);
        }
        Ok(MOST)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {}
}

/// Writes some bytes to a place in a file.
#[cfg(unix)]
pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

/// Writes some bytes to a place in a file.
#[cfg(windows)]
pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

/// Reads some bytes from a place in a file.
#[cfg(unix)]
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

/// Reads some bytes from a place in a file.
#[cfg(windows)]
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, offset)
}

/// Writes to the end of a file, wherever others have brought it meanwhile.
fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags, pwritev2};
        let slices = [io::IoSlice::new(bytes)];
        match pwritev2(file, &slices, 0, ReadWriteFlags::APPEND) {
            // Older than Linux 4.16, or a file system that can't.
            Err(Errno::NOSYS | Errno::NOTSUP) => {}
            done => return Ok(done?),
        }
    }
    write_at(file, bytes, file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wasmtime::Engine;
    use wasmtime::component::ResourceTable;
    use wasmtime_wasi::{WasiCtx, WasiCtxView};

    use super::*;

    struct State(WasiCtx, ResourceTable);

    impl WasiView for State {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            WasiCtxView {
                ctx: &mut self.0,
                table: &mut self.1,
            }
        }
    }

    #[test]
    fn it_takes_the_place_of_what_is_linked() {
        let mut linker: Linker<State> = Linker::new(&Engine::default());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        // Under another name, or in another version, it would be no second definition.
        assert!(link(&mut linker).is_err());
        add_to_linker(&mut linker).unwrap();
        assert!(link(&mut linker).is_err());
    }

    #[test]
    fn bytes_arrive_in_order_and_at_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "0123456789").unwrap();
        let file = Arc::new(fs::OpenOptions::new().write(true).open(&path).unwrap());
        let stream = |place| Writing {
            file: Arc::clone(&file),
            place,
            failed: false,
        };
        let mut at = stream(Place::At(2));
        at.write(Bytes::from_static(b"ab")).unwrap();
        at.write(Bytes::from_static(b"c")).unwrap();
        let mut end = stream(Place::End);
        end.write(Bytes::from_static(b"x")).unwrap();
        // Another process has written meanwhile.
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, b"-"))
            .unwrap();
        end.write(Bytes::from_static(b"y")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "01abc56789x-y");
        assert!(matches!(
            at.write(Bytes::from(vec![0; MOST + 1])),
            Err(StreamError::Trap(_))
        ));
    }

    #[test]
    fn a_write_that_fails_is_told_once_and_ends_the_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "").unwrap();
        let mut stream = Writing {
            file: Arc::new(File::open(&path).unwrap()),
            place: Place::At(0),
            failed: false,
        };
        let failed = stream.write(Bytes::from_static(b"a"));
        assert!(matches!(failed, Err(StreamError::LastOperationFailed(_))));
        assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
        assert!(matches!(
            stream.write(Bytes::from_static(b"a")),
            Err(StreamError::Closed)
        ));
    }
}
