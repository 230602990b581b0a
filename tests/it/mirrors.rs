//! Mirrors of each kind, in the order in which the document has them: who is asked for what, what it
//! costs if one is dead or lies, and what never goes where.
//!
//! `docker-registry` as a pull-through cache is real. Harbor, Nexus, GitLab and Dragonfly's dfdaemon are
//! stand-ins: they know the paths, headers and logins of the real ones, and nothing else of them.

use std::fmt::Write as _;

use crate::harness::{
    BlackHole, Content, Fault, FaultProxy, Image, Registry, Rule, Sandbox, TokenRule, digest,
    wait_for,
};
use crate::preload::assert_holds;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Serves one image as `v1` of the repository whose path comes from `path`, if it has one there.
fn server(
    image: &Image,
    path: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> FaultProxy {
    let image = image.clone();
    FaultProxy::serving(move |request| {
        let Some(rest) = path(request.path()) else {
            return Content::new(404, "");
        };
        answer(&image, &rest)
    })
}

fn answer(image: &Image, rest: &str) -> Content {
    if rest == "manifests/v1" || rest == format!("manifests/{}", image.digest()) {
        return Content::ok(image.manifest.clone())
            .header("Content-Type", MANIFEST)
            .header("Docker-Content-Digest", &image.digest());
    }
    let mut blobs = image.layers.iter().chain([&image.config]);
    match blobs.find(|blob| rest == format!("blobs/{}", digest(blob))) {
        Some(blob) => Content::ok(blob.clone()),
        None => Content::new(404, ""),
    }
}

/// Serves an image as `acme/web:v1`, below something.
fn below(image: &Image, root: &str) -> FaultProxy {
    let root = format!("{root}acme/web/");
    server(image, move |path| {
        path.strip_prefix(&root).map(str::to_owned)
    })
}

fn origin(image: &Image) -> FaultProxy {
    below(image, "/v2/")
}

fn small() -> Image {
    Image::new("mirrors", &[200_000, 3000])
}

/// Writes a pipeline that preloads `acme/web:v1` of the origin, with these mirrors.
fn pipeline(origin: &str, mirrors: &[String], more: &str) -> String {
    let mut text =
        format!("version: 1\nname: mirrors\nregistries:\n  \"{origin}\":\n    mirrors:\n");
    for mirror in mirrors {
        writeln!(text, "      - {mirror}").unwrap();
    }
    write!(
        text,
        "{more}images: {{web: \"{origin}/acme/web:v1\"}}\nsteps:\n  - preload: {{images: [web]}}\n"
    )
    .unwrap();
    text
}

fn plain(server: &FaultProxy) -> String {
    format!("\"{}\"", server.address())
}

fn lines(server: &FaultProxy) -> Vec<String> {
    server
        .exchanges()
        .iter()
        .map(|it| format!("{} {}", it.request.method, it.request.target))
        .collect()
}

/// Returns what hosts sent of the image, as the report has it.
fn served(sandbox: &Sandbox) -> Vec<(String, u64)> {
    let report = std::fs::read(sandbox.path().join("report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let served = report["images"][0]["served"].as_array().unwrap();
    served
        .iter()
        .map(|one| {
            let host = one["host"].as_str().unwrap().to_owned();
            (host, one["bytes"].as_u64().unwrap())
        })
        .collect()
}

fn bytes(image: &Image) -> u64 {
    let blobs = image.layers.iter().chain([&image.config]);
    blobs.map(|blob| blob.len() as u64).sum()
}

#[test]
fn content_comes_from_the_mirror_and_the_report_says_so() {
    let image = small();
    let (origin, mirror) = (origin(&image), origin(&image));
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", pipeline(&origin.address(), &[plain(&mirror)], ""));
    let plan = sandbox.run(["plan", "p.yml"]).expect(0);
    let order = format!(
        "web: asks {} (plain), then {} itself",
        mirror.address(),
        origin.address()
    );
    assert!(plan.stdout.contains(&order), "{}", plan.stdout);
    assert!(
        plan.stdout
            .contains(&format!("preload (mirror of {})", origin.address())),
        "{}",
        plan.stdout
    );
    let asked = origin.exchanges().len();
    let output = sandbox
        .run(["run", "p.yml", "--report", "report"])
        .expect(0);
    output.says(&format!("from {}", mirror.address()));
    assert_holds(&sandbox.cache(), &image);
    assert_eq!(served(&sandbox), [(mirror.address(), bytes(&image))]);
    assert_eq!(lines(&origin)[asked..], ["HEAD /v2/acme/web/manifests/v1"]);
    let ns = format!("?ns={}", origin.address().replace(':', "%3A"));
    assert!(
        lines(&mirror).iter().all(|line| line.ends_with(&ns)),
        "{:?}",
        lines(&mirror)
    );
}

#[test]
fn a_mirror_that_drops_connections_is_tried_once() {
    let image = small();
    let (origin, hole) = (origin(&image), BlackHole::open());
    let sandbox = Sandbox::new();
    let dead = format!("\"{}\"", hole.address());
    sandbox.write("p.yml", pipeline(&origin.address(), &[dead], ""));
    let output = sandbox
        .run(["run", "p.yml", "--report", "report"])
        .expect(0);
    assert_holds(&sandbox.cache(), &image);
    let words = "no connection to it came about in time";
    assert_eq!(output.stderr.matches(words).count(), 1, "{}", output.stderr);
    assert_eq!(served(&sandbox), [(origin.address(), bytes(&image))]);
}

#[test]
fn whatever_a_mirror_answers_the_next_one_is_asked() {
    let faults = [
        Fault::answer(401, &[], ""),
        Fault::answer(
            401,
            &[(
                "WWW-Authenticate",
                "Bearer realm=\"http://127.0.0.1:1/token\"",
            )],
            "",
        ),
        Fault::answer(403, &[], ""),
        Fault::answer(404, &[], ""),
        Fault::answer(429, &[("Retry-After", "3600")], ""),
        Fault::answer(500, &[], ""),
        Fault::answer(503, &[("Retry-After", "3600")], ""),
        Fault::answer(200, &[("Content-Type", "text/html")], "<html>log in</html>"),
        Fault::answer(302, &[("Location", "http://127.0.0.1:1/")], ""),
        Fault::HangUp,
        Fault::Silence,
        Fault::Reset { after: 100 },
        Fault::Close { after: 100 },
        Fault::Corrupt { at: 50 },
    ];
    for fault in faults {
        let image = small();
        let (origin, broken, good) = (origin(&image), origin(&image), origin(&image));
        broken.add(Rule::on("*").fault(fault.clone()));
        let sandbox = Sandbox::new();
        let mirrors = [plain(&broken), plain(&good)];
        sandbox.write("p.yml", pipeline(&origin.address(), &mirrors, ""));
        sandbox
            .run(["run", "p.yml", "--report", "report"])
            .expect(0);
        assert_holds(&sandbox.cache(), &image);
        assert_eq!(
            lines(&origin),
            ["HEAD /v2/acme/web/manifests/v1"],
            "{fault:?}"
        );
        let from_good = served(&sandbox)
            .iter()
            .any(|(host, _)| *host == good.address());
        assert!(from_good, "{fault:?}: {:?}", served(&sandbox));
        assert!(
            broken.exchanges().len() < 12,
            "{fault:?}: {:?}",
            lines(&broken)
        );
    }
}

#[test]
fn wrong_bytes_of_a_blob_are_named_and_come_from_elsewhere() {
    let image = small();
    let (origin, liar) = (origin(&image), origin(&image));
    liar.add(Rule::on("*/blobs/*").fault(Fault::Corrupt { at: 7 }));
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", pipeline(&origin.address(), &[plain(&liar)], ""));
    let output = sandbox.run(["p.yml"]).expect(0);
    output
        .says(&format!("the mirror {} of", liar.address()))
        .says("sent other bytes for sha256:");
    assert_holds(&sandbox.cache(), &image);
}

#[test]
fn with_fallback_deny_the_origin_hears_nothing() {
    let image = small();
    let (origin, mirror) = (origin(&image), origin(&image));
    let sandbox = Sandbox::new();
    let deny = "    fallback: deny\n";
    sandbox.write(
        "p.yml",
        pipeline(&origin.address(), &[plain(&mirror)], deny),
    );
    sandbox
        .run(["p.yml"])
        .expect(20)
        .says("`fallback: deny` keeps")
        .says("`resolve: true`");
    let trusted = format!("{{url: {}, resolve: true}}", plain(&mirror));
    sandbox.write("p.yml", pipeline(&origin.address(), &[trusted], deny));
    let plan = sandbox.run(["plan", "p.yml"]).expect(0);
    assert!(
        plan.stdout.contains("tags too), then never"),
        "{}",
        plan.stdout
    );
    let granted = format!("  connect   {}", origin.address());
    assert!(!plan.stdout.contains(&granted), "{}", plan.stdout);
    sandbox.run(["p.yml"]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    mirror.add(Rule::on("*").fault(Fault::answer(404, &[], "")));
    let other = Sandbox::new();
    let text = std::fs::read_to_string(sandbox.path().join("p.yml")).unwrap();
    other.write("p.yml", text);
    other.run(["p.yml"]).expect(20).says("no mirror of");
    assert!(lines(&origin).is_empty(), "{:?}", lines(&origin));
}

#[test]
fn a_login_is_for_its_own_host() {
    let image = small();
    let (origin, mirror) = (origin(&image), origin(&image));
    for server in [&origin, &mirror] {
        server.require_tokens(TokenRule::default());
    }
    let mut sandbox = Sandbox::new();
    sandbox.set("ORIGIN_PASSWORD", "secret-of-origin");
    sandbox.set("MIRROR_PASSWORD", "secret-of-mirror");
    let of_mirror = format!(
        "{{url: {}, auth: {{username: mirror, password: \"${{secret.mirror}}\"}}}}",
        plain(&mirror)
    );
    let more = "    auth: {username: origin, password: \"${secret.origin}\"}\nsecrets: {origin: {env: ORIGIN_PASSWORD}, mirror: {env: MIRROR_PASSWORD}}\n";
    sandbox.write("p.yml", pipeline(&origin.address(), &[of_mirror], more));
    sandbox.run(["p.yml"]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    for (server, user) in [(&origin, "origin"), (&mirror, "mirror")] {
        let login = base64_of(&format!("{user}:secret-of-{user}"));
        let exchanges = server.exchanges();
        let basic: Vec<_> = exchanges
            .iter()
            .filter_map(|it| it.request.header("authorization"))
            .filter_map(|header| header.strip_prefix("Basic "))
            .collect();
        assert!(
            !basic.is_empty() && basic.iter().all(|sent| *sent == login),
            "{user}: {basic:?}"
        );
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Runs with one mirror and panics unless all content came from it, by these paths.
fn content_comes_from(
    mirror: &FaultProxy,
    entry: &str,
    image: &Image,
    origin: &FaultProxy,
    begin: &str,
) {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.yml",
        pipeline(&origin.address(), &[entry.to_owned()], ""),
    );
    sandbox
        .run(["run", "p.yml", "--report", "report"])
        .expect(0);
    assert_holds(&sandbox.cache(), image);
    assert_eq!(
        served(&sandbox),
        [(mirror.address(), bytes(image))],
        "{entry}"
    );
    assert!(
        lines(mirror).iter().any(|line| line.starts_with(begin)),
        "{:?}",
        lines(mirror)
    );
}

#[test]
fn paths_of_harbor_nexus_and_a_prefix() {
    let image = small();
    for (keys, root) in [
        ("kind: harbor, project: hub", "/v2/hub/"),
        (
            "kind: nexus, repository: docker-proxy",
            "/repository/docker-proxy/v2/",
        ),
        (
            "kind: nexus, repository: docker-proxy, path-routing: true",
            "/v2/docker-proxy/",
        ),
        ("kind: plain, prefix: remote/hub", "/v2/remote/hub/"),
        (
            "kind: gitlab, group: acme/platform",
            "/v2/acme/platform/dependency_proxy/containers/",
        ),
        ("kind: distribution", "/v2/"),
        ("kind: zot", "/v2/"),
    ] {
        let (origin, mirror) = (origin(&image), below(&image, root));
        let entry = format!("{{url: {}, {keys}}}", plain(&mirror));
        content_comes_from(
            &mirror,
            &entry,
            &image,
            &origin,
            &format!("GET {root}acme/web/manifests/sha256:"),
        );
        assert!(
            lines(&mirror).iter().all(|line| !line.contains('?')),
            "{:?}",
            lines(&mirror)
        );
    }
}

#[test]
fn harbor_s_redirect_to_library_is_followed_with_a_token_for_where_it_leads() {
    let image = small();
    let of_origin = image.clone();
    let origin =
        FaultProxy::serving(
            move |request| match request.path().strip_prefix("/v2/nginx/") {
                Some(rest) => answer(&of_origin, rest),
                None => Content::new(404, ""),
            },
        );
    let of_harbor = image.clone();
    let harbor = FaultProxy::serving(move |request| {
        if let Some(rest) = request.path().strip_prefix("/v2/hub/library/nginx/") {
            return answer(&of_harbor, rest);
        }
        match request.path().strip_prefix("/v2/hub/nginx/") {
            Some(rest) => {
                Content::new(301, "").header("Location", &format!("/v2/hub/library/nginx/{rest}"))
            }
            None => Content::new(404, ""),
        }
    });
    harbor.require_tokens(TokenRule::default());
    let sandbox = Sandbox::new();
    let document = pipeline(
        &origin.address(),
        &[format!(
            "{{kind: harbor, url: {}, project: hub}}",
            plain(&harbor)
        )],
        "",
    );
    sandbox.write("p.yml", document.replace("/acme/web:v1", "/nginx:v1"));
    sandbox
        .run(["run", "p.yml", "--report", "report"])
        .expect(0);
    assert_holds(&sandbox.cache(), &image);
    assert_eq!(served(&sandbox), [(harbor.address(), bytes(&image))]);
}

#[test]
fn a_dfdaemon_is_told_the_registry_and_gets_its_login_only_if_that_is_said() {
    let image = small();
    for (keys, by_header) in [
        ("kind: dragonfly", true),
        ("kind: dragonfly, told-by: ns", false),
    ] {
        let (origin, mirror) = (origin(&image), origin(&image));
        let entry = format!("{{url: {}, {keys}}}", plain(&mirror));
        content_comes_from(
            &mirror,
            &entry,
            &image,
            &origin,
            "GET /v2/acme/web/manifests/sha256:",
        );
        let registry = format!("http://{}", origin.address());
        for exchange in mirror.exchanges() {
            assert!(!exchange.has_range(), "{exchange:?}");
            let header = exchange.request.header("x-dragonfly-registry");
            assert_eq!(header, by_header.then_some(registry.as_str()));
            assert_eq!(exchange.request.target.contains("?ns="), !by_header);
        }
    }
    // What is private passes only with the registry's own login.
    for (keys, passes) in [("", false), (", pass-login: true", true)] {
        let (origin, mirror) = (origin(&image), origin(&image));
        for server in [&origin, &mirror] {
            server.require_tokens(TokenRule::default());
        }
        let mut sandbox = Sandbox::new();
        sandbox.set("PASSWORD", "secret-of-origin");
        let entry = format!("{{url: {}, kind: dragonfly{keys}}}", plain(&mirror));
        let more = "    auth: {username: origin, password: \"${secret.origin}\"}\nsecrets: {origin: {env: PASSWORD}}\n";
        sandbox.write("p.yml", pipeline(&origin.address(), &[entry], more));
        sandbox.run(["p.yml"]).expect(0);
        assert_holds(&sandbox.cache(), &image);
        let exchanges = mirror.exchanges();
        let basic = exchanges
            .iter()
            .filter_map(|it| it.request.header("authorization"))
            .any(|header| header.starts_with("Basic "));
        assert_eq!(basic, passes, "{:?}", lines(&mirror));
    }
}

#[test]
fn hosts_toml_and_registries_conf_are_read_in_place_of_a_list() {
    let image = small();
    let (origin, mirror) = (origin(&image), origin(&image));
    let address = origin.address();
    let document = |from: &str| {
        format!(
            "version: 1\nname: mirrors\nregistries-from: {from}\nimages: {{web: \"{address}/acme/web:v1\"}}\nsteps:\n  - preload: {{images: [web]}}\n"
        )
    };
    let hosts = format!(
        "server = \"http://{address}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        mirror.address()
    );
    let conf = format!(
        "[[registry]]\nlocation = \"{address}\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"{}\"\n",
        mirror.address()
    );
    for (from, name, text) in [
        (
            "{containerd: certs.d}",
            format!("certs.d/{address}/hosts.toml"),
            &hosts,
        ),
        (
            "{containerd: certs.d}",
            "certs.d/_default/hosts.toml".to_owned(),
            &hosts,
        ),
        (
            "{containers: registries.conf}",
            "registries.conf".to_owned(),
            &conf,
        ),
    ] {
        let sandbox = Sandbox::new();
        let file = sandbox.path().join(&name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        sandbox.write("p.yml", document(from));
        let plan = sandbox.run(["plan", "p.yml"]).expect(0);
        assert!(
            plan.stdout.contains(&format!("  read      {name}")),
            "{}",
            plan.stdout
        );
        sandbox
            .run(["run", "p.yml", "--report", "report"])
            .expect(0);
        assert_eq!(
            served(&sandbox),
            [(mirror.address(), bytes(&image))],
            "{name}"
        );

        std::fs::write(
            &file,
            format!("{text}\nskip_verify = true\ninsecure = true\nfoo = 1\n"),
        )
        .unwrap();
        let refused = sandbox.run(["p.yml"]).expect(11);
        refused.says("says what can't be honoured").says("line ");
    }
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", document("{containerd: certs.d}"));
    sandbox
        .run(["p.yml"])
        .expect(11)
        .says("says nothing of any registry");
}

#[test]
fn an_image_that_is_signed_nowhere_is_not_a_mirror_s_word() {
    let image = small();
    let (origin, mirror) = (origin(&image), origin(&image));
    let sandbox = Sandbox::new();
    let trusted = format!("{{url: {}, resolve: true}}", plain(&mirror));
    let mut text = pipeline(&origin.address(), &[trusted], "    fallback: deny\n");
    text = text.replace(
        "  - preload: {images: [web]}",
        "  - verify: {images: [web]}",
    );
    text += "trust:\n  signers: {ci: {issuer: \"https://issuer.example\", subject: \"https://acme.example/**\"}}\n  images: {\"**\": {signed-by: ci}}\n";
    sandbox.write("p.yml", text);
    // 30 would be "unsigned"; 33 says that it could not be found out.
    let output = sandbox.run(["p.yml"]);
    output.expect(33).says("`fallback: deny`");
    assert!(lines(&origin).is_empty());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_cold_pull_through_cache_is_asked_for_each_blob_once() {
    let registry = Registry::start();
    let image = Image::new("cold", &[40_000_000, 300_000, 1000]);
    image.push(registry.address(), "acme/web", "v1");
    // What stands before the registry is the witness of what the cache asks it for.
    let behind = FaultProxy::before(registry.address());
    let cache = Registry::cache_of(&behind.address());
    let before = FaultProxy::before(cache.address());
    let entry = format!("{{kind: distribution, url: {}}}", plain(&before));
    let document = pipeline(registry.address(), &[entry], "");
    let pull = || {
        let sandbox = Sandbox::new();
        sandbox.write("p.yml", &document);
        sandbox
            .run(["run", "p.yml", "--report", "report"])
            .expect(0);
        assert_holds(&sandbox.cache(), &image);
        let hosts: Vec<_> = served(&sandbox).into_iter().map(|(host, _)| host).collect();
        assert_eq!(hosts, [before.address()]);
    };
    let blobs = |proxy: &FaultProxy| {
        let exchanges = proxy.exchanges().into_iter();
        let blobs = exchanges.filter(|it| it.is_blob() && it.request.method == "GET");
        blobs.collect::<Vec<_>>()
    };
    pull();
    for blob in image.layers.iter().chain([&image.config]) {
        let path = format!("/blobs/{}", digest(blob));
        let asked = blobs(&before);
        let asked = asked.iter().filter(|it| it.request.path().ends_with(&path));
        assert_eq!(asked.count(), 1, "{path}");
    }
    // It goes on to fill itself when we have ours already.
    let filled = wait_for("the cache to be filled", || {
        let fetched = blobs(&behind);
        let over = fetched.iter().all(|it| it.ending.is_some());
        over.then_some(fetched.len())
    });
    pull();
    assert_eq!(
        blobs(&behind).len(),
        filled,
        "a warm cache asks for nothing"
    );
    let ranges = blobs(&before).iter().filter(|it| it.has_range()).count();
    assert!(ranges > 1, "a warm cache is asked for parts: {ranges}");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_cache_whose_registry_is_gone_serves_what_it_has() {
    let registry = Registry::start();
    let image = Image::new("gone", &[300_000]);
    let reference = image.push(registry.address(), "acme/web", "v1");
    let witness = FaultProxy::before(registry.address());
    let cache = Registry::cache_of(&witness.address());
    let entry = format!("{{kind: distribution, url: \"{}\"}}", cache.address());
    let document = pipeline(registry.address(), &[entry], "    fallback: deny\n")
        .replace(&format!("{}/acme/web:v1", registry.address()), &reference);
    let first = Sandbox::new();
    first.write("p.yml", &document);
    first.run(["p.yml"]).expect(0);
    witness.add(Rule::on("*").fault(Fault::answer(503, &[], "")));
    let second = Sandbox::new();
    second.write("p.yml", &document);
    second.run(["p.yml"]).expect(0);
    assert_holds(&second.cache(), &image);
}
