//! Compiled components, kept between runs.
//!
//! Compiled code is machine code: whoever can change it can do what the launcher can do. So each file
//! carries a tag (a keyed BLAKE3) made with a key of this user on this machine, which lies outside of
//! every cache folder, and the very bytes that are loaded are checked against it. A file that was
//! altered, or that came from another machine with a restored cache, is compiled anew.

use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;

use ring::{digest, rand};
use shipgate::cli::environment::Environment;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::sealed::{Code, KEY_LENGTH, tag_of};
use crate::shelf::Shelf;

/// Where a launcher keeps its own files. Neither may be granted to a component.
#[derive(Clone, Debug)]
pub struct Places {
    /// The folder of compiled components.
    pub compiled: PathBuf,
    /// The folder of components that came from registries.
    pub components: PathBuf,
    /// The folder of the key.
    pub state: PathBuf,
}

impl Places {
    /// Returns the usual places, by the XDG base directories; nothing where there is no home.
    pub fn usual(environment: &Environment) -> Option<Self> {
        let cache = below(environment, "XDG_CACHE_HOME", ".cache")?.join("shipgate-wasm");
        Some(Self {
            compiled: cache.join("compiled"),
            components: cache.join("components"),
            state: environment.launcher_state()?,
        })
    }
}

impl Places {
    /// Returns every folder.
    pub fn all(&self) -> [&PathBuf; 3] {
        [&self.compiled, &self.components, &self.state]
    }
}

