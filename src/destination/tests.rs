use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::cache::Cache;
use crate::oci::{Descriptor, Digest, Platform, Reference};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

struct Shelf {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        Self { folder, cache }
    }

    fn put(&self, kind: &str, bytes: &[u8]) -> Descriptor {
        let blob = Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64);
        self.cache.put_bytes(&blob, bytes).unwrap();
        blob
    }

    fn image(&self, kinds: [&str; 3], layer: &[u8], content: &[u8]) -> Descriptor {
        let config = json!({
            "os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(content)]},
        });
        let config = self.put(kinds[0], config.to_string().as_bytes());
        let layer = self.put(kinds[2], layer);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kinds[1], "config": config, "layers": [layer],
        });
        self.put(kinds[1], manifest.to_string().as_bytes())
    }

    fn index(&self, kind: &str, entries: &[(&Descriptor, &str)]) -> Descriptor {
        let manifests: Vec<Value> = entries
            .iter()
            .map(|(entry, platform)| {
                let (os, architecture) = platform.split_once('/').unwrap();
                let mut entry = json!(entry);
                entry["platform"] = json!({"os": os, "architecture": architecture});
                entry
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        self.put(kind, index.to_string().as_bytes())
    }

    fn open(&self, name: &str, top: &Descriptor, wanted: &Wanted) -> Result<Image, Error> {
        let reference: Reference = name.parse().unwrap();
        Image::open(&self.cache, &reference, &top.digest, wanted)
    }

    fn read(&self, archive: &tar::Archive) -> Vec<(String, Bytes)> {
        let mut reader = archive.read(&self.cache);
        let mut bytes = Vec::new();
        while let Some(piece) = reader.piece().unwrap() {
            bytes.extend_from_slice(&piece);
        }
        let mut members = Vec::new();
        let mut rest = &bytes[..];
        while rest[0] != 0 {
            let (header, after) = rest.split_at(512);
            let name = std::str::from_utf8(&header[..100]).unwrap();
            let size = std::str::from_utf8(&header[124..135]).unwrap();
            let size = usize::from_str_radix(size, 8).unwrap();
            let content = Bytes::copy_from_slice(&after[..size]);
            members.push((name.trim_end_matches('\0').to_owned(), content));
            rest = &after[size.next_multiple_of(512)..];
        }
        members
    }
}

fn json_of(members: &[(String, Bytes)], name: &str) -> Value {
    let (_, bytes) = members.iter().find(|(path, _)| path == name).unwrap();
    serde_json::from_slice(bytes).unwrap()
}

/// A Zstandard frame of one raw block.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let header = u32::try_from(bytes.len()).unwrap() << 3 | 1;
    frame.extend(&header.to_le_bytes()[..3]);
    frame.extend(bytes);
    frame
}

#[tokio::test]
async fn docker_s_own_formats_come_out_as_they_went_in() {
    let shelf = Shelf::new();
    let image = shelf.image(
        [DOCKER_CONFIG, DOCKER_IMAGE, DOCKER_LAYER],
        b"layer",
        b"content",
    );
    let list = shelf.index(DOCKER_LIST, &[(&image, "linux/amd64")]);
    let opened = shelf.open("nginx:1.27", &list, &Wanted::All).unwrap();
    assert!(opened.complete);
    let members = shelf.read(&archive::docker(&shelf.cache, &[opened]).await.unwrap());
    let contents = json_of(&members, "manifest.json");
    assert_eq!(contents[0]["RepoTags"], json!(["nginx:1.27"]));
    let layer = format!("blobs/sha256/{}", Digest::of(b"layer").hex());
    assert_eq!(contents[0]["Layers"], json!([layer]));
    let index = json_of(&members, "index.json");
    assert_eq!(index["manifests"][0]["digest"], json!(list.digest));
    assert_eq!(index["manifests"][0]["mediaType"], DOCKER_LIST);
    let name = &index["manifests"][0]["annotations"]["io.containerd.image.name"];
    assert_eq!(name, "docker.io/library/nginx:1.27");
    // Each blob is there once, under what it is.
    for (path, bytes) in members
        .iter()
        .filter(|(path, bytes)| path.starts_with("blobs/sha256/") && !bytes.is_empty())
    {
        assert_eq!(path, &format!("blobs/sha256/{}", Digest::of(bytes).hex()));
    }
}

