//! Mirrors that behave, that are dead, that lie, and what it costs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::*;
use crate::clock::Clock;
use crate::net::{self, Piece};
use crate::oci::fake::{Fake, Reply, Seen, Store};
use crate::oci::{
    Client, Config, Credential, Credentials, Descriptor, Digest, Error, ErrorKind, Notice, Place,
    Platform, PlatformRule, Reference, Resolved, Secret, Selector,
};

/// An image, the registry that has it, and mirrors of that.
struct Scene {
    store: Store,
    image: Value,
    origin: Fake,
    mirrors: Vec<Arc<Mirror>>,
    fallback: Fallback,
    given: Vec<(String, Credential)>,
}

impl Scene {
    async fn new() -> Self {
        let mut store = Store::default();
        let image = store.image("linux/amd64", &[b"layer one", b"layer two"]);
        store.tag("v1", &image);
        let of_origin = store.clone();
        let origin = Fake::start(move |seen| with_digest(of_origin.reply(seen))).await;
        Self {
            store,
            image,
            origin,
            mirrors: Vec::new(),
            fallback: Fallback::Allow,
            given: Vec::new(),
        }
    }

    fn mirror(&mut self, address: &str, kind: Kind) -> &mut Mirror {
        let mirror = Mirror::new(address.parse().unwrap(), kind);
        self.mirrors.push(Arc::new(mirror));
        Arc::get_mut(self.mirrors.last_mut().unwrap()).unwrap()
    }

    /// Starts a mirror that answers as the store does, with `change` before it.
    async fn served(
        &mut self,
        change: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
    ) -> Fake {
        let store = self.store.clone();
        let fake = Fake::start(move |seen| {
            change(seen).unwrap_or_else(|| {
                let plain = seen.target.split('?').next().unwrap().to_owned();
                let seen = Seen {
                    target: plain,
                    ..seen.clone()
                };
                store.reply(&seen).in_range(&seen)
            })
        })
        .await;
        self.mirror(&fake.host(), Kind::Plain);
        fake
    }

    fn client(&self) -> (Client, Arc<Mutex<Vec<String>>>) {
        let http = net::Client::new(net::Config::default()).unwrap();
        let mut config = Config::new(http, Clock::fixed(jiff::Timestamp::UNIX_EPOCH));
        let notices: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = notices.clone();
        config.notices = Arc::new(move |notice| {
            if let Notice::Warning { message } = notice {
                told.lock().unwrap().push(message);
            }
        });
        config.retry.first_pause = Duration::from_millis(2);
        config.retry.longest_pause = Duration::from_millis(4);
        config.credentials = Credentials::new(self.given.clone(), Vec::new());
        let sources = Sources {
            mirrors: self.mirrors.clone(),
            fallback: self.fallback,
        };
        config.mirrors = Mirrors::new([(self.origin.host(), sources)]);
        (Client::new(config), notices)
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/acme/web{rest}", self.origin.host())
            .parse()
            .unwrap()
    }

    async fn resolve(&self, client: &Client) -> Result<Resolved, Error> {
        let rule = PlatformRule::Preferred("linux/amd64".parse::<Platform>().unwrap());
        client.resolve(&self.reference(":v1"), &rule).await
    }

    fn digest(&self) -> Digest {
        self.image["digest"].as_str().unwrap().parse().unwrap()
    }

    async fn layers(&self, client: &Client, image: &Resolved) -> Result<Vec<Vec<u8>>, Error> {
        let mut all = Vec::new();
        for layer in &image.layers {
            let repository = &image.reference.repository;
            all.push(client.blob_bytes(repository, layer, 1000).await?.to_vec());
        }
        Ok(all)
    }
}

fn with_digest(reply: Reply) -> Reply {
    let digest = Digest::of(reply.bytes()).to_string();
    reply.header("docker-content-digest", digest)
}

fn repository(reference: &Reference) -> &Repository {
    &reference.repository
}

fn good() -> [Vec<u8>; 2] {
    [b"layer one".to_vec(), b"layer two".to_vec()]
}

/// A server that takes connections and never answers.
async fn silent() -> (Fake, String) {
    let fake = Fake::start(|_| Reply::new(200, "").delayed_by(Duration::from_secs(3600))).await;
    let host = fake.host();
    (fake, host)
}

