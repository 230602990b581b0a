//! The client against a registry that behaves, and against one that does not.

mod push;
mod stubborn;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fake::{Fake, INDEX, Reply, Seen, Store};
use super::*;
use crate::clock::Clock;
use crate::failure::Explain as _;
use crate::net;

/// A client without credentials, and what it has told.
struct Setup {
    config: Config,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Setup {
    fn new() -> Self {
        let http = net::Client::new(net::Config::default()).unwrap();
        let mut config = Config::new(http, Clock::fixed(jiff::Timestamp::UNIX_EPOCH));
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let told = notices.clone();
        config.notices = Arc::new(move |notice| told.lock().unwrap().push(notice));
        config.retry.first_pause = Duration::from_millis(2);
        config.retry.longest_pause = Duration::from_millis(4);
        Self { config, notices }
    }

    fn with_password(mut self, host: &str, password: &str) -> Self {
        let credential = Credential::Basic {
            username: "ci".into(),
            password: Secret::new(password),
        };
        self.config.credentials = Credentials::new([(host.to_owned(), credential)], Vec::new());
        self
    }

    fn client(&self) -> Client {
        Client::new(self.config.clone())
    }

    fn waits(&self) -> Vec<Duration> {
        let wait = |notice: &Notice| match notice {
            Notice::Retrying { wait, .. } => Some(*wait),
            _ => None,
        };
        self.notices
            .lock()
            .unwrap()
            .iter()
            .filter_map(wait)
            .collect()
    }
}

fn client() -> Client {
    Setup::new().client()
}

fn reference(fake: &Fake, rest: &str) -> Reference {
    format!("{}/acme/web{rest}", fake.host()).parse().unwrap()
}

fn preferred(platform: &str) -> PlatformRule {
    PlatformRule::Preferred(platform.parse().unwrap())
}

fn required(platform: &str) -> PlatformRule {
    PlatformRule::Required(platform.parse().unwrap())
}

fn digest(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

fn descriptor(value: &Value) -> Descriptor {
    serde_json::from_value(value.clone()).unwrap()
}

/// A store with one tagged image of two layers.
fn one_image() -> (Store, Value) {
    let mut store = Store::default();
    let image = store.image("linux/amd64", &[b"layer one", b"layer two"]);
    store.tag("v1", &image);
    (store, image)
}

/// Asks for Bearer tokens that a service on the same address hands out under `/token`.
fn guarded(
    store: Store,
    password: Option<&'static str>,
    expires: Value,
) -> impl Fn(&Seen) -> Reply {
    let issued = AtomicUsize::new(0);
    move |seen| {
        let host = seen.header("host").unwrap();
        if seen.target.starts_with("/token") {
            if let Some(password) = password {
                let wanted = format!("Basic {}", STANDARD.encode(format!("ci:{password}")));
                if seen.header("authorization") != Some(wanted.as_str()) {
                    return Reply::json(401, &json!({"details": "incorrect username or password"}));
                }
            }
            let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
            return Reply::json(
                200,
                &json!({"access_token": format!("t{number}"), "expires_in": expires}),
            );
        }
        let newest = format!("Bearer t{}", issued.load(Ordering::SeqCst));
        if newest != "Bearer t0" && seen.header("authorization") == Some(newest.as_str()) {
            return store.reply(seen);
        }
        let challenge = format!(
            "Bearer realm=\"http://{host}/token\",service=\"fake\",scope=\"repository:acme/web:pull\""
        );
        Reply::error(401, "UNAUTHORIZED").header("www-authenticate", challenge)
    }
}

#[tokio::test]
async fn a_tag_is_resolved_in_one_request_a_manifest() {
    let mut store = Store::default();
    let amd = store.image("linux/amd64", &[b"amd"]);
    let arm = store.image("linux/arm64", &[b"arm"]);
    let mut attestation = amd.clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let index = store.index(&[attestation, amd, arm.clone()]);
    store.tag("v1", &index);
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let resolved = client()
        .resolve(&reference(&fake, ":v1"), &required("linux/arm64"))
        .await
        .unwrap();
    assert_eq!(resolved.digest, digest(&index));
    assert_eq!(resolved.manifest_digest(), digest(&arm));
    assert_eq!(resolved.platform.unwrap().to_string(), "linux/arm64");
    assert_eq!(resolved.layers[0].digest, Digest::of(b"arm"));
    let arm_line = format!("GET /v2/acme/web/manifests/{}", digest(&arm));
    assert_eq!(fake.lines(), ["GET /v2/acme/web/manifests/v1", &arm_line]);
    let seen = &fake.seen()[0];
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert!(seen.header("accept").unwrap().contains(INDEX));
    assert!(seen.header("user-agent").unwrap().starts_with("shipgate/"));
}

#[tokio::test]
async fn platforms_that_are_missing_are_named() {
    let mut store = Store::default();
    let amd = store.image("linux/amd64", &[b"amd"]);
    let nested = store.index(&[amd]);
    let index = store.index(&[nested]);
    store.tag("nested", &index);
    let image = store.image("linux/amd64", &[b"layer"]);
    store.tag("v1", &image);
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let nested = client()
        .resolve(&reference(&fake, ":nested"), &required("linux/amd64"))
        .await
        .unwrap();
    assert_eq!(nested.chain.len(), 3);
    let error = client()
        .resolve(&reference(&fake, ":nested"), &preferred("linux/s390x"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has no image for linux/s390x, only for linux/amd64"),
        "{error}"
    );

    // A single manifest is taken as it is, unless somebody asked for another platform.
    let single = reference(&fake, ":v1");
    let taken = client()
        .resolve(&single, &preferred("linux/arm64"))
        .await
        .unwrap();
    assert_eq!((taken.digest, taken.platform), (digest(&image), None));
    let error = client()
        .resolve(&single, &required("linux/arm64"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().ends_with("only for linux/amd64"),
        "{error}"
    );
    let right = client()
        .resolve(&single, &required("linux/amd64"))
        .await
        .unwrap();
    assert!(right.config_bytes.is_some());
}

#[tokio::test]
async fn lies_about_types_and_digests() {
    let (store, image) = one_image();
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        "/v2/acme/web/manifests/v1" => store
            .reply(seen)
            .replacing("content-type", "text/html")
            .header("docker-content-digest", Digest::of(b"lie").to_string()),
        target if target.contains("manifests/sha256") => Reply::new(200, "{\"schemaVersion\":2}"),
        _ => store.reply(seen),
    })
    .await;
    let repository = reference(&fake, "").repository;
    let manifest = client()
        .manifest(&repository, &Selector::Tag("v1".into()))
        .await
        .unwrap();
    assert_eq!(manifest.digest, digest(&image));
    let error = client()
        .manifest(&repository, &Selector::Digest(digest(&image)))
        .await
        .unwrap_err();
    let ErrorKind::DigestMismatch {
        expected,
        found,
        bytes,
        ..
    } = error.kind()
    else {
        panic!("{error}");
    };
    assert_eq!(
        (*expected, *found, *bytes),
        (digest(&image), Digest::of(b"{\"schemaVersion\":2}"), 19)
    );
    assert!(!error.is_absence());
}

#[tokio::test]
async fn manifests_over_the_limit_are_not_read() {
    let fake = Fake::start(|_| Reply::new(200, vec![b' '; 4 * 1024 * 1024 + 1])).await;
    let error = client()
        .resolve(&reference(&fake, ":v1"), &preferred("a/b"))
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::TooLarge { .. }),
        "{error}"
    );
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test]
async fn absent_is_not_the_same_as_unknown() {
    let (store, _) = one_image();
    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let repository = reference(&fake, "").repository;
    let tag = |tag: &str| Selector::Tag(tag.into());
    assert!(
        client()
            .manifest_if_exists(&repository, &tag("v2"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        client()
            .head_manifest(&repository, &tag("v2"))
            .await
            .unwrap()
            .is_none()
    );
    let head = client()
        .head_manifest(&repository, &tag("v1"))
        .await
        .unwrap()
        .unwrap();
    assert!(head.size.unwrap() > 100);
    let error = client()
        .manifest(&repository, &tag("v2"))
        .await
        .unwrap_err();
    assert!(error.is_absence());
    insta::assert_snapshot!(error.to_string().replace(&fake.host(), "HOST"), @"tag v2 of acme/web does not exist in HOST (it says: it is MANIFEST_UNKNOWN)");
    assert!(client().manifest(&repository, &tag("../x")).await.is_err());
    assert_eq!(fake.lines().len(), 4);

    let gone = Repository {
        registry: {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().to_string()
        },
        path: "acme/web".into(),
    };
    let setup = Setup::new();
    let error = setup
        .client()
        .manifest_if_exists(&gone, &tag("v1"))
        .await
        .unwrap_err();
    assert!(error.is_unreachable() && !error.is_absence());
    assert_eq!(setup.waits().len(), 4);
    assert!(
        error
            .facts()
            .iter()
            .any(|fact| fact.name == "phase" && fact.value == "connect")
    );
}

#[tokio::test]
async fn one_token_for_many_requests_at_once() {
    let (store, image) = one_image();
    let fake = Fake::start(guarded(store, None, Value::Null)).await;
    let client = client();
    let repository = reference(&fake, "").repository;
    let selector = Selector::Digest(digest(&image));
    let many = (0..8).map(|_| client.manifest(&repository, &selector));
    for outcome in futures_util::future::join_all(many).await {
        outcome.unwrap();
    }
    let tokens: Vec<_> = fake
        .lines()
        .into_iter()
        .filter(|line| line.contains("/token"))
        .collect();
    assert_eq!(
        tokens,
        ["GET /token?service=fake&scope=repository%3Aacme%2Fweb%3Apull"]
    );
    client.manifest(&repository, &selector).await.unwrap();
    assert_eq!(
        fake.lines()
            .iter()
            .filter(|line| line.contains("/token"))
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_are_renewed_before_they_run_out_and_when_they_are_refused() {
    let (store, _) = one_image();
    let fake = Fake::start(guarded(store, Some("right"), json!(100))).await;
    let client = Setup::new().with_password(&fake.host(), "right").client();
    let repository = reference(&fake, "").repository;
    let selector = Selector::Tag("v1".into());
    let tokens = || {
        fake.lines()
            .iter()
            .filter(|line| line.contains("/token"))
            .count()
    };
    client.manifest(&repository, &selector).await.unwrap();
    tokio::time::advance(Duration::from_secs(80)).await;
    client.manifest(&repository, &selector).await.unwrap();
    assert_eq!(tokens(), 1);
    tokio::time::advance(Duration::from_secs(11)).await;
    client.manifest(&repository, &selector).await.unwrap();
    assert_eq!(tokens(), 2);
    // No request went out with the old token, so there was only the first 401.
    let manifests = fake
        .lines()
        .iter()
        .filter(|line| line.contains("manifests"))
        .count();
    assert_eq!(manifests, 4);
}

#[tokio::test]
async fn a_token_that_the_registry_forgot_is_fetched_again() {
    let (store, _) = one_image();
    let forget = Arc::new(AtomicUsize::new(0));
    let inner = guarded(store, None, json!(3600));
    let flag = forget.clone();
    let fake = Fake::start(move |seen| {
        let mut seen = seen.clone();
        if seen.target.contains("manifests") && flag.swap(0, Ordering::SeqCst) == 1 {
            seen.headers.remove("authorization");
        }
        inner(&seen)
    })
    .await;
    let client = client();
    let repository = reference(&fake, "").repository;
    for round in 0..2 {
        forget.store(round, Ordering::SeqCst);
        client
            .manifest(&repository, &Selector::Tag("v1".into()))
            .await
            .unwrap();
    }
    assert_eq!(
        fake.lines()
            .iter()
            .filter(|line| line.contains("/token"))
            .count(),
        2
    );
}

#[tokio::test]
async fn a_wrong_password_is_named_with_its_source_and_not_sent_again_and_again() {
    let (store, _) = one_image();
    let fake = Fake::start(guarded(store, Some("right"), Value::Null)).await;
    let client = Setup::new()
        .with_password(&fake.host(), "wr0ng-password")
        .client();
    let resolving = (0..4).map(|_| async {
        let error = client
            .resolve(&reference(&fake, ":v1"), &preferred("a/b"))
            .await
            .unwrap_err();
        assert!(!format!("{error:?} {:?} {:?}", error.facts(), error.hint()).contains("wr0ng"));
        error.to_string().replace(&fake.host(), "HOST")
    });
    let errors = futures_util::future::join_all(resolving).await;
    insta::assert_snapshot!(errors[0], @"HOST gives no access to repository:acme/web:pull: `ci` from the pipeline was used (it says: incorrect username or password)");
    assert_eq!(
        fake.lines()
            .iter()
            .filter(|line| line.contains("/token"))
            .count(),
        1
    );
}

#[tokio::test]
async fn an_identity_token_goes_by_post_and_a_basic_login_in_the_header() {
    let (store, _) = one_image();
    let fake = Fake::start(move |seen| {
        let host = seen.header("host").unwrap();
        match (seen.target.as_str(), seen.header("authorization")) {
            ("/token", _) => {
                let body = String::from_utf8(seen.body.to_vec()).unwrap();
                assert!(
                    body.contains(
                        "grant_type=refresh_token&client_id=shipgate&refresh_token=id%2Ftoken"
                    ),
                    "{body}"
                );
                Reply::json(200, &json!({"access_token": "t"}))
            }
            (_, Some("Bearer t")) => store.reply(seen),
            _ => Reply::error(401, "UNAUTHORIZED").header(
                "www-authenticate",
                format!("Bearer realm=\"http://{host}/token\""),
            ),
        }
    })
    .await;
    let mut setup = Setup::new();
    let config = json!({"auths": {fake.host(): {"identitytoken": "id/token"}}}).to_string();
    let config = DockerConfig::parse(config.as_bytes()).unwrap();
    let file = AuthFile::without_helpers("docker config", config);
    setup.config.credentials = Credentials::new([], vec![credentials::Source::File(file)]);
    setup
        .client()
        .resolve(&reference(&fake, ":v1"), &preferred("a/b"))
        .await
        .unwrap();
    assert_eq!(fake.seen()[1].method, http::Method::POST);

    let (store, _) = one_image();
    let wanted = format!("Basic {}", STANDARD.encode("ci:s3cret"));
    let fake = Fake::start(move |seen| match seen.header("authorization") {
        Some(found) if found == wanted => store.reply(seen),
        _ => Reply::error(401, "UNAUTHORIZED").header("www-authenticate", "Basic realm=\"r\""),
    })
    .await;
    let client = Setup::new().with_password(&fake.host(), "s3cret").client();
    for _ in 0..2 {
        client
            .resolve(&reference(&fake, ":v1"), &preferred("a/b"))
            .await
            .unwrap();
    }
    // Only the first request had to be told.
    assert_eq!(fake.lines().len(), 3);
}

#[tokio::test]
async fn credentials_never_leave_their_host() {
    let (store, _) = one_image();
    let layer = descriptor(&store.clone().blob("l", "layer one"));
    let cdn_store = store.clone();
    let cdn = Fake::start(move |seen| match seen.target.split_once('?') {
        Some((path, "X-Sig=s3cret")) => {
            let target = path.to_owned();
            let seen = Seen {
                target,
                ..seen.clone()
            };
            cdn_store.reply(&seen)
        }
        _ => Reply::error(403, "DENIED"),
    })
    .await;
    let away = cdn.host();
    let inner = guarded(store, Some("right"), Value::Null);
    let fake = Fake::start(move |seen| match inner(seen) {
        reply if !seen.target.contains("/blobs/") || seen.header("authorization").is_none() => {
            reply
        }
        _ => Reply::new(307, "").header(
            "location",
            format!("http://{away}{}?X-Sig=s3cret", seen.target),
        ),
    })
    .await;
    let client = Setup::new().with_password(&fake.host(), "right").client();
    let repository = reference(&fake, "").repository;
    let bytes = client.blob_bytes(&repository, &layer, 99).await.unwrap();
    assert_eq!(bytes, "layer one");
    // What the storage host lacks may still be in the registry, and its URL's secret stays one.
    let other = Descriptor::new("l", Digest::of(b"other"), 5);
    let error = client
        .blob_bytes(&repository, &other, 99)
        .await
        .unwrap_err();
    assert!(!error.is_absence(), "{error}");
    assert!(!format!("{error} {error:?} {:?}", error.facts()).contains("s3cret"));
    let with_login = |seen: &Seen| seen.header("authorization").is_some();
    assert!(fake.seen().iter().any(with_login));
    assert_eq!(cdn.seen().len(), 2);
    assert!(!cdn.seen().iter().any(with_login));
}

/// A registry whose blobs are at another host, and that host.
async fn blobs_elsewhere(store: Store) -> (Fake, Fake) {
    let inner = store.clone();
    let storage = Fake::start(move |seen| inner.reply(seen)).await;
    let away = storage.host();
    let registry = Fake::start(move |seen| match seen.target.contains("/blobs/") {
        false => store.reply(seen),
        true => Reply::new(307, "").header("location", format!("http://{away}{}", seen.target)),
    })
    .await;
    (registry, storage)
}

#[tokio::test]
async fn the_hosts_that_a_registry_names_are_remembered() {
    let (store, _) = one_image();
    let layer = descriptor(&store.clone().blob("l", "layer one"));
    let (fake, storage) = blobs_elsewhere(store).await;
    let client = client();
    let repository = reference(&fake, "").repository;
    assert!(client.met().is_empty());
    client.blob_bytes(&repository, &layer, 99).await.unwrap();
    let met = client.met();
    let named: Vec<String> = met[&fake.host()]
        .all()
        .map(|(role, place)| format!("{}: {place}", role.key()))
        .collect();
    assert_eq!(named, [format!("blobs-from: {}", storage.host())]);
    // What is listed for a registry is no different natively.
    assert!(client.listed(&fake.host()).is_empty());
}

#[tokio::test]
async fn a_host_that_is_held_back_comes_with_the_line_that_lists_it() {
    let (store, _) = one_image();
    let layer = descriptor(&store.clone().blob("l", "layer one"));
    let (fake, storage) = blobs_elsewhere(store).await;
    let mut setup = Setup::new();
    let grant = net::Grant::try_new("127.0.0.1", fake.address.port()).unwrap();
    setup.config.http = net::Client::new(net::Config {
        grants: net::Grants::only([grant]),
        ..net::Config::default()
    })
    .unwrap();
    let repository = reference(&fake, "").repository;
    let shown = |error: &Error| {
        let text = format!("{error}\n{}", error.hint().unwrap_or_default());
        text.replace(&fake.host(), "HOST")
            .replace(&storage.host(), "STORAGE")
    };
    let refused = setup.client().blob_bytes(&repository, &layer, 99).await;
    insta::assert_snapshot!(shown(&refused.unwrap_err()), @r#"
    HOST redirects to STORAGE, which is not granted
    if STORAGE is right, add it under `registries`: `"HOST": {blobs-from: ["STORAGE"]}`; or let `plan --lock FILE`, run outside of the sandbox, write down where HOST leads, and give the run the same `--lock`
    "#);
    assert!(storage.seen().is_empty() && setup.waits().is_empty());

    // A host that is listed and held back all the same needs no line: a policy takes it away.
    let line = format!(r#"{{"blobs":["{}"]}}"#, storage.host());
    let document = [(fake.host(), serde_json::from_str(&line).unwrap())].into();
    setup.config.hosts = Hosts::new(document, Default::default());
    let refused = setup.client().blob_bytes(&repository, &layer, 99).await;
    insta::assert_snapshot!(shown(&refused.unwrap_err()), @r"
    can't get a whole answer from STORAGE
    to allow it, add `--allow-host STORAGE`
    ");
}

#[tokio::test]
async fn credentials_go_to_no_token_service_of_another_site() {
    let fake = Fake::start(|_| {
        let realm = "Bearer realm=\"https://auth.elsewhere.invalid/token\",service=\"r\"";
        Reply::error(401, "UNAUTHORIZED").header("www-authenticate", realm.to_owned())
    })
    .await;
    let client = Setup::new().with_password(&fake.host(), "right").client();
    let error = client
        .resolve(&reference(&fake, ":v1"), &preferred("a/b"))
        .await
        .unwrap_err();
    let text = format!("{error}\n{}", error.hint().unwrap_or_default());
    insta::assert_snapshot!(text.replace(&fake.host(), "HOST"), @r#"
    HOST names auth.elsewhere.invalid as its token service, and credentials are not sent there
    if auth.elsewhere.invalid is the token service of HOST, add under `registries`: `"HOST": {tokens-from: ["auth.elsewhere.invalid"]}`; else tell who runs HOST
    "#);
    // Nobody looked its name up either.
    assert_eq!(client.log().records().len(), 1);
}

#[tokio::test]
async fn redirects_are_followed_five_times_and_keep_the_login_on_the_same_host() {
    let (store, _) = one_image();
    let inner = guarded(store, None, Value::Null);
    let fake = Fake::start(move |seen| {
        let Some((hops, rest)) = seen
            .target
            .strip_prefix("/v2/acme/web/manifests/h")
            .and_then(|t| t.split_once('-'))
        else {
            return inner(seen);
        };
        if seen.header("authorization").is_none() {
            return inner(seen);
        }
        let to = match hops.parse::<u32>().unwrap() {
            0 => format!("/v2/acme/web/manifests/{rest}"),
            left => format!("h{}-{rest}", left - 1),
        };
        Reply::new(301, "moved").header("location", to)
    })
    .await;
    let repository = reference(&fake, "").repository;
    let client = client();
    client
        .manifest(&repository, &Selector::Tag("h4-v1".into()))
        .await
        .unwrap();
    let error = client
        .manifest(&repository, &Selector::Tag("h5-v1".into()))
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Redirect { .. }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn servers_that_fail_are_asked_five_times() {
    for status in [408, 429, 500, 502, 503, 504] {
        let (store, _) = one_image();
        let left = AtomicUsize::new(4);
        let fake = Fake::start(move |seen| {
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            }) {
                Ok(_) => Reply::new(status, ""),
                Err(_) => store.reply(seen),
            }
        })
        .await;
        let mut setup = Setup::new();
        setup.config.retry = RetryPolicy {
            random: Arc::new(|| 1.0),
            ..RetryPolicy::default()
        };
        setup
            .client()
            .resolve(&reference(&fake, ":v1"), &preferred("a/b"))
            .await
            .unwrap();
        assert_eq!(fake.lines().len(), 5, "{status}");
        // Who limits the rate without naming a time is given more of it.
        let first = if status == 429 { 2000 } else { 250 };
        let pauses = [1, 2, 4, 8].map(|times| Duration::from_millis(first * times));
        assert_eq!(setup.waits(), pauses, "{status}");
    }
    let fake = Fake::start(|_| Reply::error(400, "UNSUPPORTED")).await;
    client()
        .resolve(&reference(&fake, ":v1"), &preferred("a/b"))
        .await
        .unwrap_err();
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_is_kept_by_everyone() {
    let (store, image) = one_image();
    let first = AtomicUsize::new(1);
    let fake = Fake::start(move |seen| match first.swap(0, Ordering::SeqCst) {
        1 => Reply::error(429, "TOOMANYREQUESTS").header("retry-after", "7"),
        _ => store.reply(seen),
    })
    .await;
    let setup = Setup::new();
    let client = setup.client();
    let begun = Instant::now();
    let reference = reference(&fake, ":v1");
    client.resolve(&reference, &preferred("a/b")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(7));
    assert_eq!(setup.waits(), [Duration::from_secs(7)]);

    let fake = Fake::start(|_| {
        let reply =
            Reply::error(429, "TOOMANYREQUESTS").header("date", "Thu, 01 Jan 2026 00:00:00 GMT");
        reply.header("retry-after", "Thu, 01 Jan 2026 01:00:00 GMT")
    })
    .await;
    let begun = Instant::now();
    let repository = self::reference(&fake, "").repository;
    let error = client
        .manifest(&repository, &Selector::Digest(digest(&image)))
        .await
        .unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test]
async fn blobs_are_checked_to_the_last_byte() {
    let (store, _) = one_image();
    let good = descriptor(&store.clone().blob("l", "layer one"));
    let fake = Fake::start(move |seen| match seen.header("x") {
        _ if seen.target.ends_with(&Digest::of(b"other").hex()) => Reply::new(200, "othre"),
        _ => store.reply(seen),
    })
    .await;
    let repository = reference(&fake, "").repository;
    assert_eq!(
        client().blob_bytes(&repository, &good, 9).await.unwrap(),
        "layer one"
    );
    assert!(client().blob_bytes(&repository, &good, 8).await.is_err());
    let other = Descriptor::new("l", Digest::of(b"other"), 5);
    let error = client()
        .blob_bytes(&repository, &other, 9)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::DigestMismatch { bytes: 5, .. }),
        "{error}"
    );
    let longer = Descriptor {
        size: 8,
        ..good.clone()
    };
    let error = client().blob(&repository, &longer).await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::SizeMismatch {
                expected: 8,
                found: 9,
                ..
            }
        ),
        "{error}"
    );
    let foreign = Descriptor {
        urls: vec!["https://me:pw@evil.example/x?s=1".into()],
        ..good
    };
    let error = client().blob(&repository, &foreign).await.unwrap_err();
    let ErrorKind::ForeignLayer { hosts, .. } = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(hosts, &["evil.example"]);
}

#[tokio::test]
async fn referrers_come_in_pages_and_are_filtered_by_whoever_did_not() {
    for server_filters in [true, false] {
        let fake = Fake::start(move |seen| {
            let entry = |number: usize, kind: &str| {
                let digest = Digest::of(&[u8::try_from(number).unwrap()]);
                json!({"mediaType": INDEX, "digest": digest, "size": 1, "artifactType": kind})
            };
            let page = usize::from(seen.target.contains("page=2"));
            let mut entries = vec![entry(page, "sig")];
            if !server_filters {
                entries.push(entry(page + 10, "sbom"));
            }
            let mut reply = Reply::json(
                200,
                &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}),
            );
            if server_filters {
                reply = reply.header("oci-filters-applied", "artifactType");
            }
            if page == 0 {
                let next = format!("<{}&page=2>; rel=\"next\"", seen.target);
                reply = reply.header("link", next);
            }
            reply
        })
        .await;
        let repository = reference(&fake, "").repository;
        let subject = Digest::of(b"subject");
        let found = client()
            .referrers(&repository, &subject, Some("sig"))
            .await
            .unwrap();
        assert_eq!(found.place, Place::Api);
        assert_eq!(found.descriptors.len(), 2);
        assert_eq!(fake.lines().len(), 2);
        assert!(fake.lines()[0].ends_with(&format!("/referrers/{subject}?artifactType=sig")));
        let all = client()
            .referrers(&repository, &subject, None)
            .await
            .unwrap();
        assert_eq!(all.descriptors.len(), if server_filters { 2 } else { 4 });
    }
}

#[tokio::test]
async fn an_endless_list_of_referrers_is_refused() {
    let fake = Fake::start(|seen| {
        let page = seen
            .target
            .split("page=")
            .nth(1)
            .map_or(0, |n| n.parse::<u32>().unwrap());
        let path = seen.target.split('?').next().unwrap().to_owned();
        Reply::json(
            200,
            &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}),
        )
        .header("link", format!("<{path}?page={}>; rel=\"next\"", page + 1))
    })
    .await;
    let repository = reference(&fake, "").repository;
    let error = client()
        .referrers(&repository, &Digest::of(b"s"), None)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::TooLarge { .. }),
        "{error}"
    );
    assert_eq!(fake.lines().len(), 100);
}