/// Returns a folder of the XDG base directories.
pub fn below(environment: &Environment, variable: &str, usual: &str) -> Option<PathBuf> {
    let named = environment
        .filled(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || environment.filled("HOME").map(PathBuf::from);
    named.or_else(|| Some(home()?.join(usual)))
}

/// A component that is ready to run.
pub struct Loaded {
    /// The component.
    pub component: Component,
    /// The SHA-256 of its bytes, in hex digits.
    pub digest: String,
    /// What became of the compiled file, if it is worth a word.
    pub warning: Option<String>,
}

/// The name of the key's file.
const KEY: &str = "compiled.key";

/// Where the bytes of a component are.
pub enum Bytes {
    /// In a file.
    File(PathBuf),
    /// Here.
    Here(Vec<u8>),
}

/// Why a component is not loaded.
#[derive(Debug)]
pub enum Error {
    /// Its file can't be read.
    Unreadable(io::Error),
    /// It is none.
    Unusable(wasmtime::Error),
}

/// Loads a component: compiled earlier, or now.
///
/// # Errors
/// The file can't be read, or the bytes are no component.
pub fn load(engine: &Engine, bytes: Bytes, places: Option<&Places>) -> Result<Loaded, Error> {
    let mut warning = None;
    let key = places.and_then(|places| match key(&places.state) {
        Ok(key) => Some((places, key)),
        Err(error) => {
            let state = places.state.display();
            warning = Some(format!(
                "compiled code is not kept: {state} can't be used: {error}"
            ));
            None
        }
    });
    if let Some((places, key)) = &key {
        let found = find(engine, &bytes, places, key).map_err(Error::Unreadable)?;
        let Found { digest, file, code } = found;
        match code.map(|code| code.map(|code| code.load(engine))) {
            Ok(Some(Ok(component))) => {
                return Ok(Loaded {
                    component,
                    digest,
                    warning,
                });
            }
            // What another build of this version compiled is refused by the engine, and compiled anew.
            Ok(_) => {}
            Err(reason) => {
                let file = file.display();
                warning = Some(format!("{file} is not used and compiled anew: {reason}"));
            }
        }
    }
    // What is compiled is what is hashed: the file may be another by now.
    let bytes = bytes.all().map_err(Error::Unreadable)?;
    let digest = hex(digest::digest(&digest::SHA256, &bytes).as_ref());
    let component = Component::new(engine, &bytes).map_err(Error::Unusable)?;
    if let Some((places, key)) = &key {
        let name = name(engine, &digest);
        let code = component.serialize().map_err(Error::Unusable)?;
        if let Err(error) = write(&places.compiled, &name, &code, key) {
            let folder = places.compiled.display();
            warning.get_or_insert(format!("compiled code is not kept in {folder}: {error}"));
        }
    }
    Ok(Loaded {
        component,
        digest,
        warning,
    })
}

/// Loads a component that was compiled earlier. Nothing comes back where there is anything to tell: [`load`] tells it.
pub fn load_kept(engine: &Engine, bytes: &Bytes, places: &Places) -> Option<Loaded> {
    // Where nothing was ever kept, nothing is made here.
    if !places.state.join(KEY).is_file() {
        return None;
    }
    let key = key(&places.state).ok()?;
    let Found { digest, code, .. } = find(engine, bytes, places, &key).ok()?;
    let component = code.ok()??.load(engine).ok()?;
    Some(Loaded {
        component,
        digest,
        warning: None,
    })
}

/// What there is of a component.
struct Found {
    digest: String,
    file: PathBuf,
    code: Result<Option<Code>, String>,
}

fn find(
    engine: &Engine,
    bytes: &Bytes,
    places: &Places,
    key: &[u8; KEY_LENGTH],
) -> io::Result<Found> {
    let (digest, guess) = bytes.digest_beside(|| Guess::newest(engine, &places.compiled, key));
    let digest = digest?;
    let name = name(engine, &digest);
    let file = places.compiled.join(&name);
    let code = match guess {
        Some(guess) if guess.file == file => guess.code,
        _ => {
            // The next start expects this one.
            if let Ok(shelf) = Shelf::open(&places.compiled) {
                shelf.touch(&name);
            }
            Code::read(&file, key)
        }
    };
    Ok(Found { digest, file, code })
}

impl Bytes {
    /// Returns the SHA-256 in hex digits, and what is done meanwhile.
    fn digest_beside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> (io::Result<String>, T) {
        thread::scope(|scope| {
            let hashing = scope.spawn(|| self.digest());
            let done = work();
            let hashed = hashing.join();
            let hashed = hashed.unwrap_or_else(|_| Err(io::Error::other("it could not be hashed")));
            (hashed, done)
        })
    }

    fn digest(&self) -> io::Result<String> {
        let mut hasher = digest::Context::new(&digest::SHA256);
        match self {
            Self::Here(bytes) => hasher.update(bytes),
            Self::File(path) => {
                // Most of a component is not needed once its digest is known: it is not kept.
                let mut file = fs::File::open(path)?;
                let mut buffer = vec![0; 128 << 10];
                loop {
                    match file.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => hasher.update(&buffer[..count]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(hex(hasher.finish().as_ref()))
    }

    fn all(self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => fs::read(path),
            Self::Here(bytes) => Ok(bytes),
        }
    }
}

/// The compiled file that will most likely be needed, read while the component is still being hashed.
struct Guess {
    file: PathBuf,
    code: Result<Option<Code>, String>,
}

impl Guess {
    fn newest(engine: &Engine, folder: &Path, key: &[u8; KEY_LENGTH]) -> Option<Self> {
        let end = name(engine, "");
        let entries = fs::read_dir(folder).ok()?.flatten();
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(&end));
        let newest =
            ours.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok())?;
        let file = newest.path();
        let code = Code::read(&file, key);
        Some(Self { file, code })
    }
}

/// Returns the file name of a compiled component: what it was made of, and for which engine.
fn name(engine: &Engine, digest: &str) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}.cwasm", hasher.finish())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes compiled code with its tag.
fn write(folder: &Path, name: &str, code: &[u8], key: &[u8; KEY_LENGTH]) -> io::Result<()> {
    let shelf = Shelf::open(folder)?;
    let tag = tag_of(&shelf.path(name), code, key);
    shelf.write(name, &[&tag, code])
}

/// Returns the key of this user on this machine, made at the first need.
fn key(folder: &Path) -> io::Result<[u8; KEY_LENGTH]> {
    private_folder(folder)?;
    let path = folder.join(KEY);
    let kept = match fs::File::open(&path) {
        Ok(file) => {
            private(&path, folder)?;
            let mut bytes = Vec::new();
            file.take(KEY_LENGTH as u64 + 1).read_to_end(&mut bytes)?;
            Some(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match kept.map(<[u8; KEY_LENGTH]>::try_from) {
        Some(Ok(key)) => Ok(key),
        // A machine that lost its power may have kept the file and not what was in it. Nothing is lost but
        // what was compiled.
        Some(Err(_)) => new_key(folder, &path, true),
        None => new_key(folder, &path, false),
    }
}

fn new_key(folder: &Path, path: &Path, replace: bool) -> io::Result<[u8; KEY_LENGTH]> {
    let mut key = [0; KEY_LENGTH];
    rand::SecureRandom::fill(&rand::SystemRandom::new(), &mut key)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    let mut part = tempfile::NamedTempFile::new_in(folder)?;
    part.write_all(&key)?;
    // Its name must not be on the disk before its bytes are.
    part.as_file().sync_all()?;
    let persisted = if replace {
        part.persist(path)
    } else {
        part.persist_noclobber(path)
    };
    match persisted {
        Ok(_) => Ok(key),
        // Another launcher was faster: its key is the key.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            private(path, folder)?;
            fs::read(path)?
                .try_into()
                .map_err(|_| io::Error::other(format!("{} is no key", path.display())))
        }
        Err(error) => Err(error.error),
    }
}

/// Makes a folder that nobody else can look into, and refuses one that others own or can change.
pub fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    private(folder, folder)
}

/// Refuses what others than this user own, or may change.
#[cfg(unix)]
fn private(path: &Path, folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = fs::symlink_metadata(path)?;
    if metadata.file_type().is_symlink() {
        return Err(io::Error::other(format!("{} is a link", path.display())));
    }
    if metadata.mode() & 0o077 != 0 {
        let cause = format!("{} is open to other users: chmod go= it", path.display());
        return Err(io::Error::other(cause));
    }
    // A file that was just made tells who we are.
    let ours = tempfile::NamedTempFile::new_in(folder)?;
    if metadata.uid() != ours.as_file().metadata()?.uid() {
        let cause = format!("{} belongs to another user", path.display());
        return Err(io::Error::other(cause));
    }
    Ok(())
}

#[cfg(not(unix))]
fn private(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component: it has nothing in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn places(&self) -> Places {
            Places {
                compiled: self.0.path().join("cache/compiled"),
                components: self.0.path().join("cache/components"),
                state: self.0.path().join("state"),
            }
        }

        fn file(&self) -> PathBuf {
            let mut files = fs::read_dir(self.places().compiled).unwrap();
            files.next().unwrap().unwrap().path()
        }
    }

    fn load(engine: &Engine, home: &Home) -> Option<String> {
        super::load(engine, Bytes::Here(EMPTY.to_vec()), Some(&home.places()))
            .unwrap()
            .warning
    }

    #[test]
    fn what_was_compiled_is_used_again() {
        let (engine, home) = (Engine::default(), Home::new());
        assert_eq!(load(&engine, &home), None);
        let before = fs::metadata(home.file()).unwrap().modified().unwrap();
        assert_eq!(load(&engine, &home), None);
        let after = fs::metadata(home.file()).unwrap().modified().unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn what_was_used_last_is_expected_next() {
        let (engine, home) = (Engine::default(), Home::new());
        load(&engine, &home);
        let (folder, used) = (home.places().compiled, home.file());
        // Another one, compiled later.
        let other = used.with_file_name(name(&engine, &"0".repeat(64)));
        fs::write(&other, "").unwrap();
        let minute = std::time::Duration::from_secs(60);
        let earlier = fs::metadata(&other).unwrap().modified().unwrap() - minute;
        let file = fs::File::options().append(true).open(&used).unwrap();
        file.set_modified(earlier).unwrap();
        let expected = || Guess::newest(&engine, &folder, &[0; KEY_LENGTH]).map(|guess| guess.file);
        assert_eq!(expected(), Some(other));
        assert_eq!(load(&engine, &home), None);
        assert_eq!(expected(), Some(used));
    }

    /// A component whose compiled code has several pieces: one module with 3 MiB of data.
    fn large() -> Vec<u8> {
        fn sized(id: u8, body: &[u8]) -> Vec<u8> {
            let mut section = vec![id];
            section.extend(leb(body.len()));
            section.extend(body);
            section
        }
        fn leb(mut number: usize) -> Vec<u8> {
            let mut bytes = Vec::new();
            loop {
                let byte = (number & 0x7f) as u8;
                number >>= 7;
                bytes.push(if number > 0 { byte | 0x80 } else { byte });
                if number == 0 {
                    return bytes;
                }
            }
        }
        let size = 3 << 20;
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        // A memory of 64 pages, and data from address 0 on.
        module.extend(sized(5, &[&[1, 0][..], &leb(64)].concat()));
        let mut data = [&[1, 0, 0x41, 0, 0x0b][..], &leb(size)].concat();
        data.extend((0..size).map(|number| (number % 251) as u8));
        module.extend(sized(11, &data));
        [EMPTY, &sized(1, &module)].concat()
    }

    #[test]
    fn any_flipped_byte_is_found_in_any_piece() {
        use std::io::{Seek as _, SeekFrom};

        let (engine, home) = (Engine::default(), Home::new());
        let large = large();
        let load = || {
            let bytes = Bytes::Here(large.clone());
            let loaded = super::load(&engine, bytes, Some(&home.places()));
            loaded.unwrap().warning
        };
        assert_eq!(load(), None);
        let key = key(&home.places().state).unwrap();
        let good = fs::read(home.file()).unwrap();
        assert!(good.len() > 3 << 20, "{} bytes are one piece", good.len());
        let read = Code::read(&home.file(), &key).unwrap().unwrap();
        assert!(read.load(&engine).is_ok());
        let file = fs::File::options().write(true).open(home.file());
        let mut file = file.unwrap();
        let mut put = |place: usize, byte: u8| {
            file.seek(SeekFrom::Start(place as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        let (mut seed, mut pieces) = (0x5eed_u64, [0; 4]);
        for round in 0..100 {
            // A linear congruential generator: the same 100 places in each run of the test.
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let place = (seed >> 33) as usize % good.len();
            pieces[(place >> 20).min(3)] += 1;
            put(place, good[place] ^ 1 << (round % 8));
            assert!(Code::read(&home.file(), &key).is_err(), "byte {place}");
            put(place, good[place]);
        }
        assert!(pieces[..3].iter().all(|count| *count > 9), "{pieces:?}");
        assert!(Code::read(&home.file(), &key).is_ok());
        // It is compiled anew, said, and good afterwards.
        put(good.len() / 2, !good[good.len() / 2]);
        assert!(load().unwrap().contains("altered"));
        assert_eq!(load(), None);
    }

    #[test]
    fn a_file_that_is_cut_short_or_from_another_machine_is_not_used() {
        let (engine, home, other) = (Engine::default(), Home::new(), Home::new());
        load(&engine, &home);
        load(&engine, &other);
        fs::copy(other.file(), home.file()).unwrap();
        assert!(load(&engine, &home).unwrap().contains("this machine"));
        fs::remove_file(home.file()).unwrap();
        load(&engine, &home);
        // Code under the name of another component is not its code.
        let key = key(&home.places().state).unwrap();
        let renamed = home.0.path().join("another.cwasm");
        fs::copy(home.file(), &renamed).unwrap();
        assert!(Code::read(&renamed, &key).is_err());
        fs::write(home.file(), "short").unwrap();
        assert!(load(&engine, &home).unwrap().contains("cut short"));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let (engine, home) = (Engine::default(), Home::new());
        load(&engine, &home);
        let key = home.places().state.join(KEY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&engine, &home).unwrap().contains("open to other"));
    }

    #[test]
    fn a_key_that_a_crash_left_empty_is_replaced() {
        let (engine, home) = (Engine::default(), Home::new());
        load(&engine, &home);
        let key = home.places().state.join(KEY);
        for left in [&b""[..], b"half", &[7; KEY_LENGTH + 1]] {
            fs::write(&key, left).unwrap();
            // Compiled anew, with the new key, and then used.
            assert!(load(&engine, &home).unwrap().contains("altered"));
            assert_eq!(fs::read(&key).unwrap().len(), KEY_LENGTH);
            assert_eq!(load(&engine, &home), None);
        }
    }

    #[test]
    fn what_is_no_component_is_an_error() {
        let (engine, home) = (Engine::default(), Home::new());
        let places = home.places();
        let load = |places| super::load(&engine, Bytes::Here(b"nonsense".to_vec()), places);
        assert!(load(Some(&places)).is_err());
        assert!(load(None).is_err());
    }
}