#[tokio::test]
async fn a_tag_is_the_origins_to_say_and_the_rest_the_mirrors() {
    let mut scene = Scene::new().await;
    let mirror = scene.served(|_| None).await;
    let (client, notices) = scene.client();
    let image = scene.resolve(&client).await.unwrap();
    assert_eq!(scene.layers(&client, &image).await.unwrap(), good());
    // Docker Hub does not count this one.
    assert_eq!(scene.origin.lines(), ["HEAD /v2/acme/web/manifests/v1"]);
    let ns = format!("?ns={}", scene.origin.host().replace(':', "%3A"));
    let lines = mirror.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("GET ") && line.ends_with(&ns)),
        "{lines:?}"
    );
    assert_eq!(
        lines[0],
        format!("GET /v2/acme/web/manifests/{}{ns}", scene.digest())
    );
    assert!(notices.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_mirror_that_is_trusted_with_tags_is_asked_for_them_first() {
    let mut scene = Scene::new().await;
    let mirror = scene.served(|_| None).await;
    Arc::get_mut(&mut scene.mirrors[0]).unwrap().resolves = true;
    scene.fallback = Fallback::Deny;
    let (client, _) = scene.client();
    let image = scene.resolve(&client).await.unwrap();
    assert_eq!(image.digest, scene.digest());
    assert!(scene.origin.lines().is_empty());
    assert!(mirror.lines()[0].contains("/manifests/v1?"));
}

#[tokio::test]
async fn every_refusal_passes_the_question_on_at_once() {
    for status in [401, 403, 404, 429, 500, 502, 503] {
        let mut scene = Scene::new().await;
        let mirror = scene
            .served(move |_| Some(Reply::error(status, "X").header("retry-after", "600")))
            .await;
        let (client, _) = scene.client();
        let begun = Instant::now();
        let image = scene.resolve(&client).await.unwrap();
        assert_eq!(
            scene.layers(&client, &image).await.unwrap(),
            good(),
            "{status}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5), "{status}");
        // What limits us, keeps all from us, or fails twice is not asked for each blob.
        let asked = mirror.lines().len();
        let most = match status {
            404 => 3,
            401 | 403 | 429 => 1,
            _ => 2,
        };
        assert_eq!(asked, most, "{status}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_passes_the_question_on() {
    let mut scene = Scene::new().await;
    let mirror = scene
        .served(|seen| Some(Reply::new(200, "half of it").cut_after(seen.target.len().min(3))))
        .await;
    let (client, _) = scene.client();
    let image = scene.resolve(&client).await.unwrap();
    assert_eq!(scene.layers(&client, &image).await.unwrap(), good());
    assert!(!mirror.lines().is_empty());
}

#[tokio::test]
async fn wrong_bytes_are_named_and_not_asked_for_again() {
    let mut scene = Scene::new().await;
    let mirror = scene
        .served(|_| Some(Reply::new(200, "something else")))
        .await;
    let (client, notices) = scene.client();
    let image = scene.resolve(&client).await.unwrap();
    assert_eq!(scene.layers(&client, &image).await.unwrap(), good());
    assert_eq!(mirror.lines().len(), 1);
    let told = notices.lock().unwrap();
    assert!(
        told.len() == 1
            && told[0].contains(&mirror.host())
            && told[0].contains("sent other bytes for sha256:"),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_is_silent_costs_two_starts_in_a_run() {
    let mut scene = Scene::new().await;
    let (fake, host) = silent().await;
    scene.mirror(&host, Kind::Plain);
    let (client, notices) = scene.client();
    let begun = Instant::now();
    let image = scene.resolve(&client).await.unwrap();
    for _ in 0..5 {
        assert_eq!(scene.layers(&client, &image).await.unwrap(), good());
    }
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(fake.lines().len(), 2);
    assert_eq!(notices.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn one_that_refuses_connections_is_tried_once() {
    let mut scene = Scene::new().await;
    scene.mirror("127.0.0.1:1", Kind::Plain);
    let (client, notices) = scene.client();
    let image = scene.resolve(&client).await.unwrap();
    assert_eq!(scene.layers(&client, &image).await.unwrap(), good());
    let told = notices.lock().unwrap();
    assert!(
        told.len() == 1 && told[0].contains("can't be reached"),
        "{told:?}"
    );
}

#[tokio::test]
async fn without_a_fallback_nothing_is_asked_of_the_origin() {
    let mut scene = Scene::new().await;
    let mirror = scene.served(|_| None).await;
    scene.fallback = Fallback::Deny;
    let (client, _) = scene.client();
    let error = scene.resolve(&client).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::KeptFromOrigin { .. }),
        "{error}"
    );
    assert!(!error.is_absence());
    let reference = scene.reference("");
    let manifest = client
        .manifest(repository(&reference), &Selector::Digest(scene.digest()))
        .await;
    assert_eq!(manifest.unwrap().digest, scene.digest());
    // What no mirror has is not therefore missing.
    let other = Selector::Digest(Digest::of(b"other"));
    let error = client
        .manifest_if_exists(repository(&reference), &other)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`fallback: deny`"), "{error}");
    assert!(scene.origin.lines().is_empty());
    assert_eq!(mirror.lines().len(), 2);
}

#[tokio::test]
async fn without_a_fallback_a_mirror_that_fails_is_asked_again() {
    let mut scene = Scene::new().await;
    let failures = Arc::new(Mutex::new(2));
    let left = failures.clone();
    let mirror = scene
        .served(move |_| {
            let mut left = left.lock().unwrap();
            (*left > 0).then(|| {
                *left -= 1;
                Reply::error(503, "X")
            })
        })
        .await;
    scene.fallback = Fallback::Deny;
    let (client, _) = scene.client();
    let reference = scene.reference("");
    client
        .manifest(repository(&reference), &Selector::Digest(scene.digest()))
        .await
        .unwrap();
    assert_eq!(mirror.lines().len(), 3);
}

#[tokio::test]
async fn no_referrers_at_a_mirror_are_not_no_referrers() {
    for fallback in [Fallback::Allow, Fallback::Deny] {
        let mut scene = Scene::new().await;
        let mirror = scene.served(|seen| {
            let list = serde_json::json!({"schemaVersion": 2, "mediaType": crate::oci::fake::INDEX, "manifests": []});
            seen.target.contains("/referrers/").then(|| Reply::json(200, &list))
        }).await;
        Arc::get_mut(&mut scene.mirrors[0]).unwrap().resolves = true;
        scene.fallback = fallback;
        let (client, _) = scene.client();
        let reference = scene.reference("");
        let found = client
            .referrers(repository(&reference), &scene.digest(), None)
            .await;
        let signature = Selector::Tag(format!("sha256-{}.sig", scene.digest().hex()));
        let tag = client
            .manifest_if_exists(repository(&reference), &signature)
            .await;
        match fallback {
            Fallback::Allow => {
                assert_eq!(found.unwrap().place, Place::Neither);
                assert_eq!(tag.unwrap(), None);
                assert!(mirror.lines().is_empty(), "{:?}", mirror.lines());
            }
            Fallback::Deny => {
                for error in [found.unwrap_err(), tag.unwrap_err()] {
                    assert!(
                        matches!(error.kind(), ErrorKind::KeptFromOrigin { .. }),
                        "{error}"
                    );
                }
                assert!(scene.origin.lines().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_login_goes_to_its_own_host_alone() {
    let mut scene = Scene::new().await;
    let seen = |seen: &Seen| {
        (seen.header("authorization").is_none()).then(|| {
            Reply::error(401, "UNAUTHORIZED").header("www-authenticate", "Basic realm=\"here\"")
        })
    };
    let first = scene.served(seen).await;
    let second = scene.served(seen).await;
    let login = |name: &str| Credential::Basic {
        username: name.into(),
        password: Secret::new(format!("password-of-{name}")),
    };
    scene.given = vec![
        (scene.origin.host(), login("origin")),
        (second.host(), login("second")),
    ];
    let (client, _) = scene.client();
    let image = scene.resolve(&client).await.unwrap();
    assert_eq!(scene.layers(&client, &image).await.unwrap(), good());
    assert!(
        first
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
    let sent: Vec<_> = second
        .seen()
        .iter()
        .filter_map(|seen| seen.header("authorization").map(str::to_owned))
        .collect();
    use base64::Engine as _;
    let own = base64::engine::general_purpose::STANDARD.encode("second:password-of-second");
    assert!(
        !sent.is_empty() && sent.iter().all(|sent| *sent == format!("Basic {own}")),
        "{sent:?}"
    );
}

#[tokio::test]
async fn a_blob_is_finished_where_it_was_begun() {
    let mut scene = Scene::new().await;
    let first = scene
        .served(|_| Some(Reply::error(404, "BLOB_UNKNOWN")))
        .await;
    let second = scene.served(|_| None).await;
    let (client, _) = scene.client();
    let reference = scene.reference("");
    let blob = Descriptor::new("layer", Digest::of(b"layer one"), 9);
    for range in [0..4, 4..9] {
        let part = client
            .part(repository(&reference), &blob, Some(&range), None)
            .await
            .unwrap();
        let crate::oci::Answered::Body(mut part) = part else {
            panic!("no body")
        };
        assert_eq!(part.host(), second.host());
        while part.piece().await.unwrap().is_some() {}
    }
    assert_eq!((first.lines().len(), second.lines().len()), (1, 2));
    assert!(scene.origin.lines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_blob_whose_mirror_stops_is_finished_by_others() {
    let mut scene = Scene::new().await;
    let store = scene.store.clone();
    let mirror = scene
        .served(move |seen| {
            let plain = seen.target.split('?').next().unwrap().to_owned();
            let seen = Seen {
                target: plain,
                ..seen.clone()
            };
            Some(store.reply(&seen).stalled_after(4))
        })
        .await;
    let (client, notices) = scene.client();
    let reference = scene.reference("");
    let blob = Descriptor::new("layer", Digest::of(b"layer one"), 9);
    let mut attempts = crate::oci::PartAttempts::default();
    let mut bytes = Vec::new();
    let begun = Instant::now();
    'again: loop {
        let range = bytes.len() as u64..9;
        let range = (!bytes.is_empty()).then_some(&range);
        let part = client
            .part(repository(&reference), &blob, range, None)
            .await
            .unwrap();
        let crate::oci::Answered::Body(mut part) = part else {
            panic!("no body")
        };
        bytes.truncate(usize::try_from(part.covers().start).unwrap());
        loop {
            match part.piece().await {
                Ok(Some(Piece::Here(more))) => bytes.extend_from_slice(&more),
                Ok(Some(Piece::Placed(_))) => panic!("no launcher is here"),
                Ok(None) => break 'again,
                Err(error) => {
                    client.pause(&mut attempts, error).await.unwrap();
                    continue 'again;
                }
            }
        }
    }
    assert_eq!(bytes, b"layer one");
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((mirror.lines().len(), scene.origin.lines().len()), (1, 1));
    assert_eq!(notices.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn without_a_fallback_no_mirror_leads_to_the_origin() {
    let mut scene = Scene::new().await;
    let origin = scene.origin.host();
    let _mirror = scene
        .served(move |seen| {
            Some(if seen.target.contains("/manifests/") {
                let realm = format!("Bearer realm=\"http://{origin}/token\"");
                Reply::error(401, "UNAUTHORIZED").header("www-authenticate", realm)
            } else {
                Reply::new(307, "").header("location", format!("http://{origin}{}", seen.target))
            })
        })
        .await;
    scene.fallback = Fallback::Deny;
    let (client, _) = scene.client();
    let reference = scene.reference("");
    let manifest = Selector::Digest(scene.digest());
    let blob = Descriptor::new("layer", Digest::of(b"layer one"), 9);
    let errors = [
        client
            .manifest(repository(&reference), &manifest)
            .await
            .unwrap_err(),
        client
            .blob_bytes(repository(&reference), &blob, 9)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        let facts = format!("{:?}", crate::failure::Explain::facts(&error));
        assert!(facts.contains("keeps that from being asked"), "{facts}");
    }
    assert!(scene.origin.lines().is_empty());
}

#[tokio::test]
async fn a_mirror_without_ranges_is_asked_for_the_whole_and_told_no_range_again() {
    let mut scene = Scene::new().await;
    let mirror = scene
        .served(|seen| seen.range().map(|_| Reply::error(416, "X")))
        .await;
    let (client, _) = scene.client();
    let reference = scene.reference("");
    for bytes in [b"layer one", b"layer two"] {
        let blob = Descriptor::new("layer", Digest::of(bytes), 9);
        let part = client
            .part(repository(&reference), &blob, Some(&(0..4)), None)
            .await
            .unwrap();
        let crate::oci::Answered::Body(part) = part else {
            panic!("no body")
        };
        assert!(part.is_whole());
    }
    let ranges: Vec<_> = mirror
        .seen()
        .iter()
        .map(|seen| seen.range().is_some())
        .collect();
    assert_eq!(ranges, [true, false, false]);
}

#[test]
fn each_kind_has_its_paths() {
    let repository = Repository {
        registry: "docker.io".into(),
        path: "library/nginx".into(),
    };
    let origin = Url::parse("https://registry-1.docker.io/v2/").unwrap();
    let shown = |address: &str, kind: Kind| {
        let mirror = Mirror::new(address.parse().unwrap(), kind);
        let (url, path) = mirror.url(&repository, "manifests/v1");
        assert_eq!(url.path(), path);
        let header = mirror
            .header(&origin)
            .map(|(_, value)| value.to_str().unwrap().to_owned());
        format!("{url} {}", header.unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    let named = |name: &str| name.to_owned();
    for (address, kind, expected) in [
        (
            "mirror.example",
            Kind::Plain,
            "https://mirror.example/v2/library/nginx/manifests/v1?ns=docker.io",
        ),
        (
            "127.0.0.1:5001",
            Kind::Distribution,
            "http://127.0.0.1:5001/v2/library/nginx/manifests/v1",
        ),
        (
            "https://a.example/hub/",
            Kind::Distribution,
            "https://a.example/hub/v2/library/nginx/manifests/v1",
        ),
        (
            "a.example",
            Kind::Prefixed {
                prefix: named("remote/hub"),
                ns: false,
            },
            "https://a.example/v2/remote/hub/library/nginx/manifests/v1",
        ),
        (
            "harbor.example",
            Kind::Harbor {
                project: named("hub"),
            },
            "https://harbor.example/v2/hub/library/nginx/manifests/v1",
        ),
        (
            "nexus.example",
            Kind::Nexus {
                repository: named("hub"),
                in_path: false,
            },
            "https://nexus.example/repository/hub/v2/library/nginx/manifests/v1",
        ),
        (
            "nexus.example",
            Kind::Nexus {
                repository: named("hub"),
                in_path: true,
            },
            "https://nexus.example/v2/hub/library/nginx/manifests/v1",
        ),
        (
            "gitlab.example",
            Kind::Gitlab {
                group: named("acme/x"),
            },
            "https://gitlab.example/v2/acme/x/dependency_proxy/containers/library/nginx/manifests/v1",
        ),
        (
            "127.0.0.1:4001",
            Kind::Dragonfly {
                told_by: ToldBy::Header(None),
                passes_login: false,
            },
            "http://127.0.0.1:4001/v2/library/nginx/manifests/v1 https://registry-1.docker.io",
        ),
        (
            "127.0.0.1:4001",
            Kind::Dragonfly {
                told_by: ToldBy::Query,
                passes_login: false,
            },
            "http://127.0.0.1:4001/v2/library/nginx/manifests/v1?ns=docker.io",
        ),
    ] {
        assert_eq!(shown(address, kind), expected);
    }
}

#[test]
fn addresses_are_hosts_and_their_names_are_for_logins() {
    for (text, name) in [
        ("mirror.example", "mirror.example"),
        ("https://mirror.example:443/x", "mirror.example"),
        ("http://mirror.example", "mirror.example:80"),
        ("http://mirror.example:5000", "mirror.example:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ] {
        let address: Address = text.parse().unwrap();
        assert_eq!(Mirror::new(address, Kind::Plain).name(), name, "{text}");
    }
    for (text, error) in [
        ("ftp://a.example", AddressError::Scheme),
        ("https://me@a.example", AddressError::User),
        ("https://a.example/?x=1", AddressError::More),
        ("https://a.example/v2/hub", AddressError::Versioned),
        ("https://", AddressError::NoUrl),
        ("", AddressError::NoUrl),
    ] {
        assert_eq!(text.parse::<Address>(), Err(error), "{text}");
    }
}
