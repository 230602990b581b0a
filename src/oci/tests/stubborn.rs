//! Waits, silences, limits and logins that run out. Time is paused: what lasts minutes is told by
//! the clock of the tests.

use futures_util::future::join_all;

use super::*;
use crate::oci::error::GaveUp;

const TAG: &str = "/v2/acme/web/manifests/v1";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The usual patience, with the longest pauses that it allows.
fn patient() -> Setup {
    let mut setup = Setup::new();
    setup.config.retry = RetryPolicy {
        random: Arc::new(|| 1.0),
        ..RetryPolicy::default()
    };
    setup
}

async fn tag(client: &Client, fake: &Fake) -> Result<Manifest, Error> {
    let repository = reference(fake, "").repository;
    let tag = Selector::Tag("v1".into());
    client.manifest(&repository, &tag).await
}

impl Setup {
    /// Returns the silences that were told, in seconds.
    fn silences(&self) -> Vec<u64> {
        let notices = self.notices.lock().unwrap();
        let lasted = |notice: &Notice| match notice {
            Notice::Silent { lasted, .. } => Some(lasted.as_secs()),
            _ => None,
        };
        notices.iter().filter_map(lasted).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_in_every_form_holds_all_workers_until_it_is_over() {
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    let limits: [(&str, u64, Reply); 6] = [
        (
            "seconds",
            7,
            Reply::error(429, "TOOMANYREQUESTS").header("retry-after", "7"),
        ),
        (
            "date",
            20,
            Reply::error(429, "TOOMANYREQUESTS")
                .header("date", date)
                .header("retry-after", "Thu, 01 Jan 2026 00:00:20 GMT"),
        ),
        (
            "words",
            60,
            Reply::json(
                429,
                &json!({"errors": [{"code": "TOOMANYREQUESTS", "message": "retry-after: 1m0.5s, allowed: 44000/minute"}]}),
            ),
        ),
        (
            "secondary",
            9,
            Reply::json(
                403,
                &json!({"message": "You have exceeded a secondary rate limit"}),
            )
            .header("retry-after", "9"),
        ),
        (
            "reset",
            11,
            Reply::new(429, "slow down")
                .header("ratelimit-remaining", "0")
                .header("ratelimit-reset", "11"),
        ),
        ("server", 4, Reply::new(503, "").header("retry-after", "4")),
    ];
    for (form, wait, limit) in limits {
        let (store, _) = one_image();
        let begun = Instant::now();
        let times: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let seen_at = times.clone();
        let fake = Fake::start(move |seen| {
            let now = begun.elapsed();
            seen_at.lock().unwrap().push(now);
            if now < seconds(wait) {
                limit.clone()
            } else {
                store.reply(seen)
            }
        })
        .await;
        let setup = patient();
        let client = setup.client();
        let workers = join_all((0..8).map(|_| tag(&client, &fake))).await;
        assert!(workers.iter().all(Result::is_ok), "{form}: {workers:?}");
        let early = |time: &&Duration| **time < seconds(wait);
        // They had all asked before anyone was answered.
        let times = times.lock().unwrap();
        assert!(
            times.iter().filter(early).all(|time| *time < seconds(1)),
            "{form}: {times:?}"
        );
        assert!(times.iter().filter(early).count() <= 8, "{form}: {times:?}");
        assert_eq!(
            setup.waits().len(),
            1,
            "{form}: {:?}",
            setup.notices.lock().unwrap()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn past_the_deadline_it_fails_at_once_and_says_when_to_come_again() {
    let (store, _) = one_image();
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        TAG => Reply::error(429, "TOOMANYREQUESTS").header("retry-after", "90"),
        _ => store.reply(seen),
    })
    .await;
    let setup = patient();
    let client = setup.client();
    let begun = Instant::now();
    let hurried = client.until(begun + seconds(60));
    let error = tag(&hurried, &fake).await.unwrap_err();
    assert!(begun.elapsed() < seconds(1));
    assert_eq!(error.gave_up(), Some(GaveUp::Deadline));
    assert_eq!(
        error.retry_at(),
        Some("1970-01-01T00:01:30Z".parse().unwrap())
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("run again after 1970-01-01T00:01:30Z")
    );
    assert!(setup.waits().is_empty());

    // Whoever asks next is told the same by nobody but us.
    tokio::time::sleep(seconds(20)).await;
    let error = tag(&hurried, &fake).await.unwrap_err();
    assert_eq!(
        error.retry_at(),
        Some("1970-01-01T00:01:10Z".parse().unwrap())
    );
    assert_eq!(error.retry_after(), Some(seconds(70)));
    assert_eq!(fake.lines().len(), 1);

    // Who has the time waits for what is left of it, and is told the same once more.
    let error = tag(&client, &fake).await.unwrap_err();
    assert_eq!(error.gave_up(), Some(GaveUp::Budget));
    assert!(begun.elapsed() >= seconds(90));
    assert!(fake.lines().len() > 1);
}

#[tokio::test]
async fn what_is_left_of_a_quota_is_kept_and_told_when_it_is_little() {
    let (store, _) = one_image();
    let left = AtomicUsize::new(12);
    let fake = Fake::start(move |seen| {
        let left = left.fetch_sub(1, Ordering::SeqCst) - 1;
        let reply = store.reply(seen).header("ratelimit-limit", "100;w=21600");
        reply.header("ratelimit-remaining", format!("{left};w=21600"))
    })
    .await;
    let setup = Setup::new();
    let client = setup.client();
    for _ in 0..4 {
        tag(&client, &fake).await.unwrap();
    }
    let quota = &client.quotas()[&fake.host()];
    assert_eq!(quota.to_string(), "8 of 100 requests left in 6 h");
    let notices = setup.notices.lock().unwrap();
    let [Notice::QuotaLow { quota, .. }] = &notices[..] else {
        panic!("{notices:?}");
    };
    assert_eq!(quota.remaining, Some(10));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_on_a_second_connection() {
    let (store, _) = one_image();
    let first = AtomicUsize::new(0);
    let fake = Fake::start(move |seen| match first.fetch_add(1, Ordering::SeqCst) {
        0 => store.reply(seen).delayed_by(seconds(3600)),
        _ => store.reply(seen),
    })
    .await;
    let setup = patient();
    let begun = Instant::now();
    tag(&setup.client(), &fake).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(setup.silences(), [10]);
    assert_eq!(fake.lines().len(), 2);
    let notices = setup.notices.lock().unwrap();
    let [Notice::Silent { address, what, .. }] = &notices[..] else {
        panic!("{notices:?}");
    };
    assert_eq!(*address, Some(fake.address));
    assert_eq!(what, "tag v1 of acme/web");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_scans_for_two_minutes_is_waited_for() {
    let (store, _) = one_image();
    let fake = Fake::start(move |seen| store.reply(seen).delayed_by(seconds(119))).await;
    let setup = patient();
    let begun = Instant::now();
    tag(&setup.client(), &fake).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 119);
    assert_eq!(setup.silences(), [10, 30, 60, 90]);
    assert_eq!(fake.lines().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_asked_for_again() {
    let (store, _) = one_image();
    let first = AtomicUsize::new(0);
    let fake = Fake::start(move |seen| match first.fetch_add(1, Ordering::SeqCst) {
        0 => store.reply(seen).stalled_after(5),
        _ => store.reply(seen),
    })
    .await;
    let setup = patient();
    let begun = Instant::now();
    tag(&setup.client(), &fake).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(setup.silences(), [10]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_silent_is_named_with_all_that_is_known() {
    let (store, _) = one_image();
    let fake = Fake::start(move |seen| store.reply(seen).delayed_by(seconds(86_400))).await;
    let begun = Instant::now();
    let error = tag(&patient().client(), &fake).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 190);
    assert!(error.is_unreachable());
    let fact = |name: &str| {
        let facts = error.facts();
        let fact = facts.iter().find(|fact| fact.name == name);
        fact.map(|fact| fact.value.clone())
    };
    assert_eq!(fact("host"), Some(fake.host()));
    assert_eq!(fact("address"), Some(fake.host()));
    assert_eq!(fact("phase").as_deref(), Some("first-byte"));
    assert_eq!(fact("asked for").as_deref(), Some("tag v1 of acme/web"));
    assert!(fact("not again").is_some());

    let (store, _) = one_image();
    let fake = Fake::start(move |seen| store.reply(seen).stalled_after(5)).await;
    let error = tag(&patient().client(), &fake).await.unwrap_err();
    assert_eq!(error.offset(), Some(5));
}

#[tokio::test]
async fn a_hundred_blobs_pass_one_slot_and_their_logins_too() {
    let mut store = Store::default();
    let blobs: Vec<_> = (0..100)
        .map(|number| descriptor(&store.blob("l", format!("layer {number}"))))
        .collect();
    // The same host gives the tokens, and forgets them when it was asked for fifty blobs.
    let (valid, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let fake = Fake::start(move |seen| {
        let host = seen.header("host").unwrap();
        if seen.target.starts_with("/token") {
            let number = valid.fetch_add(1, Ordering::SeqCst) + 1;
            return Reply::json(200, &json!({"token": format!("t{number}")}));
        }
        let token = format!("Bearer t{}", valid.load(Ordering::SeqCst));
        if seen.header("authorization") == Some(&token) {
            if served.fetch_add(1, Ordering::SeqCst) + 1 == 50 {
                valid.fetch_add(1, Ordering::SeqCst);
            }
            return store.reply(seen);
        }
        let realm = format!("Bearer realm=\"http://{host}/token\"");
        Reply::error(401, "UNAUTHORIZED").header("www-authenticate", realm)
    })
    .await;
    let mut setup = Setup::new();
    setup.config.requests_per_host = 1;
    let client = setup.client();
    let repository = reference(&fake, "").repository;
    let fetching = blobs
        .iter()
        .map(|blob| client.blob_bytes(&repository, blob, 99));
    for bytes in join_all(fetching).await {
        bytes.unwrap();
    }
    let lines = fake.lines();
    let tokens = lines.iter().filter(|line| line.contains("/token"));
    assert_eq!(tokens.count(), 2);
}

#[tokio::test]
async fn at_most_so_many_requests_are_under_way() {
    let (store, _) = one_image();
    let layer = descriptor(&store.clone().blob("l", "layer one"));
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let mut setup = Setup::new();
    setup.config.requests_per_host = 2;
    let client = setup.client();
    let repository = reference(&fake, "").repository;
    let first = client.blob(&repository, &layer).await.unwrap();
    let second = client.blob(&repository, &layer).await.unwrap();
    let third = client.blob(&repository, &layer);
    let mut third = std::pin::pin!(third);
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut third).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.lines().len(), 2);
    drop(first);
    third.await.unwrap();
    drop(second);
}

#[tokio::test]
async fn an_address_that_ran_out_is_asked_for_anew() {
    let (store, _) = one_image();
    let layer = descriptor(&store.clone().blob("l", "layer one"));
    let storage_store = store.clone();
    let storage = Fake::start(move |seen| match seen.target.split_once("?signature=") {
        Some((path, "2")) => {
            let target = path.to_owned();
            storage_store.reply(&Seen {
                target,
                ..seen.clone()
            })
        }
        _ => Reply::new(
            403,
            "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
        ),
    })
    .await;
    let (away, issued) = (storage.host(), AtomicUsize::new(0));
    let fake = Fake::start(move |seen| {
        let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::new(307, "").header(
            "location",
            format!("http://{away}{}?signature={number}", seen.target),
        )
    })
    .await;
    let client = client();
    let repository = reference(&fake, "").repository;
    let bytes = client.blob_bytes(&repository, &layer, 99).await.unwrap();
    assert_eq!(bytes, "layer one");
    assert_eq!((fake.lines().len(), storage.lines().len()), (2, 2));

    // Where a new address is of no use either, the registry's own answer is not asked for again.
    let error = client
        .blob_bytes(&repository, &layer, 99)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Storage { status: 403, .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("signature=3"), "{error}");
    assert_eq!((fake.lines().len(), storage.lines().len()), (4, 4));
}

#[tokio::test]
async fn a_bad_request_means_a_new_address_only_where_it_says_so() {
    for (words, requests) in [
        ("<Error><Code>ExpiredToken</Code></Error>", 2),
        ("<Error><Code>InvalidRange</Code></Error>", 1),
    ] {
        let storage = Fake::start(move |_| Reply::new(400, words)).await;
        let away = storage.host();
        let fake = Fake::start(move |seen| {
            let location = format!("http://{away}{}?signature=1", seen.target);
            Reply::new(307, "").header("location", location)
        })
        .await;
        let repository = reference(&fake, "").repository;
        let blob = Descriptor::new("l", Digest::of(b"any"), 3);
        let error = client()
            .blob_bytes(&repository, &blob, 99)
            .await
            .unwrap_err();
        let ErrorKind::Refused {
            status: 400, code, ..
        } = error.kind()
        else {
            panic!("{error}");
        };
        assert!(words.contains(code.as_deref().unwrap()));
        assert_eq!(storage.lines().len(), requests, "{words}");
    }
}

#[tokio::test]
async fn scopes_that_a_registry_makes_one_take_one_token() {
    let (store, _) = one_image();
    let fake = Fake::start(guarded(store, None, Value::Null)).await;
    let client = client();
    tag(&client, &fake).await.unwrap();
    let other = format!("{}/acme/other:v1", fake.host())
        .parse::<Reference>()
        .unwrap();
    let absent = client
        .manifest(&other.repository, &Selector::Tag("v1".into()))
        .await
        .unwrap_err();
    assert!(absent.is_absence(), "{absent}");
    let tokens = fake
        .lines()
        .iter()
        .filter(|line| line.contains("/token"))
        .count();
    assert_eq!(tokens, 1);
}