#[tokio::test]
async fn of_a_nested_index_what_is_there_is_named() {
    let shelf = Shelf::new();
    let amd = shelf.image([CONFIG, IMAGE, GZIP], b"amd", b"amd content");
    let arm = Descriptor::new(IMAGE, Digest::of(b"absent"), 6);
    let inner = shelf.index(INDEX, &[(&amd, "linux/amd64"), (&arm, "linux/arm64")]);
    let outer = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]});
    let outer = shelf.put(INDEX, outer.to_string().as_bytes());
    let image = shelf.open("r.example/a:v1", &outer, &Wanted::All).unwrap();
    assert!(!image.complete);
    assert_eq!((image.platforms().count(), image.between.len()), (1, 1));
    let members = shelf.read(&archive::oci(std::slice::from_ref(&image)));
    let entry = &json_of(&members, "index.json")["manifests"][0];
    assert_eq!(entry["digest"], json!(amd.digest));
    assert_eq!(entry["platform"]["architecture"], "amd64");
    assert_eq!(
        entry["annotations"]["dev.shipgate.index"],
        json!(outer.digest)
    );
    assert_eq!(
        entry["annotations"]["org.opencontainers.image.ref.name"],
        "v1"
    );
    // An engine finds the way down from the digest that was verified.
    let members = shelf.read(&archive::docker(&shelf.cache, &[image]).await.unwrap());
    for digest in [outer.digest, inner.digest, amd.digest] {
        let path = format!("blobs/sha256/{}", digest.hex());
        assert!(members.iter().any(|(name, _)| *name == path), "{digest}");
    }
    let missing = Wanted::Platform("linux/arm64".parse::<Platform>().unwrap());
    let error = shelf.open("r.example/a:v1", &outer, &missing).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Incomplete { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn attestations_go_with_the_whole_index_and_into_no_engine() {
    let shelf = Shelf::new();
    let image = shelf.image([CONFIG, IMAGE, GZIP], b"layer", b"content");
    let proof = shelf.image(
        [CONFIG, IMAGE, "application/vnd.in-toto+json"],
        b"proof",
        b"x",
    );
    let index = shelf.index(
        INDEX,
        &[(&image, "linux/amd64"), (&proof, "unknown/unknown")],
    );
    let opened = shelf.open("r.example/a:v1", &index, &Wanted::All).unwrap();
    assert!(opened.complete);
    assert_eq!((opened.parts.len(), opened.platforms().count()), (2, 1));
    let folder = shelf.folder.path().join("layout");
    layout::write(&shelf.cache, std::slice::from_ref(&opened), &folder)
        .await
        .unwrap();
    let proof = folder.join("blobs/sha256").join(Digest::of(b"proof").hex());
    assert_eq!(std::fs::read(proof).unwrap(), b"proof");
    let archive = archive::docker(&shelf.cache, &[opened]).await.unwrap();
    let contents = json_of(&shelf.read(&archive), "manifest.json");
    assert_eq!(contents.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn zstandard_is_unpacked_for_docker_alone() {
    let shelf = Shelf::new();
    let content = vec![5; 70_000];
    let mut packed = zstd(&content);
    // A frame that decoders pass over, as seekable layers have.
    packed.extend([0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9]);
    let top = shelf.image([CONFIG, IMAGE, ZSTD], &packed, &content);
    let image = shelf.open("r.example/a:v1", &top, &Wanted::All).unwrap();
    let archive = archive::docker(&shelf.cache, std::slice::from_ref(&image))
        .await
        .unwrap();
    let members = shelf.read(&archive);
    let path = format!("blobs/sha256/{}", Digest::of(&content).hex());
    assert_eq!(
        json_of(&members, "manifest.json")[0]["Layers"],
        json!([path])
    );
    let (_, unpacked) = members.iter().find(|(name, _)| *name == path).unwrap();
    assert!(unpacked[..] == content[..]);
    // Its manifest would name what is not there.
    assert!(!members.iter().any(|(name, _)| name == "index.json"));
    let members = shelf.read(&archive::oci(&[image]));
    let path = format!("blobs/sha256/{}", Digest::of(&packed).hex());
    assert!(
        members
            .iter()
            .any(|(name, bytes)| *name == path && bytes[..] == packed[..])
    );
}

#[tokio::test]
async fn layers_that_are_not_what_the_config_says_are_refused() {
    let shelf = Shelf::new();
    let content = [7; 1000];
    let packed = zstd(&content);
    for (name, layer, diff) in [
        ("other", packed.clone(), b"something else".to_vec()),
        ("cut", packed[..packed.len() - 5].to_vec(), content.to_vec()),
        (
            "garbage",
            [&ZSTD_MAGIC[..], &[0xff; 40]].concat(),
            content.to_vec(),
        ),
    ] {
        let top = shelf.image([CONFIG, IMAGE, ZSTD], &layer, &diff);
        let image = shelf.open("r.example/a:v1", &top, &Wanted::All).unwrap();
        let error = archive::docker(&shelf.cache, &[image]).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Layer { .. }),
            "{name}: {error}"
        );
    }
}

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[tokio::test]
async fn artifacts_go_into_layouts_and_into_no_engine() {
    let shelf = Shelf::new();
    let kinds = [
        "application/vnd.cncf.helm.config.v1+json",
        IMAGE,
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
    ];
    let top = shelf.image(kinds, b"chart", b"x");
    let image = shelf
        .open("r.example/chart:v1", &top, &Wanted::All)
        .unwrap();
    let error = archive::docker(&shelf.cache, std::slice::from_ref(&image))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("helm"), "{error}");
    let folder = shelf.folder.path().join("layout");
    layout::write(&shelf.cache, &[image], &folder)
        .await
        .unwrap();
}

