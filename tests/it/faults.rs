//! Registries that limit, stall, forget and redirect, as the fault proxy plays them: what the
//! client makes of it, and what it leaves alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use shipgate::clock::Clock;
use shipgate::failure::Explain as _;
use shipgate::net;
use shipgate::oci::{Client, Config, Descriptor, Digest, Notice, Reference, Selector};

use crate::harness::{
    BlackHole, Content, Ending, Fault, FaultProxy, Image, RangeLie, Registry, Rule, Sandbox,
    TokenRule, digest,
};
use crate::preload::assert_holds;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Serves one image as `acme/web:v1`.
pub fn registry(image: &Image) -> FaultProxy {
    let image = image.clone();
    let manifest = format!("manifests/{}", image.digest());
    // Hashed once: the proxy has one thread, and a test's build is slow.
    let blobs: HashMap<String, Bytes> = (image.layers.iter().chain([&image.config]))
        .map(|blob| (format!("blobs/{}", digest(blob)), blob.clone().into()))
        .collect();
    FaultProxy::serving(move |request| {
        let Some(rest) = request.path().strip_prefix("/v2/acme/web/") else {
            return Content::new(404, "");
        };
        if rest == "manifests/v1" || rest == manifest {
            return Content::ok(image.manifest.clone())
                .header("Content-Type", MANIFEST)
                .header("Docker-Content-Digest", &image.digest());
        }
        match blobs.get(rest) {
            Some(blob) => Content::ok(blob.clone()),
            None => Content::new(404, ""),
        }
    })
}

fn small() -> Image {
    Image::new("faults", &[200_000, 3000])
}

/// Returns the name of that image.
pub fn reference(proxy: &FaultProxy) -> String {
    format!("{}/acme/web:v1", proxy.address())
}

/// A client that is told apart from the product's by its patience alone, and what it tells.
fn client(change: impl FnOnce(&mut Config)) -> (Client, Arc<Mutex<Vec<Notice>>>) {
    let http = net::Client::new(net::Config {
        connect_timeout: Duration::from_millis(50),
        ..net::Config::default()
    });
    let mut config = Config::new(http.unwrap(), Clock::fixed(jiff::Timestamp::UNIX_EPOCH));
    let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
    let told = notices.clone();
    config.notices = Arc::new(move |notice| told.lock().unwrap().push(notice));
    config.retry.first_pause = Duration::from_millis(2);
    config.retry.longest_pause = Duration::from_millis(4);
    change(&mut config);
    (Client::new(config), notices)
}

async fn layer(client: &Client, proxy: &FaultProxy, image: &Image) -> Result<bool, String> {
    let repository = reference(proxy).parse::<Reference>().unwrap().repository;
    let layer = &image.layers[0];
    let blob = Descriptor::new("layer", Digest::of(layer), layer.len() as u64);
    let fetched = client.blob_bytes(&repository, &blob, 1 << 20).await;
    fetched
        .map(|bytes| bytes == *layer)
        .map_err(|error| format!("{error}: {:?}", error.facts()))
}

#[test]
fn nothing_is_asked_before_a_limit_is_over() {
    for (limit, wait) in [
        (Fault::answer(429, &[("Retry-After", "1")], ""), 1000),
        (
            Fault::answer(
                429,
                &[],
                "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"retry-after: 600.5ms, allowed: 44000/minute\"}]}",
            ),
            600,
        ),
        (
            Fault::answer(
                403,
                &[("Retry-After", "1")],
                "{\"message\":\"You have exceeded a secondary rate limit\"}",
            ),
            1000,
        ),
    ] {
        let image = small();
        let proxy = registry(&image);
        proxy.add(Rule::on("*/blobs/*").nth(1).fault(limit));
        let sandbox = Sandbox::new();
        let output = sandbox.run(["pull", &reference(&proxy)]).expect(0);
        output.says("which is left alone for");
        assert_holds(&sandbox.cache(), &image);
        let exchanges = proxy.exchanges();
        let limited = exchanges
            .iter()
            .position(|it| matches!(it.status, Some(429 | 403)))
            .unwrap();
        let begun = exchanges[limited].at;
        // Blobs that were asked for at the same time are no breach: nobody had been told.
        let later = exchanges[limited + 1..]
            .iter()
            .filter(|it| !it.is_blob() || it.at > begun + Duration::from_millis(300));
        for exchange in later {
            assert!(
                exchange.at >= begun + Duration::from_millis(wait),
                "{exchange:?}"
            );
        }
    }
}

