//! Compiled code on its way from a file into the process: checked, and out of anybody's reach.
//!
//! A file begins with its tag: a keyed BLAKE3 over its name and the hashes of its pieces. Some 20 MB are read
//! at every start, so each piece is read once, by any of a few threads, and is hashed while it is still
//! in the processor's cache. The very bytes that were hashed are loaded: on Linux they go into a file
//! that has no name and whose content is sealed, and its pages are mapped; elsewhere they stay in memory.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{cmp, thread};

use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes of a key.
pub const KEY_LENGTH: usize = blake3::KEY_LEN;
/// Bytes of a tag.
const TAG_LENGTH: usize = blake3::OUT_LEN;
/// What is hashed by one thread.
const PIECE: usize = 1 << 20;
/// What is read at once.
const READ: usize = 128 << 10;
/// More threads than this would take longer to start than they save.
const THREADS: usize = 4;
/// Compiled code is a few times larger than a component; what is larger than this is none.
const LARGEST: usize = 1 << 30;

/// Compiled code whose tag was right.
pub struct Code(Place);

enum Place {
    Memory(Vec<u8>),
    #[cfg(target_os = "linux")]
    Sealed(File),
}

impl Code {
    /// Reads a file and checks its tag. Nothing comes back if there is none.
    ///
    /// # Errors
    /// The file is not what this launcher wrote.
    pub fn read(file: &Path, key: &[u8; KEY_LENGTH]) -> Result<Option<Self>, String> {
        let opened = match File::open(file) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let (code, tag, hashes) = Self::take(&opened, key).map_err(|error| error.to_string())?;
        // Hashes are compared in constant time.
        if self::tag(name(file), &hashes, key) != blake3::Hash::from_bytes(tag) {
            let cause = "it was altered, or was not compiled by this user on this machine";
            return Err(cause.to_owned());
        }
        Ok(Some(code))
    }

    /// Makes it a component.
    ///
    /// # Errors
    /// It was compiled by another version, or for another processor.
    pub fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: these are exactly the bytes of which a tag was made by this user's launcher with
        // this user's key, so they are what `Component::serialize` returned, unaltered: they were hashed
        // as they came here, and nobody changes them afterwards. In memory they are this value's own; in
        // a sealed file the kernel itself refuses every change for as long as it is mapped. The engine
        // refuses code of another version or configuration.
        #[expect(unsafe_code, reason = "argued above")]
        unsafe {
            match &self.0 {
                Place::Memory(bytes) => Component::deserialize(engine, bytes),
                #[cfg(target_os = "linux")]
                Place::Sealed(file) => Component::deserialize_file(engine, linux::name(file)),
            }
        }
    }

    /// Returns the code of a file, the tag before it, and the hashes of its pieces.
    fn take(file: &File, key: &[u8; KEY_LENGTH]) -> io::Result<(Self, [u8; TAG_LENGTH], Hashes)> {
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let size = size
            .checked_sub(TAG_LENGTH)
            .ok_or_else(|| io::Error::other("it is cut short"))?;
        if size > LARGEST {
            return Err(io::Error::other("it is too large"));
        }
        let mut tag = [0; TAG_LENGTH];
        read_at(file, &mut tag, 0)?;
        #[cfg(target_os = "linux")]
        if let Some((sealed, hashes)) = linux::copy(file, size, key)? {
            return Ok((Self(Place::Sealed(sealed)), tag, hashes));
        }
        let mut bytes = vec![0; size];
        read_at(file, &mut bytes, TAG_LENGTH as u64)?;
        let hashes = hashes(&bytes, key);
        Ok((Self(Place::Memory(bytes)), tag, hashes))
    }
}

/// Returns the tag of compiled code that is to have this name.
pub fn tag_of(file: &Path, code: &[u8], key: &[u8; KEY_LENGTH]) -> [u8; TAG_LENGTH] {
    *tag(name(file), &hashes(code, key), key).as_bytes()
}

/// The size of code, and a hash of each piece.
struct Hashes {
    size: usize,
    pieces: Vec<blake3::Hash>,
}

/// Code of one component is none of another's, so the name is part of what is tagged.
fn tag(name: &[u8], hashes: &Hashes, key: &[u8; KEY_LENGTH]) -> blake3::Hash {
    let mut hasher =
        blake3::Hasher::new_keyed(&blake3::derive_key("shipgate-wasm compiled code", key));
    hasher.update(&(hashes.size as u64).to_le_bytes());
    for piece in &hashes.pieces {
        hasher.update(piece.as_bytes());
    }
    hasher.update(name);
    hasher.finalize()
}

fn piece_hasher(key: &[u8; KEY_LENGTH]) -> blake3::Hasher {
    blake3::Hasher::new_keyed(&blake3::derive_key(
        "shipgate-wasm piece of compiled code",
        key,
    ))
}

fn name(file: &Path) -> &[u8] {
    file.file_name().unwrap_or_default().as_encoded_bytes()
}

fn hashes(code: &[u8], key: &[u8; KEY_LENGTH]) -> Hashes {
    let hasher = piece_hasher(key);
    let pieces = code.chunks(PIECE).map(|piece| {
        let mut hasher = hasher.clone();
        hasher.update(piece).finalize()
    });
    Hashes {
        size: code.len(),
        pieces: pieces.collect(),
    }
}