#[tokio::test]
async fn one_name_is_one_image() {
    let shelf = Shelf::new();
    let one = shelf.image([CONFIG, IMAGE, GZIP], b"one", b"1");
    let two = shelf.image([CONFIG, IMAGE, GZIP], b"two", b"2");
    let open = |name: &str, top| shelf.open(name, top, &Wanted::All).unwrap();
    let same = [open("r.example/a:v1", &one), open("r.example/a:v1", &two)];
    let error = archive::docker(&shelf.cache, &same).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Conflict { .. }),
        "{error}"
    );
    let index = shelf.index(INDEX, &[(&one, "linux/amd64"), (&two, "linux/arm64")]);
    let both = [open("r.example/a:v1", &index)];
    let error = archive::docker(&shelf.cache, &both).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::SeveralPlatforms { .. }),
        "{error}"
    );
    // In a layout the newcomer of the same tag is called by its whole name, and a new image takes an old one's place.
    let folder = shelf.folder.path().join("layout");
    for image in [
        open("r.example/a:v1", &one),
        open("r.example/b:v1", &two),
        open("r.example/a:v1", &two),
    ] {
        layout::write(&shelf.cache, &[image], &folder)
            .await
            .unwrap();
    }
    let index: Value =
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let names: Vec<&Value> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["annotations"]["org.opencontainers.image.ref.name"])
        .collect();
    assert_eq!(names, [&json!("r.example/b:v1"), &json!("v1")]);
}

#[tokio::test]
async fn an_image_by_digest_has_no_tag_and_is_known_by_its_digest() {
    let shelf = Shelf::new();
    let top = shelf.image([CONFIG, IMAGE, GZIP], b"one", b"1");
    let pinned = format!("r.example/a@{}", top.digest);
    let image = shelf.open(&pinned, &top, &Wanted::All).unwrap();
    let archive = archive::docker(&shelf.cache, std::slice::from_ref(&image))
        .await
        .unwrap();
    let members = shelf.read(&archive);
    assert_eq!(json_of(&members, "manifest.json")[0]["RepoTags"], json!([]));
    let entry = &json_of(&members, "index.json")["manifests"][0];
    assert_eq!(
        entry["annotations"],
        json!({"io.containerd.image.name": pinned})
    );
    let tagged = shelf.open("r.example/a:v1", &top, &Wanted::All).unwrap();
    let members = shelf.read(&archive::containerd(&[tagged]).unwrap());
    let names: Vec<Value> = json_of(&members, "index.json")["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["annotations"]["io.containerd.image.name"].clone())
        .collect();
    assert_eq!(names, [json!("r.example/a:v1"), json!(pinned)]);
}