#[test]
fn a_limit_past_the_steps_time_fails_at_once_with_the_time_to_come_again() {
    let proxy = registry(&small());
    proxy.add(Rule::on("*/manifests/*").fault(Fault::answer(429, &[("Retry-After", "90")], "")));
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.yml",
        format!(
            "version: 1\nname: limited\nimages:\n  web: \"{}\"\nsteps:\n  - {{preload: {{images: [web]}}, timeout: 60s}}\n",
            reference(&proxy)
        ),
    );
    let output = sandbox.run(["p.yml"]).expect(20);
    output
        .says("limits the rate of requests")
        .says("try again at")
        .says("after the end of the step's time");
    assert_eq!(proxy.exchanges().len(), 1);
}

#[tokio::test]
async fn a_silent_connection_loses_to_a_second_one() {
    let image = small();
    let proxy = registry(&image);
    proxy.add(Rule::on("*/blobs/*").nth(1).fault(Fault::Silence));
    let (client, notices) = client(|config| config.retry.stall = Duration::from_millis(50));
    assert_eq!(layer(&client, &proxy, &image).await, Ok(true));
    let exchanges = proxy.exchanges();
    let [first, second] = &exchanges[..] else {
        panic!("{exchanges:?}");
    };
    assert_ne!(first.connection, second.connection);
    assert!(matches!(
        &notices.lock().unwrap()[..],
        [Notice::Silent { .. }]
    ));
    // The loser's connection is closed, so that the server is rid of it.
    while proxy.exchanges()[0].ending != Some(Ending::Gone) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn manifests_that_stall_half_way_are_asked_for_again() {
    let image = small();
    let proxy = registry(&image);
    proxy.add(
        Rule::on("*/manifests/*")
            .nth(1)
            .fault(Fault::Stall { after: 40 }),
    );
    let (client, notices) = client(|config| config.retry.stall = Duration::from_millis(50));
    let repository = reference(&proxy).parse::<Reference>().unwrap().repository;
    let manifest = client
        .manifest(&repository, &Selector::Tag("v1".into()))
        .await
        .unwrap();
    assert_eq!(manifest.bytes, image.manifest);
    assert_eq!(proxy.exchanges().len(), 2);
    assert!(matches!(
        &notices.lock().unwrap()[..],
        [Notice::Silent { .. }]
    ));
}

#[tokio::test]
async fn what_stays_silent_is_named() {
    let image = small();
    let proxy = registry(&image);
    proxy.add(Rule::on("*/blobs/*").fault(Fault::Silence));
    let (client, _) = client(|config| {
        config.retry.stall = Duration::from_millis(20);
        config.retry.patience = Duration::from_millis(60);
        config.retry.budget = Duration::from_millis(60);
    });
    let error = layer(&client, &proxy, &image).await.unwrap_err();
    for part in [
        proxy.address(),
        digest(&image.layers[0]),
        "first-byte".into(),
        "not again".into(),
    ] {
        assert!(error.contains(&part), "{error}");
    }
}

#[tokio::test]
async fn a_place_where_nothing_connects_is_named_with_the_number_of_attempts() {
    let hole = BlackHole::open();
    let reference: Reference = format!("{}/acme/web:v1", hole.address()).parse().unwrap();
    let (client, _) = client(|_| ());
    let error = client
        .manifest(&reference.repository, &Selector::Tag("v1".into()))
        .await
        .unwrap_err();
    let facts = error.facts();
    let fact = |name: &str| {
        facts
            .iter()
            .find(|fact| fact.name == name)
            .map(|fact| fact.value.as_str())
    };
    assert_eq!(fact("phase"), Some("connect"));
    assert_eq!(fact("attempts"), Some("5"));
    assert_eq!(fact("host"), Some(hole.address().as_str()));
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn connections_that_break_are_made_anew() {
    for fault in [
        Fault::HangUp,
        Fault::Reset { after: 0 },
        Fault::Reset { after: 1000 },
        Fault::Close { after: 1000 },
        Fault::answer(502, &[], "<html>"),
        Fault::answer(522, &[], ""),
    ] {
        let image = small();
        let proxy = registry(&image);
        proxy.add(Rule::on("*/blobs/*").requests(1..=4).fault(fault.clone()));
        let (client, _) = client(|_| ());
        assert_eq!(layer(&client, &proxy, &image).await, Ok(true), "{fault:?}");
        assert!(proxy.exchanges().len() >= 5, "{fault:?}");
    }
    // What no repetition changes is not repeated.
    for (fault, word) in [
        (Fault::answer(400, &[], ""), "400"),
        (Fault::answer(404, &[], ""), "does not exist"),
        (Fault::Corrupt { at: 5 }, "other bytes"),
    ] {
        let image = small();
        let proxy = registry(&image);
        proxy.add(Rule::on("*/blobs/*").fault(fault));
        let (client, _) = client(|_| ());
        let error = layer(&client, &proxy, &image).await.unwrap_err();
        assert!(error.contains(word), "{error}");
        assert_eq!(proxy.exchanges().len(), 1);
    }
}

#[test]
fn logins_and_addresses_that_run_out_on_the_way_are_renewed() {
    let image = Image::new("tokens", &[1000; 12]);
    let proxy = registry(&image);
    proxy.require_tokens(TokenRule {
        expires_in: Some(300),
        ..TokenRule::default()
    });
    proxy.add(Rule::on("/v2/*/blobs/*").nth(6).fault(Fault::ForgetTokens));
    // The first address of each kind is over before it is used.
    proxy.add(Rule::on("/v2/*/blobs/*").fault(Fault::Presign { uses: 1 }));
    proxy.add(
        Rule::on("/signed/*")
            .requests(2..=3)
            .fault(Fault::answer(403, &[], "expired")),
    );
    let sandbox = Sandbox::new();
    sandbox.run(["pull", &reference(&proxy)]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    let exchanges = proxy.exchanges();
    let tokens = exchanges.iter().filter(|it| it.request.path() == "/token");
    assert_eq!(tokens.count(), 2);
    let leaked = exchanges
        .iter()
        .filter(|it| it.storage && it.request.header("authorization").is_some());
    assert_eq!(leaked.count(), 0);
    let refused = exchanges
        .iter()
        .filter(|it| it.storage && it.status == Some(403));
    assert_eq!(refused.count(), 2);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_proxy_stands_before_a_real_registry() {
    let origin = Registry::start();
    let image = small();
    image.push(origin.address(), "acme/web", "v1");
    let proxy = FaultProxy::before(origin.address());
    proxy.add(
        Rule::on("*/blobs/*")
            .nth(1)
            .fault(Fault::Reset { after: 100 }),
    );
    proxy.add(Rule::on("*/manifests/*").nth(1).fault(Fault::answer(
        503,
        &[("Retry-After", "1")],
        "",
    )));
    proxy.add(
        Rule::on("*")
            .ranged(true)
            .fault(Fault::Range(RangeLie::Whole)),
    );
    let sandbox = Sandbox::new();
    sandbox.run(["pull", &reference(&proxy)]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    assert!(
        proxy
            .exchanges()
            .iter()
            .any(|it| it.ending == Some(Ending::Cut))
    );
}