#[tokio::test]
async fn without_the_api_the_fallback_tag_is_asked() {
    let mut store = Store::default();
    let subject = Digest::of(b"subject");
    let mut signature = store.manifest(super::fake::IMAGE, &json!({"config": {}, "layers": []}));
    // cosign 3.1.1 writes this type there, so it must not be filtered by.
    signature["artifactType"] = "application/vnd.oci.empty.v1+json".into();
    let index = store.index(&[signature]);
    let with = {
        let mut store = store.clone();
        store.tag(&format!("sha256-{}", subject.hex()), &index);
        store
    };
    let fake = Fake::start(move |seen| with.reply(seen)).await;
    let found = client()
        .referrers(&reference(&fake, "").repository, &subject, Some("sig"))
        .await
        .unwrap();
    assert_eq!(
        (found.place, found.descriptors.len()),
        (Place::FallbackTag, 1)
    );
    assert_eq!(fake.lines().len(), 2);

    let fake = Fake::start(move |seen| store.reply(seen)).await;
    let found = client()
        .referrers(&reference(&fake, "").repository, &subject, None)
        .await
        .unwrap();
    assert_eq!((found.place, found.descriptors.len()), (Place::Neither, 0));

    let fake = Fake::start(|seen| match seen.target.contains("referrers") {
        true => Reply::new(404, ""),
        false => Reply::error(403, "DENIED"),
    })
    .await;
    let error = client()
        .referrers(&reference(&fake, "").repository, &subject, None)
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Denied { .. }), "{error}");
}

