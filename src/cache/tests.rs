//! Filling the cache from a registry.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fill::{Error, OnProgress, Progress, forecast, preload};
use super::*;
use crate::clock::Clock;
use crate::net;
use crate::oci::fake::{Fake, Reply, Store};
use crate::oci::{self, Client, Digest, PlatformRule, Reference, Resolved};

fn client() -> Client {
    let http = net::Client::new(net::Config::default()).unwrap();
    let mut config = oci::Config::new(http, Clock::fixed(jiff::Timestamp::UNIX_EPOCH));
    config.retry.first_pause = Duration::from_millis(1);
    config.retry.longest_pause = Duration::from_millis(2);
    Client::new(config)
}

fn quiet() -> OnProgress {
    Arc::new(|_| ())
}

async fn resolved(client: &Client, fake: &Fake) -> Resolved {
    let reference: Reference = format!("{}/acme/web:v1", fake.host()).parse().unwrap();
    let rule = PlatformRule::Required("linux/amd64".parse().unwrap());
    client.resolve(&reference, &rule).await.unwrap()
}

fn blob_requests(fake: &Fake) -> usize {
    fake.lines()
        .iter()
        .filter(|line| line.contains("/blobs/"))
        .count()
}

fn empty(folder: std::path::PathBuf) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// An index with one image of five layers, of which two are the same.
fn store() -> Store {
    let mut store = Store::default();
    let large = vec![7; 300_000];
    let image = store.image("linux/amd64", &[b"one", b"two", b"one", &large, b""]);
    let index = store.index(&[image]);
    store.tag("v1", &index);
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_fetched_once_and_then_never_again() {
    let store = store();
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let client = client();
    let image = resolved(&client, &fake).await;
    let expected = forecast(&image, &cache).unwrap();
    let before = client.log().totals();

    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let ears = told.clone();
    let first = preload(
        &client,
        &image,
        &cache,
        4,
        Arc::new(move |progress| ears.lock().unwrap().push(progress)),
    )
    .await
    .unwrap();
    let after = client.log().totals();
    assert_eq!(
        after.requests - before.requests,
        expected.missing.len() as u64
    );
    assert_eq!(after.body_bytes - before.body_bytes, expected.bytes);
    assert_eq!((first.fetched, first.cached), (image.bytes(), 0));
    // A config and four different layers.
    assert_eq!(blob_requests(&fake), 5);
    let finished = |progress: &&Progress| matches!(progress, Progress::Finished(_));
    assert_eq!(told.lock().unwrap().iter().filter(finished).count(), 5);

    for blob in image.blobs() {
        assert_eq!(cache.verify(&blob.digest).unwrap(), blob.size);
    }
    for manifest in &image.chain {
        assert_eq!(cache.read(&manifest.digest, 9999).unwrap(), manifest.bytes);
    }
    assert!(empty(cache.partial()));

    let second = preload(&client, &image, &cache, 4, quiet()).await.unwrap();
    assert_eq!((second.fetched, second.cached), (0, image.bytes()));
    assert!(forecast(&image, &cache).unwrap().missing.is_empty());
    assert_eq!(blob_requests(&fake), 5);
}

#[tokio::test]
async fn a_warm_run_asks_for_the_tag_alone_and_by_digest_for_nothing() {
    for tag in ["v1", "single"] {
        let mut store = store();
        let single = store.image("linux/amd64", &[b"one"]);
        store.tag("single", &single);
        let fake = Fake::start(move |seen| store.reply(seen)).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let client = client();
        let rule = PlatformRule::Required("linux/amd64".parse().unwrap());
        let mut reference: Reference = format!("{}/acme/web:{tag}", fake.host()).parse().unwrap();
        let cold = client
            .resolve_beside(&reference, &rule, &cache)
            .await
            .unwrap();
        preload(&client, &cold, &cache, 4, quiet()).await.unwrap();
        let before = fake.lines().len();
        let warm = client
            .resolve_beside(&reference, &rule, &cache)
            .await
            .unwrap();
        assert_eq!(warm.platform, cold.platform);
        assert_eq!(fake.lines().len(), before + 1);
        reference.digest = Some(cold.digest);
        let warm = client
            .resolve_beside(&reference, &rule, &cache)
            .await
            .unwrap();
        preload(&client, &warm, &cache, 4, quiet()).await.unwrap();
        assert_eq!(warm.manifest_digest(), cold.manifest_digest());
        assert_eq!(fake.lines().len(), before + 1);
    }
}

#[tokio::test]
async fn two_images_share_what_they_have_in_common() {
    let store = store();
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let client = client();
    let image = resolved(&client, &fake).await;
    let (one, two) = tokio::join!(
        preload(&client, &image, &cache, 4, quiet()),
        preload(&client, &image, &cache, 4, quiet()),
    );
    assert_eq!(one.unwrap().fetched + two.unwrap().fetched, image.bytes());
    assert_eq!(blob_requests(&fake), 5);
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_repeated() {
    let store = store();
    let left = AtomicUsize::new(3);
    let fake = Fake::start(move |seen| {
        let reply = store.reply(seen);
        let large = seen.target.ends_with(&Digest::of(&vec![7; 300_000]).hex());
        match left.load(Ordering::SeqCst) {
            more if large && more > 0 => {
                left.store(more - 1, Ordering::SeqCst);
                reply.cut_after(100_000 * more - 1)
            }
            _ => reply,
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let client = client();
    let image = resolved(&client, &fake).await;
    preload(&client, &image, &cache, 4, quiet()).await.unwrap();
    assert_eq!(blob_requests(&fake), 8);
    assert!(empty(cache.partial()));
}

#[tokio::test]
async fn bytes_that_are_not_what_they_should_be_leave_nothing_behind() {
    for (wrong, name) in [("owt", "digest"), ("twoo", "size"), ("", "size")] {
        let store = store();
        let fake =
            Fake::start(
                move |seen| match seen.target.ends_with(&Digest::of(b"two").hex()) {
                    true => Reply::new(200, wrong),
                    false => store.reply(seen),
                },
            )
            .await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let client = client();
        let image = resolved(&client, &fake).await;
        let error = preload(&client, &image, &cache, 4, quiet())
            .await
            .unwrap_err();
        let Error::Registry(error) = error else {
            panic!("{error}");
        };
        let found = match error.kind() {
            oci::ErrorKind::DigestMismatch { bytes: 3, .. } => "digest",
            oci::ErrorKind::SizeMismatch { expected: 3, .. } => "size",
            _ => panic!("{error}"),
        };
        assert_eq!(found, name);
        assert!(!cache.path(&Digest::of(b"two")).exists());
        // The image is not there, though most of it may be.
        assert!(!cache.path(&image.digest).exists());
        tokio::task::yield_now().await;
        assert!(empty(cache.partial()));
    }
}

#[tokio::test]
async fn a_foreign_layer_is_refused_before_anything_is_fetched() {
    let store = store();
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let client = client();
    let mut image = resolved(&client, &fake).await;
    let before = blob_requests(&fake);
    image.layers[4]
        .urls
        .push("https://elsewhere.example/layer".into());
    let error = preload(&client, &image, &cache, 4, quiet())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is foreign"), "{error}");
    assert_eq!(blob_requests(&fake), before);
}

#[tokio::test]
async fn a_dropped_preload_stops_and_leaves_nothing_half() {
    let store = store();
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let client = client();
    let image = resolved(&client, &fake).await;
    let (begun, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let on_progress: OnProgress = Arc::new(move |progress| {
        if matches!(progress, Progress::Started { .. }) {
            begun.send(()).ok();
        }
    });
    tokio::select! {
        _ = preload(&client, &image, &cache, 1, on_progress) => panic!("it was not dropped in time"),
        _ = heard.recv() => {}
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(empty(cache.partial()));
    // What was interrupted can be done again.
    preload(&client, &image, &cache, 4, quiet()).await.unwrap();
}
