//! A layer of one file, as bytes that are the same on every machine.

use bytes::Bytes;

use crate::oci::Digest;

/// A layer: a tar archive, and the gzip stream that a registry holds.
pub(super) struct Layer {
    /// The digest of the tar archive, which the configuration of an image names.
    pub(super) diff_id: Digest,
    /// The compressed form.
    pub(super) bytes: Bytes,
}

impl Layer {
    /// Makes a layer with one readable file of root's, last changed at the epoch.
    pub(super) fn of_file(path: &str, content: &[u8]) -> Self {
        let tar = tar(path, content);
        Self {
            diff_id: Digest::of(&tar),
            bytes: gzip(&tar).into(),
        }
    }
}

/// Writes a ustar archive (POSIX.1-2017, `pax`). The path has at most 100 bytes.
fn tar(path: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; BLOCK];
    let mut field = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
    field(0, path.as_bytes());
    field(100, b"0000644\0");
    field(108, b"0000000\0");
    field(116, b"0000000\0");
    field(124, format!("{:011o}\0", content.len()).as_bytes());
    field(136, b"00000000000\0");
    // The checksum is taken with spaces in its own place.
    field(148, b"        ");
    field(156, b"0");
    field(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    archive
}

/// Writes a gzip stream (RFC 1952) of stored blocks (RFC 1951, 3.2.4): a compressor's bytes change with its version,
/// and with them every digest.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = data.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let [low, high] = (block.len() as u16).to_le_bytes();
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend_from_slice(&[low, high, !low, !high]);
        stream.extend_from_slice(block);
    }
    stream.extend_from_slice(&crc32(data).to_le_bytes());
    stream.extend_from_slice(&(data.len() as u32).to_le_bytes());
    stream
}

/// The CRC of gzip (RFC 1952, section 8), bit by bit: it runs over a few kilobytes, once.
fn crc32(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1 == 1;
            crc >>= 1;
            if carry {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

/// The block of a tar archive, in bytes.
const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_crc() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn an_archive_has_whole_blocks_and_a_right_checksum() {
        let archive = tar("a.txt", b"hello");
        assert_eq!(archive.len(), 4 * BLOCK);
        assert_eq!(&archive[BLOCK..BLOCK + 6], b"hello\0");
        let written = std::str::from_utf8(&archive[148..154]).unwrap();
        let sum: u32 = archive[..BLOCK]
            .iter()
            .enumerate()
            .map(|(at, byte)| match at {
                148..156 => 32,
                _ => u32::from(*byte),
            })
            .sum();
        assert_eq!(u32::from_str_radix(written, 8), Ok(sum));
    }

    #[test]
    fn stored_blocks_hold_the_data() {
        let data = vec![7; 70_000];
        let stream = gzip(&data);
        assert_eq!(&stream[10..15], &[0, 0xff, 0xff, 0, 0]);
        let second = 15 + 65_535;
        assert_eq!(stream[second], 1);
        assert_eq!(&stream[second + 1..second + 3], &4465u16.to_le_bytes());
        assert_eq!(&stream[stream.len() - 4..], &70_000u32.to_le_bytes());
    }
}