#[tokio::test]
async fn health() {
    let fake = Fake::start(|_| {
        Reply::json(200, &json!({})).header("docker-distribution-api-version", "registry/2.0")
    })
    .await;
    let health = client().ping(&fake.host()).await.unwrap();
    assert_eq!(
        (health.access, health.api_version.as_deref()),
        (Access::Open, Some("registry/2.0"))
    );

    let fake = Fake::start(guarded(Store::default(), Some("right"), Value::Null)).await;
    let health = client().ping(&fake.host()).await.unwrap();
    assert_eq!(
        (health.access, health.challenge.as_deref()),
        (Access::NeedsLogin, Some("bearer by 127.0.0.1"))
    );
    let health = Setup::new()
        .with_password(&fake.host(), "right")
        .client()
        .ping(&fake.host())
        .await
        .unwrap();
    assert_eq!(health.access, Access::LoggedIn);
    let health = Setup::new()
        .with_password(&fake.host(), "wrong")
        .client()
        .ping(&fake.host())
        .await
        .unwrap();
    assert!(
        matches!(health.access, Access::LoginRefused { .. }),
        "{:?}",
        health.access
    );

    let page = Fake::start(|_| Reply::new(401, "<html>")).await;
    assert!(matches!(
        client().ping(&page.host()).await.unwrap_err().kind(),
        ErrorKind::Malformed { .. }
    ));
    let other = Fake::start(|_| Reply::new(404, "<html>")).await;
    assert!(client().ping(&other.host()).await.is_err());
}
