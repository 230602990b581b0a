//! From a registry that misbehaves on demand into a cache.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::clock::Clock;
use crate::net;
use crate::oci::fake::{Fake, Reply, Seen, Store};
use crate::oci::{self, PlatformRule, Reference};

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

fn names(cache: &Cache) -> Vec<String> {
    let entries = std::fs::read_dir(cache.root().join("partial")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Waits for tasks that are being stopped.
async fn settled(done: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come to rest");
}

async fn preload(
    client: &Client,
    image: &Resolved,
    cache: &Cache,
    on_progress: OnProgress,
) -> Result<Preloaded, Error> {
    Puller::new(client, cache, 8).pull(image, on_progress).await
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
    // A config and three different layers; for the empty one there is nothing to ask.
    assert_eq!(blob_requests(&fake), 4);
    let finished = |progress: &&Progress| matches!(progress, Progress::Finished(_));
    assert_eq!(told.lock().unwrap().iter().filter(finished).count(), 5);

    for blob in image.blobs() {
        assert_eq!(cache.verify(&blob.digest).unwrap(), blob.size);
    }
    for manifest in &image.chain {
        assert_eq!(cache.read(&manifest.digest, 9999).unwrap(), manifest.bytes);
    }
    assert_eq!(names(&cache), [""; 0]);

    let second = preload(&client, &image, &cache, quiet()).await.unwrap();
    assert_eq!((second.fetched, second.cached), (0, image.bytes()));
    assert!(forecast(&image, &cache).unwrap().missing.is_empty());
    assert_eq!(blob_requests(&fake), 4);
}

#[tokio::test]
async fn a_warm_run_asks_for_the_head_of_the_tag_alone_and_by_digest_for_nothing() {
    for tag in ["v1", "single"] {
        let mut store = store();
        let single = store.image("linux/amd64", &[b"one"]);
        store.tag("single", &single);
        let mut moved = store.clone();
        let next = moved.image("linux/amd64", &[b"two", b"three"]);
        moved.tag(tag, &next);
        let now = Arc::new(Mutex::new(store));
        let serving = now.clone();
        let fake = Fake::start(move |seen| serving.lock().unwrap().reply(seen)).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let client = client();
        let rule = PlatformRule::Required("linux/amd64".parse().unwrap());
        let mut reference: Reference = format!("{}/acme/web:{tag}", fake.host()).parse().unwrap();
        let resolve = async |reference: &Reference| {
            client
                .resolve_beside(reference, &rule, &cache)
                .await
                .unwrap()
        };
        let cold = resolve(&reference).await;
        let manifests = fake.lines();
        let manifests = manifests.iter().filter(|it| it.contains("/manifests/"));
        assert_eq!(manifests.count(), cold.chain.len());
        assert!(!fake.lines().iter().any(|line| line.starts_with("HEAD")));
        preload(&client, &cold, &cache, quiet()).await.unwrap();
        let top = cold.chain[0].descriptor();
        let when = jiff::Timestamp::UNIX_EPOCH;
        cache
            .record(&reference.to_string(), &top, None, 1, when)
            .await
            .unwrap();

        let before = fake.lines().len();
        let warm = resolve(&reference).await;
        preload(&client, &warm, &cache, quiet()).await.unwrap();
        assert_eq!(warm.platform, cold.platform);
        assert_eq!(warm.manifest_digest(), cold.manifest_digest());
        let head = format!("HEAD /v2/acme/web/manifests/{tag}");
        assert_eq!(fake.lines()[before..].join(", "), head);

        *now.lock().unwrap() = moved;
        let changed = resolve(&reference).await;
        assert_ne!(changed.manifest_digest(), cold.manifest_digest());
        let get = format!("GET /v2/acme/web/manifests/{tag}");
        assert_eq!(fake.lines()[before + 1..before + 3], [head, get]);

        let before = fake.lines().len();
        reference.digest = Some(cold.digest);
        let warm = resolve(&reference).await;
        preload(&client, &warm, &cache, quiet()).await.unwrap();
        assert_eq!(warm.manifest_digest(), cold.manifest_digest());
        assert_eq!(fake.lines().len(), before);
    }
}

#[tokio::test]
async fn a_registry_without_head_or_digest_costs_a_get() {
    for answer in [
        |reply: Reply| reply.replacing("docker-content-digest", "sha256:nonsense"),
        |_: Reply| Reply::new(405, ""),
        |_: Reply| Reply::error(404, "MANIFEST_UNKNOWN"),
    ] {
        let store = store();
        let fake = Fake::start(move |seen| match seen.method == http::Method::HEAD {
            true => answer(store.reply(seen)),
            false => store.reply(seen),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let client = client();
        let cold = resolved(&client, &fake).await;
        preload(&client, &cold, &cache, quiet()).await.unwrap();
        let (top, when) = (cold.chain[0].descriptor(), jiff::Timestamp::UNIX_EPOCH);
        let name = cold.reference.to_string();
        cache.record(&name, &top, None, 1, when).await.unwrap();
        let before = fake.lines().len();
        let rule = PlatformRule::Required("linux/amd64".parse().unwrap());
        let warm = client.resolve_beside(&cold.reference, &rule, &cache).await;
        assert_eq!(warm.unwrap().digest, cold.digest);
        let lines: Vec<_> = fake.lines()[before..]
            .iter()
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(lines, ["HEAD", "GET"]);
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
    let puller = Puller::new(&client, &cache, 8);
    let (one, two) = tokio::join!(puller.pull(&image, quiet()), puller.pull(&image, quiet()));
    assert_eq!(one.unwrap().fetched + two.unwrap().fetched, image.bytes());
    assert_eq!(blob_requests(&fake), 4);
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
    preload(&client, &image, &cache, quiet()).await.unwrap();
    // One of nothing is not asked for.
    assert_eq!(blob_requests(&fake), 7);
    assert_eq!(names(&cache), [""; 0]);
}

#[tokio::test]
async fn bytes_that_are_not_what_they_should_be_get_no_name() {
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
        let error = preload(&client, &image, &cache, quiet()).await.unwrap_err();
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
        let victim = Digest::of(b"two").hex();
        settled(|| !names(&cache).iter().any(|name| name.starts_with(&victim))).await;
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
    let error = preload(&client, &image, &cache, quiet()).await.unwrap_err();
    assert!(error.to_string().contains("is foreign"), "{error}");
    assert_eq!(blob_requests(&fake), before);
}

#[tokio::test]
async fn a_dropped_preload_stops_and_lets_go_of_its_locks() {
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
        _ = preload(&client, &image, &cache, on_progress) => panic!("it was not dropped in time"),
        _ = heard.recv() => {}
    }
    settled(|| !names(&cache).iter().any(|name| name.ends_with(".lock"))).await;
    // What was interrupted can be done again.
    preload(&client, &image, &cache, quiet()).await.unwrap();
}

/// What a blob's host makes of requests for it, and what that may cost.
struct Row {
    name: &'static str,
    /// Answers the request with this number, given what an honest registry would answer.
    answer: fn(&Seen, Reply, usize) -> Reply,
    /// The most requests for the blob that bring none of its bytes.
    wasted: usize,
    /// How often its bytes may be sent over, in hundredths.
    bytes: u64,
    /// Whether it is asked for in parts to the end.
    parts: bool,
}

const LARGE: usize = 20_000_000;

fn large() -> Vec<u8> {
    (0..LARGE as u32).map(|n| (n % 251) as u8).collect()
}

/// Section 14 of RFC 9110, and what registries and proxies make of it.
const TABLE: [Row; 16] = [
    Row {
        name: "206",
        answer: |seen, whole, _| whole.in_range(seen),
        wasted: 0,
        bytes: 100,
        parts: true,
    },
    Row {
        name: "200 with the whole",
        answer: |_, whole, _| whole,
        wasted: 0,
        bytes: 100,
        parts: false,
    },
    Row {
        name: "200 with the whole, although it accepts ranges",
        answer: |_, whole, _| whole.header("accept-ranges", "bytes"),
        wasted: 0,
        bytes: 100,
        parts: false,
    },
    Row {
        name: "200 without a length",
        answer: |_, whole, _| whole.without_length(),
        wasted: 0,
        bytes: 100,
        parts: false,
    },
    Row {
        name: "206 without a length",
        answer: |seen, whole, _| whole.in_range(seen).without_length(),
        wasted: 0,
        bytes: 100,
        parts: true,
    },
    Row {
        name: "206 with another offset",
        answer: |seen, whole, _| match seen.range() {
            Some((first, last)) => whole.part(first + 1, last),
            None => whole,
        },
        wasted: 1,
        bytes: 150,
        parts: false,
    },
    Row {
        name: "206 that ends early and says so",
        answer: |seen, whole, _| match seen.range() {
            Some((first, last)) => whole.part(first, (first + 1_000_000).min(last)),
            None => whole,
        },
        wasted: 0,
        bytes: 100,
        parts: true,
    },
    Row {
        name: "206 that ends early and does not say so",
        answer: |seen, whole, number| match seen.range() {
            Some((first, last)) if number < 4 => {
                let length = (last + 1).min(LARGE) - first;
                whole.part(first, last).cut_after(length - 1_000)
            }
            _ => whole.in_range(seen),
        },
        wasted: 0,
        bytes: 100,
        parts: true,
    },
    Row {
        name: "206 of another length of the whole",
        answer: |seen, whole, _| match seen.range() {
            Some((first, last)) => whole
                .part(first, last)
                .replacing("content-range", &format!("bytes {first}-{last}/77")),
            None => whole,
        },
        wasted: 1,
        bytes: 150,
        parts: false,
    },
    Row {
        name: "206 without Content-Range",
        answer: |seen, whole, _| match seen.range() {
            Some((first, last)) => whole
                .part(first, last)
                .replacing("content-range", "bytes here"),
            None => whole,
        },
        wasted: 1,
        bytes: 150,
        parts: false,
    },
    Row {
        name: "206 in several parts",
        answer: |seen, whole, _| match seen.range() {
            Some((first, last)) => whole
                .part(first, last)
                .header("content-type", "multipart/byteranges; boundary=x"),
            None => whole,
        },
        wasted: 1,
        bytes: 150,
        parts: false,
    },
    Row {
        name: "206 whose Content-Range lies",
        answer: |seen, whole, _| match seen.range() {
            Some((first, last)) if first > 0 => {
                whole.part(first - 1, last.min(LARGE - 1) - 1).replacing(
                    "content-range",
                    &format!("bytes {first}-{}/{LARGE}", last.min(LARGE - 1)),
                )
            }
            _ => whole.in_range(seen),
        },
        wasted: 0,
        bytes: 200,
        parts: false,
    },
    Row {
        name: "400",
        answer: |seen, whole, _| match seen.range() {
            Some(_) => Reply::error(400, "UNSUPPORTED"),
            None => whole,
        },
        wasted: 1,
        bytes: 100,
        parts: false,
    },
    Row {
        name: "416",
        answer: |seen, whole, _| match seen.range() {
            Some(_) => Reply::new(416, ""),
            None => whole,
        },
        wasted: 1,
        bytes: 100,
        parts: false,
    },
    Row {
        name: "206 at first and then the whole",
        answer: |seen, whole, number| match number {
            0 => whole.in_range(seen),
            _ => whole,
        },
        wasted: 0,
        bytes: 900,
        parts: true,
    },
    Row {
        name: "a whole that is cut, and then 206",
        answer: |seen, whole, number| match number {
            0 => whole.cut_after(11_000_000),
            _ => whole.in_range(seen),
        },
        wasted: 0,
        bytes: 100,
        parts: false,
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_host_makes_of_ranges_the_bytes_are_right() {
    let bytes = large();
    let digest = Digest::of(&bytes);
    for row in TABLE {
        let mut store = Store::default();
        let image = store.image("linux/amd64", &[&bytes, b"small"]);
        store.tag("v1", &image);
        let asked = AtomicUsize::new(0);
        let hex = digest.hex();
        let fake = Fake::start(move |seen| {
            let honest = store.reply(seen);
            if !seen.target.ends_with(&hex) {
                return honest;
            }
            (row.answer)(seen, honest, asked.fetch_add(1, Ordering::SeqCst))
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let client = client();
        let image = resolved(&client, &fake).await;
        let done = preload(&client, &image, &cache, quiet()).await;
        assert!(done.is_ok(), "{}: {done:?}", row.name);
        assert_eq!(cache.verify(&digest).unwrap(), LARGE as u64, "{}", row.name);
        let seen = fake.seen();
        let of_blob = seen
            .iter()
            .filter(|seen| seen.target.contains(&digest.hex()));
        let of_blob: Vec<_> = of_blob.map(Seen::range).collect();
        let parts = of_blob.len() > 2 && of_blob.iter().all(Option::is_some);
        assert_eq!(parts, row.parts, "{}: {of_blob:?}", row.name);
        let log = client.log();
        let records = log.records();
        let own = records
            .iter()
            .filter(|record| record.url.contains(&digest.hex()));
        let (mut sent, mut wasted) = (0, 0);
        for record in own {
            sent += record.body_bytes;
            wasted +=
                usize::from(!matches!(record.status, Some(200 | 206)) || record.body_bytes == 0);
        }
        assert!(wasted <= row.wasted, "{}: {wasted} wasted", row.name);
        // On a busy machine a slow transfer is halved, and some bytes are under way twice.
        let most = LARGE as u64 * (row.bytes + 5) / 100;
        assert!(sent <= most, "{}: {sent} bytes", row.name);
        assert_eq!(names(&cache), [""; 0], "{}", row.name);
    }
}

#[tokio::test]
async fn a_cache_that_is_filling_is_asked_once_at_a_time() {
    // It answers with the whole until it has it, and asks its own source for each such answer.
    let bytes = large();
    let digest = Digest::of(&bytes);
    let mut store = Store::default();
    let image = store.image("linux/amd64", &[&bytes]);
    store.tag("v1", &image);
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let client = client();
    let image = resolved(&client, &fake).await;
    preload(&client, &image, &cache, quiet()).await.unwrap();
    let seen = fake.seen();
    let of_blob = seen
        .iter()
        .filter(|seen| seen.target.contains(&digest.hex()));
    assert_eq!(of_blob.count(), 1);
}

#[tokio::test]
async fn bytes_in_another_encoding_are_refused() {
    for encoding in ["gzip", "zstd", "identity, gzip"] {
        let store = store();
        let fake = Fake::start(move |seen| {
            let reply = store.reply(seen);
            match seen.target.contains("/blobs/") {
                true => reply.header("content-encoding", encoding),
                false => reply,
            }
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let client = client();
        let image = resolved(&client, &fake).await;
        let error = preload(&client, &image, &cache, quiet()).await.unwrap_err();
        assert!(error.to_string().contains(encoding), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_process_left_is_gone_on_with_even_if_it_is_wrong() {
    let bytes = large();
    let digest = Digest::of(&bytes);
    let mut store = Store::default();
    let image = store.image("linux/amd64", &[&bytes]);
    store.tag("v1", &image);
    let fake = Fake::start(move |seen| store.reply(seen).in_range(seen)).await;
    for (flipped, expected) in [(false, 5_000_000), (true, 25_000_000)] {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let client = client();
        let image = resolved(&client, &fake).await;
        {
            let cache::Claim::Ours(partial) = cache.claim(&image.layers[0]).unwrap() else {
                panic!("it is ours");
            };
            let mut part = bytes[5_000_000..].to_vec();
            part[77] ^= u8::from(flipped);
            let mut writer = partial.writer().unwrap();
            writer.write(5_000_000, &part.into()).unwrap();
        }
        let before = client.log().totals().body_bytes;
        preload(&client, &image, &cache, quiet()).await.unwrap();
        let came = client.log().totals().body_bytes - before;
        assert!(
            (expected..expected + 1_000_000).contains(&came),
            "{flipped}: {came}"
        );
        assert_eq!(cache.verify(&digest).unwrap(), LARGE as u64);
    }
}

/// A client that takes so many milliseconds for a stall, and what it tells.
fn impatient(stall: u64, slots: usize) -> (Client, Arc<Mutex<Vec<oci::Notice>>>) {
    let http = net::Client::new(net::Config::default()).unwrap();
    let mut config = oci::Config::new(http, Clock::fixed(jiff::Timestamp::UNIX_EPOCH));
    config.retry.first_pause = Duration::from_millis(1);
    config.retry.longest_pause = Duration::from_millis(2);
    config.retry.stall = Duration::from_millis(stall);
    config.retry.patience = Duration::from_millis(stall * 4);
    config.retry.budget = Duration::from_millis(stall * 4);
    config.requests_per_host = slots;
    let notices: Arc<Mutex<Vec<oci::Notice>>> = Arc::default();
    let told = notices.clone();
    config.notices = Arc::new(move |notice| told.lock().unwrap().push(notice));
    (Client::new(config), notices)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stalls_goes_on_on_a_second_connection_from_where_it_stood() {
    // With ranges and without, of a blob that comes whole and of one that comes in parts.
    for (size, ranges) in [
        (300_000, true),
        (300_000, false),
        (LARGE, true),
        (LARGE, false),
    ] {
        let bytes: Vec<u8> = large()[..size].to_vec();
        let digest = Digest::of(&bytes);
        let mut store = Store::default();
        let image = store.image("linux/amd64", &[&bytes]);
        store.tag("v1", &image);
        let asked = AtomicUsize::new(0);
        let hex = digest.hex();
        let fake = Fake::start(move |seen| {
            let honest = store.reply(seen);
            let honest = if ranges {
                honest.in_range(seen)
            } else {
                honest
            };
            let of_blob = seen.target.ends_with(&hex);
            match of_blob && asked.fetch_add(1, Ordering::SeqCst) == 0 {
                true => honest.stalled_after(100_000),
                false => honest,
            }
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let (client, notices) = impatient(200, 16);
        let image = resolved(&client, &fake).await;
        let before = client.log().totals().body_bytes;
        preload(&client, &image, &cache, quiet()).await.unwrap();
        assert_eq!(cache.verify(&digest).unwrap(), size as u64);
        let came = client.log().totals().body_bytes - before;
        let most = size as u64 * 105 / 100 + 1000 + if ranges { 0 } else { 100_000 };
        assert!(came <= most, "{size} {ranges}: {came}");
        let silent = |it: &&oci::Notice| matches!(it, oci::Notice::Silent { .. });
        let told = notices.lock().unwrap().iter().filter(silent).count();
        // Where others go on, the stalled part is theirs long before that.
        assert!(told >= 1 || size == LARGE, "{size} {ranges}");
        if size < LARGE && ranges {
            let seen = fake.seen();
            let again = seen.iter().rfind(|it| it.target.ends_with(&digest.hex()));
            assert_eq!(again.and_then(Seen::range), Some((100_000, size - 1)));
        }
        assert_eq!(names(&cache), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stalls_on_every_connection_fails_with_the_byte_that_did_not_come() {
    let store = store();
    let victim = Digest::of(&vec![7; 300_000]);
    let fake = Fake::start(move |seen| {
        let reply = store.reply(seen).in_range(seen);
        match (seen.target.ends_with(&victim.hex()), seen.range()) {
            (true, None) => reply.stalled_after(100_000),
            (true, Some(_)) => reply.stalled_after(0),
            _ => reply,
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let (client, notices) = impatient(50, 16);
    let image = resolved(&client, &fake).await;
    let error = preload(&client, &image, &cache, quiet()).await.unwrap_err();
    let facts = crate::failure::Explain::facts(&error);
    let fact = |name: &str| {
        let found = facts.iter().find(|fact| fact.name == name);
        found.map(|fact| fact.value.clone()).unwrap_or_default()
    };
    assert_eq!(fact("host"), fake.host(), "{facts:?}");
    assert!(fact("address").starts_with("127.0.0.1"), "{facts:?}");
    assert_eq!(fact("offset"), "100000", "{facts:?}");
    let told = notices.lock().unwrap();
    let named = |it: &oci::Notice| match it {
        oci::Notice::Silent { what, .. } => what.contains(&victim.to_string()),
        _ => false,
    };
    assert!(told.iter().any(named), "{told:?}");
    // What came is there for the next run.
    drop(told);
    let blob = image.layers.iter().find(|it| it.digest == victim).unwrap();
    assert_eq!(cache.received(blob).unwrap(), 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_scans_for_two_minutes_is_waited_for() {
    let store = store();
    let fake = Fake::start(move |seen| {
        let reply = store.reply(seen).in_range(seen);
        match seen.target.contains("/blobs/") {
            true => reply.delayed_by(Duration::from_secs(120)),
            false => reply,
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let http = net::Client::new(net::Config::default()).unwrap();
    let config = oci::Config::new(http, Clock::fixed(jiff::Timestamp::UNIX_EPOCH));
    let client = Client::new(config);
    let image = resolved(&client, &fake).await;
    let begun = tokio::time::Instant::now();
    preload(&client, &image, &cache, quiet()).await.unwrap();
    let took = begun.elapsed().as_secs();
    assert!((120..130).contains(&took), "{took} s");
    // Each is asked for twice at most: once, and once more when it was silent for too long.
    assert!(blob_requests(&fake) <= 2 * 4, "{:?}", fake.lines());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_layers_through_one_slot_and_four_hundred_through_many() {
    for (layers, slots) in [(100, 1), (400, 16)] {
        let bytes: Vec<Vec<u8>> = (0..layers).map(|n| vec![n as u8; 300 + n]).collect();
        let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let mut store = Store::default();
        let image = store.image("linux/amd64", &slices);
        store.tag("v1", &image);
        let fake = Fake::start(move |seen| store.reply(seen)).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let (client, _) = impatient(60_000, slots);
        let image = resolved(&client, &fake).await;
        let done = preload(&client, &image, &cache, quiet()).await.unwrap();
        assert_eq!(done.blobs.len(), layers + 1);
        assert_eq!(blob_requests(&fake), layers + 1);
        assert_eq!(names(&cache), [""; 0]);
    }
}
