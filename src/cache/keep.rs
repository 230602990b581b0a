//! Keeping house: what the cache holds, whether it is whole, and what may go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::error::{Error, ErrorKind};
use super::index::{Entry, INDEX, LOCK, entry, is_entry};
use super::layout::{Cache, metadata};
use super::lock::{Attempt, Lock};
use super::part_files::DATA;
use super::writer;
use crate::oci::manifest::{Document, LARGEST_MANIFEST};
use crate::oci::{Digest, Manifest};

/// What [`Cache::check`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// Blobs that are what their names say.
    pub whole: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that are not, with the digest of their bytes, or none where they can't be read.
    pub damaged: Vec<(Digest, Option<Digest>)>,
    /// References whose images lack blobs, and which.
    pub incomplete: Vec<(String, Vec<Digest>)>,
}

/// What [`Cache::collect`] or [`Cache::forget`] removed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Removed {
    /// References that are no longer in the cache.
    pub references: Vec<String>,
    /// Blobs and partial blobs that were removed.
    pub blobs: u64,
    /// Their bytes.
    pub freed: u64,
    /// The bytes that are left.
    pub left: u64,
}

impl Cache {
    /// Hashes every blob. A damaged one is removed if `repair` says so, so that the next pull fetches it again.
    ///
    /// # Errors
    ///
    /// The folder can't be read, or a damaged blob can't be removed.
    pub fn check(&self, repair: bool) -> Result<Checked, Error> {
        let mut checked = Checked::default();
        for (digest, _) in self.blobs()? {
            match self.verify(&digest) {
                Ok(size) => {
                    checked.whole += 1;
                    checked.bytes += size;
                }
                Err(error) => {
                    let found = match error.kind() {
                        ErrorKind::Damaged { found, .. } => Some(*found),
                        // Somebody else has removed it meanwhile.
                        ErrorKind::Missing { .. } => continue,
                        _ => None,
                    };
                    checked.damaged.push((digest, found));
                    if repair {
                        self.remove(&digest)?;
                    }
                }
            }
        }
        let damaged: BTreeSet<_> = checked.damaged.iter().map(|(digest, _)| *digest).collect();
        for entry in self.list()? {
            let missing: Vec<_> = self
                .reach(&entry)
                .into_iter()
                .filter(|(digest, size)| damaged.contains(digest) || size.is_none())
                .map(|(digest, _)| digest)
                .collect();
            if !missing.is_empty() {
                checked.incomplete.push((entry.reference, missing));
            }
        }
        Ok(checked)
    }

    /// Removes an image by its reference or its digest, and the blobs that no other image has.
    ///
    /// # Errors
    ///
    /// There is no such image, or the disk fails.
    pub async fn forget(&self, name: &str) -> Result<Removed, Error> {
        let mut lock = Lock::take(&self.root().join(LOCK)).await?;
        let named = |entry: &Entry| entry.reference == name || entry.digest.to_string() == name;
        let (gone, kept): (Vec<_>, Vec<_>) = self.list()?.into_iter().partition(named);
        if gone.is_empty() {
            return Err(ErrorKind::Unknown {
                reference: name.to_owned(),
            }
            .into());
        }
        let mut removed = Removed::default();
        self.drop_entries(&gone, &mut removed)?;
        let needed: BTreeSet<_> = kept.iter().flat_map(|entry| self.reach(entry)).collect();
        let needed: BTreeSet<_> = needed.into_iter().map(|(digest, _)| digest).collect();
        for (digest, _) in gone.iter().flat_map(|entry| self.reach_in_order(entry)) {
            lock.keep()?;
            if !needed.contains(&digest) {
                self.remove_counted(&digest, &mut removed)?;
            }
        }
        removed.left = self.size()?;
        Ok(removed)
    }

