//! Images made from nothing, pushed by the distribution protocol.

use serde_json::{Value, json};

use super::{digest, fetch};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image of one platform.
#[derive(Clone, Debug)]
pub struct Image {
    pub platform: (String, String),
    pub layers: Vec<Vec<u8>>,
    diff_ids: Vec<String>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

/// Several images under one name.
#[derive(Clone, Debug)]
pub struct Index {
    pub images: Vec<Image>,
    pub manifest: Vec<u8>,
}

impl Image {
    /// Makes a `linux/amd64` image whose layers hold one file each of these sizes; `seed` makes it unlike others.
    pub fn new(seed: &str, sizes: &[usize]) -> Self {
        Self::of_platform(seed, sizes, "linux", "amd64")
    }

    /// Makes an image of a platform.
    pub fn of_platform(seed: &str, sizes: &[usize], os: &str, architecture: &str) -> Self {
        let archives: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(number, size)| tar(&format!("{seed}-{number}"), *size))
            .collect();
        let diff_ids: Vec<_> = archives.iter().map(|archive| digest(archive)).collect();
        let layers: Vec<_> = archives.iter().map(|archive| gzip(archive)).collect();
        Self::assembled(seed, layers, diff_ids, os, architecture)
    }

    /// Makes a `linux/amd64` image whose last layer is packed with Zstandard.
    pub fn zstd(seed: &str, sizes: &[usize]) -> Self {
        let mut image = Self::new(seed, sizes);
        let last = tar(
            &format!("{seed}-{}", sizes.len() - 1),
            sizes[sizes.len() - 1],
        );
        let (os, architecture) = image.platform;
        image.layers.pop();
        image.layers.push(zstd(&last));
        let mut image = Self::assembled(seed, image.layers, image.diff_ids, &os, &architecture);
        let manifest = String::from_utf8(image.manifest).unwrap();
        let place = manifest.rfind(LAYER).unwrap();
        let (before, after) = manifest.split_at(place);
        image.manifest = format!("{before}{}", after.replacen("+gzip", "+zstd", 1)).into_bytes();
        image
    }

    /// Makes an image with this one's first layer and then another image's layers.
    pub fn sharing_first_layer(&self, other: &Self) -> Self {
        let layers = [&self.layers[..1], &other.layers[..]].concat();
        let diff_ids = [&self.diff_ids[..1], &other.diff_ids[..]].concat();
        Self::assembled(
            "shared",
            layers,
            diff_ids,
            &self.platform.0,
            &self.platform.1,
        )
    }

    fn assembled(
        seed: &str,
        layers: Vec<Vec<u8>>,
        diff_ids: Vec<String>,
        os: &str,
        architecture: &str,
    ) -> Self {
        let config = json!({
            "os": os, "architecture": architecture,
            "config": {"Labels": {"seed": seed}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": layers.iter().map(|layer| descriptor(LAYER, layer)).collect::<Vec<_>>(),
        });
        Self {
            platform: (os.into(), architecture.into()),
            layers,
            diff_ids,
            config,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    /// Returns the digest of the manifest.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Pushes it and returns the reference by digest.
    pub fn push(&self, address: &str, repository: &str, tag: &str) -> String {
        self.push_blobs(address, repository);
        put_manifest(address, repository, tag, MANIFEST, &self.manifest);
        format!("{address}/{repository}@{}", self.digest())
    }

    fn push_blobs(&self, address: &str, repository: &str) {
        for blob in self.layers.iter().chain([&self.config]) {
            push_blob(address, repository, blob);
        }
    }
}

impl Index {
    /// Puts images under one name.
    pub fn of(images: Vec<Image>) -> Self {
        let manifests: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut entry = descriptor(MANIFEST, &image.manifest);
                entry["platform"] =
                    json!({"os": image.platform.0, "architecture": image.platform.1});
                entry
            })
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        Self {
            images,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    /// Returns the digest of the index.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Pushes it with its images and returns the reference by digest.
    pub fn push(&self, address: &str, repository: &str, tag: &str) -> String {
        for image in &self.images {
            image.push_blobs(address, repository);
            put_manifest(
                address,
                repository,
                &image.digest(),
                MANIFEST,
                &image.manifest,
            );
        }
        put_manifest(address, repository, tag, INDEX, &self.manifest);
        format!("{address}/{repository}@{}", self.digest())
    }
}

/// Pushes a blob.
pub fn push_blob(address: &str, repository: &str, blob: &[u8]) {
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let started = fetch("POST", address, &uploads, &[], b"");
    assert_eq!(started.status, 202, "{started:?}");
    let location = started.header("location").unwrap();
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={}", digest(blob));
    let done = fetch("PUT", address, &target, &[], blob);
    assert_eq!(done.status, 201, "{done:?}");
}

/// Pushes a manifest under a tag or a digest.
pub fn put_manifest(address: &str, repository: &str, name: &str, media_type: &str, bytes: &[u8]) {
    let target = format!("/v2/{repository}/manifests/{name}");
    let reply = fetch(
        "PUT",
        address,
        &target,
        &[("Content-Type", media_type)],
        bytes,
    );
    assert_eq!(reply.status, 201, "{reply:?}");
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// Returns a tar archive of one file with bytes that no compression makes smaller.
fn tar(name: &str, size: usize) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header;
    archive.extend(noise(name, size));
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

/// Returns a gzip file of stored blocks: real enough for every client, and no compressor needed.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let last = bytes.len().div_ceil(0xffff) - 1;
    for (number, block) in bytes.chunks(0xffff).enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        file.push(u8::from(number == last));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    file.extend(crc32(bytes).to_le_bytes());
    file.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    file
}

/// Returns a Zstandard frame of raw blocks (RFC 8878).
fn zstd(bytes: &[u8]) -> Vec<u8> {
    // No content size, no checksum, a window of 128 KiB.
    let mut file = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let last = bytes.len().div_ceil(0x1_0000) - 1;
    for (number, block) in bytes.chunks(0x1_0000).enumerate() {
        let header = u32::try_from(block.len()).unwrap() << 3 | u32::from(number == last);
        file.extend(&header.to_le_bytes()[..3]);
        file.extend(block);
    }
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0_u32; 256];
    for (value, entry) in (0_u32..).zip(&mut table) {
        *entry = (0..8).fold(value, |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        });
    }
    !bytes.iter().fold(!0, |crc, byte| {
        (crc >> 8) ^ table[usize::from(crc.to_le_bytes()[0] ^ byte)]
    })
}

/// Returns the same bytes for the same seed (xorshift64).
fn noise(seed: &str, size: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) | 1
    });
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
