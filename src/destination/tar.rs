//! Tar archives of files whose sizes are known, so that an archive's length is known before its first byte.
//!
//! The format is ustar (POSIX.1-1988), with the base-256 numbers of GNU tar for files over 8 GiB. All
//! times are 0 and all owners root: the same images make the same bytes.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use bytes::Bytes;

use super::error::{Error, ErrorKind};
use super::inflate::Inflated;
use super::temporary::Temporary;
use crate::cache::{self, Cache};
use crate::oci::Digest;

/// An archive that is laid out and not written yet.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    path: String,
    size: u64,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Blob(Digest),
    Bytes(Bytes),
    Folder,
    /// A blob, without its compression.
    Inflated(Digest),
}

impl Archive {
    /// Adds a folder.
    pub fn folder(&mut self, path: &str) {
        self.push(format!("{path}/"), 0, Content::Folder);
    }

    /// Adds a file of bytes that are in memory.
    pub fn file(&mut self, path: impl Into<String>, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.push(path.into(), bytes.len() as u64, Content::Bytes(bytes));
    }

    /// Adds a blob of the cache.
    pub fn blob(&mut self, path: impl Into<String>, digest: Digest, size: u64) {
        self.push(path.into(), size, Content::Blob(digest));
    }

    /// Adds a blob of the cache without its compression; `size` is that of what comes out.
    pub fn inflated(&mut self, path: impl Into<String>, digest: Digest, size: u64) {
        self.push(path.into(), size, Content::Inflated(digest));
    }

    /// Says whether a file of that path is in it.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.members.iter().any(|member| member.path == path)
    }

    /// Returns the number of its bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        let members = self.members.iter();
        let whole = members.map(|member| BLOCK + member.size + padding(member.size));
        whole.fold(END, u64::saturating_add)
    }

    /// Writes it into a file, which has its name only once it is whole.
    ///
    /// # Errors
    ///
    /// The file can't be written, or a blob can't be read.
    pub async fn write(&self, cache: &Cache, path: &Path) -> Result<(), Error> {
        let (mut file, temporary) = Temporary::beside(path)?;
        let failed = |error| Error::io("write", path, error);
        // A reader that was sent elsewhere copies in memory what the system could copy by itself.
        for member in &self.members {
            file.write_all(&header(member)).map_err(failed)?;
            match &member.content {
                Content::Blob(digest) => {
                    let blob = open(cache, digest, member.size)?;
                    let mut left = member.size;
                    while left > 0 {
                        let part = left.min(PIECE);
                        let copied = io::copy(&mut (&blob).take(part), &mut file);
                        if copied.map_err(failed)? != part {
                            return Err(changed(digest));
                        }
                        left -= part;
                        // Whoever waits for the same thread, a cancellation for instance, gets its turn.
                        tokio::task::yield_now().await;
                    }
                    pad(&mut file, member.size).map_err(failed)?;
                }
                _ => {
                    let mut content = Reading::of(cache, member)?;
                    while let Some(piece) = content.piece()? {
                        file.write_all(&piece).map_err(failed)?;
                        tokio::task::yield_now().await;
                    }
                    pad(&mut file, member.size).map_err(failed)?;
                }
            }
        }
        let end = [0; END as usize];
        file.write_all(&end).map_err(failed)?;
        drop(file);
        temporary.rename(path)
    }

    /// Returns its bytes piece by piece, for a peer that takes them over a connection.
    #[must_use]
    pub fn read(&self, cache: &Cache) -> ArchiveReader {
        ArchiveReader {
            cache: cache.clone(),
            archive: self.clone(),
            next: 0,
            under_way: None,
            ended: false,
        }
    }

    fn push(&mut self, path: String, size: u64, content: Content) {
        self.members.push(Member {
            path,
            size,
            content,
        });
    }
}

/// The bytes of an archive, in pieces of at most 1 MiB.
#[derive(Debug)]
pub struct ArchiveReader {
    cache: Cache,
    archive: Archive,
    next: usize,
    under_way: Option<(Reading, u64)>,
    ended: bool,
}

impl ArchiveReader {
    /// Returns the next piece, or nothing at the end.
    ///
    /// # Errors
    ///
    /// A blob can't be read.
    pub fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some((content, size)) = &mut self.under_way {
            if let Some(piece) = content.piece()? {
                return Ok(Some(piece));
            }
            let padding = padding(*size);
            self.under_way = None;
            if padding > 0 {
                return Ok(Some(zeros(padding)));
            }
        }
        let Some(member) = self.archive.members.get(self.next) else {
            let first = !self.ended;
            self.ended = true;
            return Ok(first.then(|| zeros(END)));
        };
        self.next += 1;
        self.under_way = Some((Reading::of(&self.cache, member)?, member.size));
        Ok(Some(Bytes::copy_from_slice(&header(member))))
    }
}