    /// Removes what nobody has used for longest until at most so many bytes are left.
    ///
    /// First go blobs and partial blobs of no image, unless they are so new that a pull may be at
    /// them; then images, by the time of their last pull. Images with a digest in `pinned` stay.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub async fn collect(&self, most: u64, pinned: &BTreeSet<Digest>) -> Result<Removed, Error> {
        let mut lock = Lock::take(&self.root().join(LOCK)).await?;
        let mut removed = Removed::default();
        let mut entries = self.list()?;
        // Those that say nothing of their last use have none that counts.
        entries.sort_by_key(|entry| entry.when);
        let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
        for entry in &entries {
            for (digest, _) in self.reach(entry) {
                *users.entry(digest).or_default() += 1;
            }
        }
        let mut left = self.size()?;
        let now = self.now()?;
        let mut orphans: Vec<_> = self.blobs()?.into_iter().collect();
        orphans.retain(|(digest, _)| !users.contains_key(digest) && !pinned.contains(digest));
        for (digest, _) in orphans {
            lock.keep()?;
            let modified = metadata(&self.path(&digest))?.and_then(|found| found.modified().ok());
            let age = modified.and_then(|then| now.duration_since(then).ok());
            if left > most && age.is_some_and(|age| age > UNDER_WAY) {
                left = left.saturating_sub(self.remove_counted(&digest, &mut removed)?);
            }
        }
        for (digest, size) in self.partials()? {
            if left > most && self.drop_partial(&digest)? {
                removed.blobs += 1;
                removed.freed += size;
                left = left.saturating_sub(size);
            }
        }
        for entry in entries {
            if left <= most {
                break;
            }
            lock.keep()?;
            let reach = self.reach_in_order(&entry);
            if reach.iter().any(|(digest, _)| pinned.contains(digest)) {
                continue;
            }
            self.drop_entries(std::slice::from_ref(&entry), &mut removed)?;
            for (digest, _) in reach {
                let users = users.entry(digest).or_default();
                *users = users.saturating_sub(1);
                if *users == 0 {
                    left = left.saturating_sub(self.remove_counted(&digest, &mut removed)?);
                }
            }
        }
        removed.left = self.size()?;
        Ok(removed)
    }

    /// Returns a text that is the same as long as the cache holds the same images.
    ///
    /// # Errors
    ///
    /// `index.json` can't be read.
    pub fn key(&self) -> Result<String, Error> {
        let mut lines: Vec<String> = self
            .list()?
            .iter()
            .map(|entry| {
                let mut platforms: Vec<_> =
                    entry.platforms.iter().map(ToString::to_string).collect();
                platforms.sort();
                format!(
                    "{} {} {}\n",
                    entry.reference,
                    entry.digest,
                    platforms.join(",")
                )
            })
            .collect();
        lines.sort();
        let hex = Digest::of(lines.concat().as_bytes()).hex();
        Ok(format!("shipgate-1-{}", &hex[..32]))
    }

    /// Returns the bytes of all blobs and partial blobs.
    ///
    /// # Errors
    ///
    /// The folder can't be read.
    pub fn size(&self) -> Result<u64, Error> {
        let blobs: u64 = self.blobs()?.values().sum();
        let partials: u64 = self.partials()?.values().sum();
        Ok(blobs + partials)
    }

    /// Returns each file whose name is a digest, with its size.
    pub(super) fn blobs(&self) -> Result<BTreeMap<Digest, u64>, Error> {
        self.digests_in("blobs/sha256", "")
    }

    fn partials(&self) -> Result<BTreeMap<Digest, u64>, Error> {
        self.digests_in("partial", DATA)
    }

    fn digests_in(&self, folder: &str, extension: &str) -> Result<BTreeMap<Digest, u64>, Error> {
        let folder = self.root().join(folder);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(Error::io("read the folder", &folder, error)),
        };
        let digest = |entry: fs::DirEntry| {
            let path = entry.path();
            let kind = path.extension().unwrap_or_default();
            let hex = path.file_stem()?.to_str()?;
            let digest: Digest = format!("sha256:{hex}").parse().ok()?;
            let size = entry.metadata().ok()?.len();
            (kind == extension).then_some((digest, size))
        };
        Ok(entries.flatten().filter_map(digest).collect())
    }

    /// Returns what an image consists of, with the sizes of what is there. Of an index, the images
    /// that are there count, and those of its platforms that were recorded.
    fn reach(&self, entry: &Entry) -> BTreeSet<(Digest, Option<u64>)> {
        self.reach_in_order(entry).into_iter().collect()
    }

    /// As [`Cache::reach`], each manifest before what it names.
    fn reach_in_order(&self, entry: &Entry) -> Vec<(Digest, Option<u64>)> {
        let mut found = Vec::new();
        self.descend(&entry.digest, 0, &mut found);
        found
    }

    fn descend(&self, digest: &Digest, depth: usize, found: &mut Vec<(Digest, Option<u64>)>) {
        if found.iter().any(|(known, _)| known == digest) {
            return;
        }
        let size = self.size_of(digest);
        found.push((*digest, size));
        let manifest = self
            .read(digest, LARGEST_MANIFEST)
            .ok()
            .and_then(|bytes| Manifest::parse(bytes.into(), None).ok());
        match manifest.map(|manifest| manifest.document) {
            Some(Document::Image(image)) => {
                for blob in std::iter::once(&image.config).chain(&image.layers) {
                    if !found.iter().any(|(known, _)| *known == blob.digest) {
                        let size = self.size_of(&blob.digest).filter(|size| *size == blob.size);
                        found.push((blob.digest, size));
                    }
                }
            }
            Some(Document::Index(index)) if depth < DEEPEST => {
                for child in &index.manifests {
                    // Platforms that nobody asked for are not here, and not missed.
                    if self.size_of(&child.digest).is_some() {
                        self.descend(&child.digest, depth + 1, found);
                    }
                }
            }
            _ => {}
        }
    }

    fn size_of(&self, digest: &Digest) -> Option<u64> {
        let found = metadata(&self.path(digest)).ok()??;
        found.is_file().then_some(found.len())
    }

    fn remove_counted(&self, digest: &Digest, removed: &mut Removed) -> Result<u64, Error> {
        let size = self.size_of(digest).unwrap_or(0);
        if !self.remove(digest)? {
            return Ok(0);
        }
        removed.blobs += 1;
        removed.freed += size;
        Ok(size)
    }

    /// Removes a partial blob, unless somebody is at it.
    fn drop_partial(&self, digest: &Digest) -> Result<bool, Error> {
        let path = |kind: &str| self.partial().join(format!("{}.{kind}", digest.hex()));
        let Attempt::Taken(_lock) = Lock::attempt(&path("lock"))? else {
            return Ok(false);
        };
        for kind in [super::part_files::MAP, DATA] {
            match fs::remove_file(path(kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path(kind), error));
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// Takes entries out of `index.json`; its lock must be held.
    fn drop_entries(&self, gone: &[Entry], removed: &mut Removed) -> Result<(), Error> {
        let mut index = self.index()?;
        if let Some(entries) = index["manifests"].as_array_mut() {
            let is_gone = |value: &Value| {
                entry(value).is_some_and(|found| gone.iter().any(|gone| is_entry(&found, gone)))
            };
            entries.retain(|value| !is_gone(value));
        }
        let mut text = serde_json::to_vec_pretty(&index)
            .map_err(|error| Error::io("write", &self.root().join(INDEX), error.into()))?;
        text.push(b'\n');
        self.replace(&self.root().join(INDEX), &text)?;
        let references = gone.iter().map(|entry| entry.reference.clone());
        removed.references.extend(references);
        Ok(())
    }

    /// Returns the time by the file system's own clock.
    pub(super) fn now(&self) -> Result<SystemTime, Error> {
        let path = self.partial().join(format!("clock.{}", writer::unique()));
        let (file, _gone_after) = writer::create(&path)?;
        file.metadata()
            .and_then(|found| found.modified())
            .map_err(|error| Error::io("look at", &path, error))
    }
}

/// A blob of no image that is younger than this may belong to a pull under way.
const UNDER_WAY: Duration = Duration::from_secs(60 * 60);
const DEEPEST: usize = 4;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::oci::Descriptor;

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

    fn put(cache: &Cache, kind: &str, bytes: &[u8]) -> Descriptor {
        let blob = Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64);
        cache.put_bytes(&blob, bytes).unwrap();
        blob
    }

    async fn image(cache: &Cache, name: &str, layers: &[&[u8]], second: i64) -> Descriptor {
        let config = put(
            cache,
            "application/vnd.oci.image.config.v1+json",
            name.as_bytes(),
        );
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| put(cache, LAYER, layer))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers,
        });
        let manifest = put(cache, IMAGE, manifest.to_string().as_bytes());
        let when = Timestamp::from_second(second).unwrap();
        cache.record(name, &manifest, None, 1, when).await.unwrap();
        manifest
    }

    fn references(cache: &Cache) -> Vec<String> {
        let mut names: Vec<_> = cache
            .list()
            .unwrap()
            .into_iter()
            .map(|entry| entry.reference)
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn every_kind_of_damage_is_found_and_only_that_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        image(&cache, "r/a:1", &[&[1; 5000], &[2; 5000]], 1).await;
        image(&cache, "r/b:1", &[&[1; 5000], &[3; 5000]], 2).await;
        assert_eq!(cache.check(true).unwrap().damaged, []);
        let blobs: Vec<_> = cache.blobs().unwrap().into_keys().collect();
        assert_eq!(blobs.len(), 7);
        for digest in blobs {
            let path = cache.path(&digest);
            let good = fs::read(&path).unwrap();
            for kind in ["flip", "cut", "zeros", "more"] {
                let mut bad = good.clone();
                match kind {
                    "flip" => bad[good.len() / 2] ^= 4,
                    "cut" => bad.truncate(good.len() - 1),
                    "zeros" => bad.fill(0),
                    _ => bad.push(0),
                }
                fs::write(&path, bad).unwrap();
                let looked = cache.check(false).unwrap();
                assert_eq!(looked.damaged.len(), 1, "{kind}");
                assert_eq!(looked.damaged[0].0, digest);
                assert!(!looked.incomplete.is_empty());
                assert!(path.exists());
                assert_eq!(cache.check(true).unwrap().whole, 6);
                assert!(!path.exists());
                let incomplete = cache.check(true).unwrap().incomplete;
                assert!(!incomplete.is_empty(), "{kind} {digest}");
                fs::write(&path, &good).unwrap();
            }
        }
        assert_eq!(cache.check(true).unwrap().incomplete, []);
    }

    #[tokio::test]
    async fn what_two_images_share_goes_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let first = image(&cache, "r/a:1", &[&[1; 5000], &[2; 5000]], 1).await;
        image(&cache, "r/b:1", &[&[1; 5000], &[3; 5000]], 2).await;
        let removed = cache.forget("r/a:1").await.unwrap();
        assert_eq!((removed.blobs, removed.references.len()), (3, 1));
        assert_eq!(cache.check(false).unwrap().incomplete, []);
        assert!(matches!(
            cache.forget("r/a:1").await.unwrap_err().kind(),
            ErrorKind::Unknown { .. }
        ));
        image(&cache, "r/a:1", &[&[1; 5000], &[2; 5000]], 1).await;
        cache.forget(&first.digest.to_string()).await.unwrap();
        assert_eq!(cache.forget("r/b:1").await.unwrap().left, 0);
        assert!(cache.blobs().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_longest_unused_goes_first_and_the_pinned_never() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let old = image(&cache, "r/old:1", &[&[1; 50_000]], 1).await;
        image(&cache, "r/new:1", &[&[2; 50_000]], 3).await;
        image(&cache, "r/mid:1", &[&[3; 50_000]], 2).await;
        // Of no image, and so new that a pull may be at it.
        put(&cache, LAYER, &[4; 10_000]);
        let pinned = BTreeSet::from([old.digest]);
        let whole = cache.size().unwrap();
        assert_eq!(cache.collect(whole, &pinned).await.unwrap().blobs, 0);
        let removed = cache.collect(whole - 1, &pinned).await.unwrap();
        assert_eq!(removed.references, ["r/mid:1"]);
        assert_eq!(removed.left, cache.size().unwrap());
        let removed = cache.collect(0, &pinned).await.unwrap();
        assert_eq!(removed.references, ["r/new:1"]);
        assert_eq!(references(&cache), ["r/old:1"]);
        assert_eq!(cache.check(false).unwrap().incomplete, []);
        let young = cache.path(&Digest::of(&[4; 10_000]));
        let file = fs::File::options().write(true).open(&young).unwrap();
        let then = file.metadata().unwrap().modified().unwrap() - UNDER_WAY * 2;
        file.set_modified(then).unwrap();
        let left = cache.collect(0, &BTreeSet::new()).await.unwrap().left;
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn the_key_tells_contents_apart_and_nothing_else() {
        let keys = async |images: &[(&str, i64)]| {
            let folder = tempfile::tempdir().unwrap();
            let cache = Cache::open(folder.path()).unwrap();
            for (name, second) in images {
                image(&cache, name, &[name.as_bytes()], *second).await;
            }
            cache.key().unwrap()
        };
        let key = keys(&[("r/a:1", 1), ("r/b:1", 2)]).await;
        assert_eq!(key, keys(&[("r/b:1", 7), ("r/a:1", 8)]).await);
        assert_ne!(key, keys(&[("r/a:1", 1)]).await);
        assert!(key.starts_with("shipgate-1-"));
    }
}
