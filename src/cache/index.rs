//! `index.json`: which images are in the cache, under which references.

use std::fs::File;
use std::io::Read as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::{Error, ErrorKind};
use super::layout::{Cache, metadata};
use super::lock::Lock;
use crate::oci::{Descriptor, Digest, Platform};

/// An image in the cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The reference that it was pulled by.
    pub reference: String,
    /// What the reference resolved to: an index or a manifest.
    pub digest: Digest,
    /// That document's media type.
    pub media_type: String,
    /// That document's size in bytes.
    pub size: u64,
    /// The platforms whose blobs are there.
    pub platforms: Vec<Platform>,
    /// The bytes of all blobs of these platforms.
    pub bytes: u64,
    /// When it was last recorded.
    pub when: Option<Timestamp>,
}

impl Cache {
    /// Records that an image is whole in the cache. An entry of the same reference is replaced,
    /// or gets one platform more if it resolved to the same digest. In a cache that can't be written
    /// nothing is recorded.
    ///
    /// # Errors
    ///
    /// `index.json` is no index, is locked for too long, or can't be written.
    pub async fn record(
        &self,
        reference: &str,
        descriptor: &Descriptor,
        platform: Option<&Platform>,
        bytes: u64,
        when: Timestamp,
    ) -> Result<(), Error> {
        let _lock = match Lock::take(&self.root().join(LOCK)).await {
            // A cache that nobody can write has what it has; the list of it is for others to keep.
            Err(error) if error.is_forbidden() => return Ok(()),
            lock => lock?,
        };
        let mut index = self.index()?;
        let Some(entries) = index["manifests"].as_array_mut() else {
            return Err(self.no_index());
        };
        let digest = descriptor.digest.to_string();
        let mut parts = vec![(platform.map(ToString::to_string), bytes)];
        entries.retain(|entry| {
            let same_name = entry["annotations"][NAME] == reference;
            if same_name && entry["digest"] == digest {
                let known = entry["annotations"][PARTS].as_str().unwrap_or_default();
                let others = read_parts(known).into_iter();
                let others: Vec<_> = others.filter(|(name, _)| *name != parts[0].0).collect();
                parts.splice(0..0, others);
            }
            !same_name
        });
        entries.push(json!({
            "mediaType": descriptor.media_type,
            "digest": digest,
            "size": descriptor.size,
            "annotations": {NAME: reference, PARTS: write_parts(&parts), WHEN: when.to_string()},
        }));
        let mut text = serde_json::to_vec_pretty(&index)
            .map_err(|error| Error::io("write", &self.root().join(INDEX), error.into()))?;
        text.push(b'\n');
        self.replace(&self.root().join(INDEX), &text)
    }

    /// Returns the images that are recorded, in the order in which they were.
    ///
    /// # Errors
    ///
    /// `index.json` can't be read, or is no index.
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let index = self.index()?;
        let entries = index["manifests"].as_array();
        Ok(entries.into_iter().flatten().filter_map(entry).collect())
    }

    pub(super) fn index(&self) -> Result<Value, Error> {
        let path = self.root().join(INDEX);
        if metadata(&path)?.is_none() {
            return Ok(json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [],
            }));
        }
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(LARGEST_INDEX).read_to_string(&mut text))
            .map_err(|error| Error::io("read", &path, error))?;
        let index: Option<Value> = serde_json::from_str(&text).ok();
        match index {
            Some(index) if index["manifests"].is_array() => Ok(index),
            _ => Err(self.no_index()),
        }
    }

    fn no_index(&self) -> Error {
        ErrorKind::NotACache {
            path: self.root().to_owned(),
            reason: "its index.json is no index".into(),
        }
        .into()
    }
}

pub(super) const INDEX: &str = "index.json";
pub(super) const LOCK: &str = "index.lock";
const LARGEST_INDEX: u64 = 16 * 1024 * 1024;
/// The annotation by which skopeo, crane and oras find images in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Platforms and the bytes of their blobs: `linux/amd64=1024,linux/arm64=1000`.
const PARTS: &str = "dev.shipgate.platforms";
const WHEN: &str = "dev.shipgate.recorded";