/// Works on the pieces of so many bytes by a few threads, which get the place and the size of each.
#[cfg(target_os = "linux")]
fn by_threads(
    size: usize,
    work: impl Fn(usize, usize) -> io::Result<blake3::Hash> + Sync,
) -> io::Result<Vec<blake3::Hash>> {
    let count = size.div_ceil(PIECE);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(vec![None; count]);
    let worker = || -> io::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let from = number * PIECE;
            let hash = work(from, cmp::min(PIECE, size - from))?;
            let mut done = done
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            done[number] = Some(hash);
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let others: Vec<_> = (1..cmp::min(processors, THREADS))
            .map(|_| scope.spawn(worker))
            .collect();
        let own = worker();
        others.into_iter().fold(own, |all, other| {
            all.and(other.join().unwrap_or_else(|_| Err(unfinished())))
        })
    })?;
    let done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.into_iter()
        .collect::<Option<_>>()
        .ok_or_else(unfinished)
}

fn unfinished() -> io::Error {
    io::Error::other("reading it was not finished")
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], place: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, place)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], place: u64) -> io::Result<()> {
    use std::io::{Read as _, Seek as _};
    file.seek(io::SeekFrom::Start(place))?;
    file.read_exact(bytes)
}

/// Files without a name, whose content can be sealed.
#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    use super::*;

    /// Copies code into such a file, hashes what is copied, and seals it. Where the kernel does not let us, nothing
    /// comes back.
    pub fn copy(
        from: &File,
        size: usize,
        key: &[u8; KEY_LENGTH],
    ) -> io::Result<Option<(File, Hashes)>> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let Ok(memory) = memfd_create("shipgate-compiled", flags) else {
            return Ok(None);
        };
        let memory = File::from(memory);
        if !name(&memory).exists() {
            return Ok(None);
        }
        memory.set_len(size as u64)?;
        let hasher = piece_hasher(key);
        let pieces = by_threads(size, |place, size| {
            let mut hasher = hasher.clone();
            let mut buffer = vec![0; cmp::min(size, READ)];
            let (mut place, end) = (place as u64, (place + size) as u64);
            while place < end {
                let part = cmp::min(buffer.len() as u64, end - place);
                let part = &mut buffer[..usize::try_from(part).unwrap_or(READ)];
                from.read_exact_at(part, place + TAG_LENGTH as u64)?;
                hasher.update(part);
                memory.write_all_at(part, place)?;
                place += part.len() as u64;
            }
            Ok(hasher.finalize())
        })?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        if fcntl_add_seals(&memory, seals).is_err() {
            return Ok(None);
        }
        Ok(Some((memory, Hashes { size, pieces })))
    }

    /// Returns a path by which this process, as long as it holds the file, can open it.
    pub fn name(file: &File) -> PathBuf {
        format!("/proc/self/fd/{}", file.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KEY: [u8; KEY_LENGTH] = [7; KEY_LENGTH];

    fn written(folder: &Path, name: &str, code: &[u8]) -> std::path::PathBuf {
        let file = folder.join(name);
        fs::write(&file, [&tag_of(&file, code, &KEY), code].concat()).unwrap();
        file
    }

    fn content(code: &Code) -> Vec<u8> {
        match &code.0 {
            Place::Memory(bytes) => bytes.clone(),
            #[cfg(target_os = "linux")]
            Place::Sealed(file) => fs::read(linux::name(file)).unwrap(),
        }
    }

    #[test]
    fn code_of_any_size_comes_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0, 1, READ + 1, PIECE - 1, PIECE, 3 * PIECE + READ + 5] {
            let code: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
            let file = written(folder.path(), "a.cwasm", &code);
            let read = Code::read(&file, &KEY).unwrap().unwrap();
            assert!(content(&read) == code, "{size}");
        }
        assert!(
            Code::read(&folder.path().join("b"), &KEY)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn every_piece_counts_and_so_does_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut code = vec![1; PIECE];
        code.extend(vec![2; PIECE]);
        code.extend(vec![3; 10]);
        let file = written(folder.path(), "a.cwasm", &code);
        let good = fs::read(&file).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            assert!(Code::read(&file, &KEY).is_err());
        };
        for place in [0, TAG_LENGTH, TAG_LENGTH + PIECE + 1, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            refused(&bad);
        }
        // The same pieces in another order, one less, one more.
        let (tag, rest) = good.split_at(TAG_LENGTH);
        let (first, rest) = rest.split_at(PIECE);
        let (second, third) = rest.split_at(PIECE);
        refused(&[tag, second, first, third].concat());
        refused(&[tag, first, second].concat());
        refused(&[&good[..], &[0]].concat());
        fs::write(&file, &good).unwrap();
        assert!(Code::read(&file, &[8; KEY_LENGTH]).is_err());
        assert!(Code::read(&file, &KEY).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_checked_can_not_be_changed() {
        use std::os::unix::fs::FileExt as _;

        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path(), "a.cwasm", b"code");
        let code = Code::read(&file, &KEY).unwrap().unwrap();
        let Place::Sealed(sealed) = &code.0 else {
            panic!("this kernel has no sealed files");
        };
        assert!(sealed.write_all_at(b"x", 0).is_err());
        assert!(sealed.set_len(0).is_err());
        // Also by whoever opens it anew, and whatever becomes of the file that it came from.
        let anew = fs::OpenOptions::new().write(true).open(linux::name(sealed));
        assert!(anew.is_err() || anew.unwrap().write_all_at(b"x", 0).is_err());
        fs::write(&file, "else").unwrap();
        assert_eq!(content(&code), b"code");
    }
}