/// The content of one member.
#[derive(Debug)]
enum Reading {
    Bytes(Bytes),
    File {
        file: File,
        digest: Digest,
        left: u64,
    },
    Inflated(Box<Inflated>),
}

impl Reading {
    fn of(cache: &Cache, member: &Member) -> Result<Self, Error> {
        Ok(match &member.content {
            Content::Folder => Self::Bytes(Bytes::new()),
            Content::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Content::Blob(digest) => Self::File {
                file: open(cache, digest, member.size)?,
                digest: *digest,
                left: member.size,
            },
            Content::Inflated(digest) => {
                Self::Inflated(Box::new(Inflated::open(cache, digest, Some(member.size))?))
            }
        })
    }

    fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            Self::File { left: 0, .. } => Ok(None),
            Self::File { file, digest, left } => {
                let part = (*left).min(READ);
                let mut piece = Vec::with_capacity(part as usize);
                let read = (&mut *file).take(part).read_to_end(&mut piece);
                let read =
                    read.map_err(|error| Error::io("read", Path::new(&digest.to_string()), error))?;
                if read as u64 != part {
                    return Err(changed(digest));
                }
                *left -= part;
                Ok(Some(piece.into()))
            }
            Self::Inflated(inflated) => inflated.piece(),
        }
    }
}

const BLOCK: u64 = 512;
/// Two empty blocks end an archive.
const END: u64 = 2 * BLOCK;
/// What is copied before others get their turn.
const PIECE: u64 = 16 << 20;
const READ: u64 = 1 << 20;
/// The largest number that eleven octal digits hold.
const LARGEST_OCTAL: u64 = (1 << 33) - 1;

fn open(cache: &Cache, digest: &Digest, expected: u64) -> Result<File, Error> {
    let (file, size) = cache.open_blob(digest)?;
    if size != expected {
        return Err(cache::Error::from(cache::ErrorKind::SizeMismatch {
            digest: *digest,
            expected,
            found: size,
        })
        .into());
    }
    Ok(file)
}

fn changed(digest: &Digest) -> Error {
    ErrorKind::Layer {
        digest: *digest,
        reason: "its file was cut while it was read".into(),
    }
    .into()
}

fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn pad(file: &mut File, size: u64) -> io::Result<()> {
    file.write_all(&[0; BLOCK as usize][..padding(size) as usize])
}

fn zeros(count: u64) -> Bytes {
    Bytes::from_static(&[0; END as usize]).slice(..count as usize)
}

/// Makes the header of a member. Paths are ours, and far below the 100 bytes that the format has.
fn header(member: &Member) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let path = member.path.as_bytes();
    debug_assert!(path.len() <= 100, "{}", member.path);
    let length = path.len().min(100);
    block[..length].copy_from_slice(&path[..length]);
    let (mode, kind): (&[u8; 8], u8) = match member.content {
        Content::Folder => (b"0000755\0", b'5'),
        _ => (b"0000644\0", b'0'),
    };
    block[100..108].copy_from_slice(mode);
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    if member.size <= LARGEST_OCTAL {
        block[124..136].copy_from_slice(format!("{:011o}\0", member.size).as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&member.size.to_be_bytes());
    }
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    // The sum counts its own field as spaces.
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn file_and_stream_are_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let large = vec![7; 3 * READ as usize + 5];
        let blob = crate::oci::Descriptor::new("x/y", Digest::of(&large), large.len() as u64);
        cache.put_bytes(&blob, &large).unwrap();
        let mut archive = Archive::default();
        archive.folder("blobs");
        archive.file("empty", "");
        archive.file("small", "abc");
        archive.blob("blobs/large", blob.digest, blob.size);
        let path = folder.path().join("a.tar");
        archive.write(&cache, &path).await.unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written.len() as u64, archive.length());
        let mut reader = archive.read(&cache);
        let mut streamed = Vec::new();
        while let Some(piece) = reader.piece().unwrap() {
            assert!(!piece.is_empty() && piece.len() as u64 <= READ);
            streamed.extend_from_slice(&piece);
        }
        assert!(reader.piece().unwrap().is_none());
        assert!(streamed == written);
        assert_eq!(&written[512 + 512 + 512..][..3], b"abc");
        // Nothing is left beside it.
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2);
    }

    #[tokio::test]
    async fn an_archive_that_fails_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let mut archive = Archive::default();
        archive.blob("blobs/x", Digest::of(b"missing"), 7);
        let path = folder.path().join("a.tar");
        std::fs::write(&path, "old").unwrap();
        archive.write(&cache, &path).await.unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn huge_files_have_gnu_sizes() {
        let member = |size| Member {
            path: "x".into(),
            size,
            content: Content::Folder,
        };
        assert_eq!(&header(&member(LARGEST_OCTAL))[124..136], b"77777777777\0");
        let block = header(&member(10 << 30));
        assert_eq!(block[124], 0x80);
        assert_eq!(block[128..136], (10_u64 << 30).to_be_bytes());
    }
}