fn write_parts(parts: &[(Option<String>, u64)]) -> String {
    let part = |(name, bytes): &(Option<String>, u64)| {
        format!("{}={bytes}", name.as_deref().unwrap_or_default())
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// Reads what [`write_parts`] wrote; an image without a platform has no name before the `=`.
fn read_parts(text: &str) -> Vec<(Option<String>, u64)> {
    text.split(',')
        .filter_map(|part| {
            let (name, bytes) = part.split_once('=')?;
            let name = Some(name.to_owned()).filter(|name| !name.is_empty());
            Some((name, bytes.parse().ok()?))
        })
        .collect()
}

/// Reads an entry; those that other tools wrote in other forms are left out of lists.
pub(super) fn entry(value: &Value) -> Option<Entry> {
    let annotation = |name: &str| value["annotations"][name].as_str();
    let parts = read_parts(annotation(PARTS).unwrap_or_default());
    Some(Entry {
        reference: annotation(NAME)?.to_owned(),
        digest: value["digest"].as_str()?.parse().ok()?,
        media_type: value["mediaType"].as_str()?.to_owned(),
        size: value["size"].as_u64()?,
        platforms: parts
            .iter()
            .filter_map(|(name, _)| name.as_deref()?.parse().ok())
            .collect(),
        bytes: parts
            .iter()
            .map(|(_, bytes)| *bytes)
            .fold(0, u64::saturating_add),
        when: annotation(WHEN).and_then(|when| when.parse().ok()),
    })
}

/// Says whether two entries are of the same name and image.
pub(super) fn is_entry(one: &Entry, other: &Entry) -> bool {
    one.reference == other.reference && one.digest == other.digest
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn descriptor(bytes: &[u8]) -> Descriptor {
        Descriptor::new(
            "application/vnd.oci.image.index.v1+json",
            Digest::of(bytes),
            bytes.len() as u64,
        )
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn entries_are_replaced_and_merged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        assert_eq!(cache.list().unwrap(), []);
        let amd: Platform = "linux/amd64".parse().unwrap();
        let arm: Platform = "linux/arm64".parse().unwrap();
        let first = descriptor(b"1");
        for platform in [&amd, &arm, &amd] {
            cache
                .record("r/a:1", &first, Some(platform), 10, at(1))
                .await
                .unwrap();
        }
        cache.record("r/b:1", &first, None, 7, at(2)).await.unwrap();
        let list = cache.list().unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].platforms.len(), 2);
        assert_eq!((list[0].bytes, list[1].bytes), (20, 7));

        let second = descriptor(b"2");
        cache
            .record("r/a:1", &second, Some(&amd), 5, at(3))
            .await
            .unwrap();
        let list = cache.list().unwrap();
        assert_eq!(list.len(), 2);
        let moved = list
            .iter()
            .find(|entry| entry.reference == "r/a:1")
            .unwrap();
        assert_eq!(
            (moved.digest, moved.bytes, moved.when),
            (second.digest, 5, Some(at(3)))
        );
        assert_eq!(moved.platforms, [amd]);
    }

    #[tokio::test]
    async fn what_others_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let foreign = r#"{"schemaVersion":2,"manifests":[{"digest":"sha512:00","x":1}],"y":2}"#;
        fs::write(folder.path().join(INDEX), foreign).unwrap();
        cache
            .record("r/a:1", &descriptor(b"1"), None, 1, at(1))
            .await
            .unwrap();
        let text = fs::read_to_string(folder.path().join(INDEX)).unwrap();
        let index: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&index["y"], &index["manifests"][0]["x"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(cache.list().unwrap().len(), 1);

        fs::write(folder.path().join(INDEX), "[]").unwrap();
        assert!(cache.list().is_err());
        assert!(
            cache
                .record("r/a:1", &descriptor(b"1"), None, 1, at(1))
                .await
                .is_err()
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn concurrent_records_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..12 {
            // Each opens the folder for itself, as another process would.
            let cache = Cache::open(folder.path()).unwrap();
            tasks.spawn(async move {
                let name = format!("r/a:{number}");
                cache
                    .record(&name, &descriptor(b"1"), None, 1, at(number))
                    .await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(
            Cache::open(folder.path()).unwrap().list().unwrap().len(),
            12
        );
    }
}
