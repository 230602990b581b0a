//! Images from a real registry into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{
    Access, Authority, Image, Index, PASSWORD, Proxy, Registry, Sandbox, Service, Signal, USER,
    digest, wait_for,
};

/// Returns each file below a folder with its size.
pub fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if let Ok(about) = entry.metadata() {
            found.push((entry.path(), about.len()));
        }
    }
    found
}

/// Panics unless every blob of the cache is what its name says.
pub fn assert_whole(cache: &Path) {
    for (path, _) in files(&cache.join("blobs")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = digest(&fs::read(&path).unwrap());
        assert_eq!(found, format!("sha256:{name}"), "{}", path.display());
    }
}

/// Panics unless the cache holds the manifest, the config and every layer of an image.
pub fn assert_holds(cache: &Path, image: &Image) {
    assert_whole(cache);
    for blob in image.layers.iter().chain([&image.config, &image.manifest]) {
        let name = digest(blob).replace(':', "/");
        let path = cache.join("blobs").join(name);
        assert!(path.is_file(), "{} is missing", path.display());
    }
}

fn pipeline(reference: &str, more: &str) -> String {
    format!(
        "version: 1\nname: preload\n{more}images:\n  web: {reference}\nsteps:\n  - preload: {{images: [web]}}\n"
    )
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn by_tag_and_by_digest_the_same_bytes_arrive() {
    let registry = Registry::start();
    let image = Image::new("tag", &[1000, 300_000, 0]);
    let by_digest = image.push(registry.address(), "acme/deep/web", "v1");
    for reference in [
        format!("{}/acme/deep/web:v1", registry.address()),
        by_digest,
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("p.yml", pipeline(&format!("\"{reference}\""), ""));
        sandbox.run(["p.yml"]).expect(0);
        assert_holds(&sandbox.cache(), &image);
        let pulled = Sandbox::new();
        pulled.run(["pull", &reference]).expect(0);
        assert_holds(&pulled.cache(), &image);
        let listed = pulled.run(["cache", "ls"]).expect(0);
        assert!(listed.stdout.contains("acme/deep/web"), "{}", listed.stdout);
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_platform_is_chosen_from_an_index() {
    let registry = Registry::start();
    let amd = Image::of_platform("amd", &[2000], "linux", "amd64");
    let arm = Image::of_platform("arm", &[2000], "linux", "arm64");
    Index::of(vec![amd.clone(), arm.clone()]).push(registry.address(), "acme/web", "v1");
    let reference = format!("{}/acme/web:v1", registry.address());
    for (platform, chosen, other) in [("linux/amd64", &amd, &arm), ("linux/arm64", &arm, &amd)] {
        let sandbox = Sandbox::new();
        let image = format!("{{ref: \"{reference}\", platform: {platform}}}");
        sandbox.write("p.yml", pipeline(&image, ""));
        sandbox.run(["p.yml"]).expect(0);
        assert_holds(&sandbox.cache(), chosen);
        let unwanted = digest(&other.layers[0]).replace(':', "/");
        assert!(!sandbox.cache().join("blobs").join(unwanted).exists());
    }
    let sandbox = Sandbox::new();
    let missing = sandbox
        .run(["pull", &reference, "--platform", "linux/s390x"])
        .expect(20);
    missing.says("linux/s390x").says("linux/arm64");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_warm_run_fetches_no_blob() {
    let registry = Registry::start();
    let image = Image::new("warm", &[100_000, 200_000]);
    image.push(registry.address(), "acme/web", "v1");
    let sandbox = Sandbox::new();
    let cold = Proxy::before(registry.address());
    sandbox.write(
        "p.yml",
        pipeline(&format!("\"{}/acme/web:v1\"", cold.address()), ""),
    );
    sandbox.run(["p.yml"]).expect(0);
    assert_eq!(cold.accesses().iter().filter(|a| a.is_blob()).count(), 3);
    sandbox.run(["p.yml"]).expect(0);
    assert_eq!(
        cold.accesses().iter().filter(|a| a.is_blob()).count(),
        3,
        "blobs again"
    );

    // A new image that shares a layer costs the new bytes alone.
    let next = image.sharing_first_layer(&Image::new("next", &[50_000]));
    next.push(registry.address(), "acme/web", "v1");
    sandbox.run(["p.yml"]).expect(0);
    let blobs: Vec<_> = cold
        .accesses()
        .into_iter()
        .filter(|a| a.is_blob())
        .collect();
    assert_eq!(
        blobs.len(),
        3 + 2,
        "the new layer and the new config: {blobs:?}"
    );
    assert_holds(&sandbox.cache(), &next);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_password_comes_from_docker_s_configuration_or_from_the_document() {
    let open = Registry::start();
    let image = Image::new("auth", &[1000]);
    image.push(open.address(), "acme/web", "v1");
    let locked = open.with_password();
    let document = pipeline(&format!("\"{}/acme/web:v1\"", locked.address()), "");

    let stranger = Sandbox::new();
    stranger.write("p.yml", &document);
    stranger
        .run(["p.yml"])
        .expect(20)
        .says("no credentials were given")
        .says(locked.address());

    let logged_in = Sandbox::new();
    logged_in.docker_login(locked.address(), USER, PASSWORD);
    let credentials = "credentials: [docker-config]\n";
    let reference = format!("\"{}/acme/web:v1\"", locked.address());
    logged_in.write("p.yml", pipeline(&reference, credentials));
    logged_in.run(["p.yml"]).expect(0);
    assert_holds(&logged_in.cache(), &image);

    let mut given = Sandbox::new();
    given.set("REGISTRY_PASSWORD", PASSWORD);
    let auth = format!(
        "secrets:\n  password: {{env: REGISTRY_PASSWORD}}\nregistries:\n  \"{}\": {{auth: {{username: {USER}, password: \"${{secret.password}}\"}}}}\n",
        locked.address()
    );
    given.write(
        "p.yml",
        pipeline(&format!("\"{}/acme/web:v1\"", locked.address()), &auth),
    );
    let output = given.run(["run", "p.yml", "--verbose"]).expect(0);
    assert!(!output.stderr.contains(PASSWORD) && !output.stdout.contains(PASSWORD));
    assert_holds(&given.cache(), &image);

    let mut wrong = Sandbox::new();
    wrong.set("REGISTRY_PASSWORD", "another-password");
    wrong.write(
        "p.yml",
        pipeline(&format!("\"{}/acme/web:v1\"", locked.address()), &auth),
    );
    let output = wrong
        .run(["p.yml"])
        .expect(20)
        .says("authentication required");
    assert!(!output.stderr.contains("another-password"));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_token_is_asked_for_with_the_login_and_for_pulling_alone() {
    let open = Registry::start();
    let image = Image::new("token", &[1000, 2000]);
    image.push(open.address(), "acme/web", "v1");
    let (locked, tokens) = open.with_tokens(&Authority::new());
    let sandbox = Sandbox::new();
    let reference = format!("\"{}/acme/web:v1\"", locked.address());
    sandbox.write(
        "p.yml",
        pipeline(&reference, "credentials: [docker-config]\n"),
    );
    sandbox
        .run(["p.yml"])
        .expect(20)
        .says("no credentials were given");
    sandbox.docker_login(locked.address(), USER, PASSWORD);
    let asked = tokens.requests().len();
    sandbox.run(["p.yml"]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    let asked = tokens.requests().split_off(asked);
    assert_eq!(asked.len(), 1, "one token serves the whole pull: {asked:?}");
    let scope = asked[0].target.replace("%3A", ":").replace("%2F", "/");
    assert!(scope.contains("scope=repository:acme/web:pull"), "{scope}");
    assert!(!scope.contains("push"), "{scope}");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_private_authority_is_trusted_where_the_document_names_it() {
    let open = Registry::start();
    let image = Image::new("tls", &[1000]);
    image.push(open.address(), "acme/web", "v1");
    let authority = Authority::new();
    let secure = open.with_tls(&authority);
    let port = secure.address().rsplit(':').next().unwrap().to_owned();
    // By name: an address of loopback would be spoken to in the clear.
    let reference = format!("\"localhost:{port}/acme/web:v1\"");
    let registries = format!("registries:\n  \"localhost:{port}\": {{plain-http: false}}\n");
    let sandbox = Sandbox::new();
    sandbox.write("ca.pem", fs::read(authority.ca()).unwrap());
    sandbox.write(
        "p.yml",
        pipeline(&reference, &format!("net: {{ca: [ca.pem]}}\n{registries}")),
    );
    sandbox.run(["p.yml"]).expect(0);
    assert_holds(&sandbox.cache(), &image);

    sandbox.write("q.yml", pipeline(&reference, &registries));
    let stranger = sandbox.run(["run", "q.yml", "--cache", "other"]).expect(20);
    stranger.says("certificate").says("net");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_flipped_byte_never_enters_the_cache() {
    let registry = Registry::start();
    let image = Image::new("lie", &[1000, 40_000]);
    image.push(registry.address(), "acme/web", "v1");
    let victim = digest(&image.layers[1]);
    let target = victim.clone();
    let liar = Service::lying(registry.address().to_owned(), move |request, reply| {
        if request.target.contains(&target) && !reply.body.is_empty() {
            let middle = reply.body.len() / 2;
            reply.body[middle] ^= 1;
        }
    });
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.yml",
        pipeline(&format!("\"{}/acme/web:v1\"", liar.address()), ""),
    );
    sandbox.run(["p.yml"]).expect(20).says(&victim);
    assert_whole(&sandbox.cache());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_manifest_that_is_not_its_digest_is_refused() {
    let registry = Registry::start();
    let image = Image::new("manifest", &[1000]);
    let reference = image.push(registry.address(), "acme/web", "v1");
    let liar = Service::lying(registry.address().to_owned(), |request, reply| {
        if request.target.contains("/manifests/") && !reply.body.is_empty() {
            reply.body.push(b'\n');
        }
    });
    let sandbox = Sandbox::new();
    let reference = reference.replace(registry.address(), &liar.address());
    sandbox
        .run(["pull", &reference])
        .expect(20)
        .says(&image.digest());
    assert!(files(&sandbox.cache().join("blobs")).is_empty());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_kill_in_the_middle_leaves_a_cache_that_is_whole() {
    let registry = Registry::start();
    let image = Image::new("kill", &[6_000_000, 1000, 2000]);
    image.push(registry.address(), "acme/web", "v1");
    let slow = Proxy::limited(registry.address(), "2m");
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.yml",
        pipeline(&format!("\"{}/acme/web:v1\"", slow.address()), ""),
    );
    let running = sandbox.start(["p.yml"]);
    wait_for("the first bytes of the large layer", || {
        let large = files(&sandbox.cache())
            .into_iter()
            .any(|(_, size)| size > 300_000);
        large.then_some(())
    });
    running.signal(Signal::Kill);
    assert_eq!(running.finish().status.code(), None);
    assert_whole(&sandbox.cache());
    sandbox.run(["cache", "ls"]).expect(0);
    sandbox.run(["p.yml"]).expect(0);
    assert_holds(&sandbox.cache(), &image);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn what_is_not_there_is_said_as_such() {
    let registry = Registry::start();
    Image::new("there", &[10]).push(registry.address(), "acme/web", "v1");
    let sandbox = Sandbox::new();
    let missing = format!("{}/acme/web:v2", registry.address());
    sandbox
        .run(["pull", &missing])
        .expect(20)
        .says("tag v2")
        .says("does not exist");
}

#[test]
fn a_registry_that_is_down_is_named_with_its_address() {
    let sandbox = Sandbox::new();
    sandbox
        .run(["pull", "127.0.0.1:9/acme/web:v1"])
        .expect(20)
        .says("127.0.0.1:9");
    sandbox.write(
        "c.yml",
        "version: 1\nname: down\nsteps:\n  - check: {registry: \"127.0.0.1:9\"}\n",
    );
    sandbox.run(["c.yml"]).expect(21).says("127.0.0.1:9");
}

/// Returns the bytes of blobs that a proxy has sent.
fn sent(proxy: &Proxy) -> u64 {
    let accesses = proxy.accesses().into_iter();
    accesses
        .filter(Access::is_blob)
        .map(|access| access.bytes)
        .sum()
}

/// Kills a pull so many times at any moment, and then lets it end.
fn killed_often(kills: usize) {
    let registry = Registry::start();
    let image = Image::new("kills", &[30_000_000, 9_000_000, 2_000_000, 1000]);
    image.push(registry.address(), "acme/web", "v1");
    let slow = Proxy::limited(registry.address(), "2m");
    let sandbox = Sandbox::new();
    let reference = format!("{}/acme/web:v1", slow.address());
    let total: usize = image.layers.iter().map(Vec::len).sum();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for kill in 1..=kills {
        // So that every kill meets another moment of the same pull.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let due = (total * kill / (kills + 1)) as u64 + random % 200_000;
        let mut running = sandbox.start(["pull", &reference]);
        wait_for("bytes, or the end", || {
            let there = arrived(&sandbox.cache());
            (there >= due || running.ends_within(Duration::ZERO)).then_some(())
        });
        if !running.ends_within(Duration::ZERO) {
            running.signal(Signal::Kill);
        }
        running.finish();
        assert_whole(&sandbox.cache());
    }
    sandbox.run(["pull", &reference]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    // A small file that a killed process was just writing may stay until it is old.
    let left = files(&sandbox.cache().join("partial")).into_iter();
    let kept = ["data", "map", "lock"].map(std::ffi::OsStr::new);
    let left: Vec<_> = left
        .filter(|(path, _)| path.extension().is_some_and(|end| kept.contains(&end)))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let (sent, most) = (sent(&slow), total as u64 * 105 / 100);
    assert!(sent <= most, "{sent} bytes for {total} after {kills} kills");
}

/// Returns the bytes that are on disk: of whole blobs, and of those that the maps of others know.
fn arrived(cache: &Path) -> u64 {
    let whole = files(&cache.join("blobs"))
        .into_iter()
        .map(|(_, size)| size);
    let maps = files(&cache.join("partial")).into_iter();
    let maps = maps.filter(|(path, _)| path.extension().is_some_and(|kind| kind == "map"));
    let known = maps.filter_map(|(path, _)| {
        let map = fs::read(path).ok()?;
        let (records, _) = map.as_chunks::<16>();
        Some(records.iter().map(length).sum::<u64>())
    });
    whole.sum::<u64>() + known.sum::<u64>()
}

fn length(record: &[u8; 16]) -> u64 {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    };
    number(&record[8..]) - number(&record[..8])
}

#[test]
#[ignore = "needs real peers: tests/run"]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test suite, not of the library"
)]
fn kills_at_any_moment_cost_hardly_a_byte() {
    // `SHIPGATE_KILLS=50 tests/run preload` is the long form.
    let kills = std::env::var("SHIPGATE_KILLS");
    killed_often(kills.map_or(10, |kills| kills.parse().unwrap()));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn eight_processes_fetch_a_blob_once() {
    let registry = Registry::start();
    let image = Image::new("eight", &[12_000_000, 3_000_000, 1000]);
    image.push(registry.address(), "acme/web", "v1");
    let witness = Proxy::limited(registry.address(), "8m");
    let sandbox = Sandbox::new();
    let reference = format!("{}/acme/web:v1", witness.address());
    let running: Vec<_> = (0..8)
        .map(|_| sandbox.start(["pull", &reference]))
        .collect();
    for process in running {
        process.finish().expect(0);
    }
    assert_holds(&sandbox.cache(), &image);
    let total: usize = image.layers.iter().map(Vec::len).sum();
    let (sent, most) = (sent(&witness), total as u64 * 105 / 100);
    assert!(sent <= most, "{sent} bytes for {total}");
    let listed = sandbox.run(["cache", "ls"]).expect(0);
    assert_eq!(listed.stdout.lines().count(), 1, "{}", listed.stdout);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_flipped_bit_on_disk_is_found_and_only_that_blob_comes_again() {
    let registry = Registry::start();
    let image = Image::new("flip", &[50_000, 60_000]);
    image.push(registry.address(), "acme/web", "v1");
    let witness = Proxy::before(registry.address());
    let sandbox = Sandbox::new();
    let reference = format!("{}/acme/web:v1", witness.address());
    sandbox.run(["pull", &reference]).expect(0);
    sandbox.run(["cache", "verify"]).expect(0);
    let before = sent(&witness);
    let victim = digest(&image.layers[1]);
    let path = sandbox.cache().join("blobs").join(victim.replace(':', "/"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[30_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let found = sandbox.run(["cache", "verify"]).expect(20);
    assert!(found.stdout.contains(&victim), "{}", found.stdout);
    sandbox.run(["pull", &reference]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    assert_eq!(sent(&witness) - before, image.layers[1].len() as u64);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_least_used_image_goes_first_and_a_pinned_one_never() {
    let registry = Registry::start();
    let sandbox = Sandbox::new();
    let names: Vec<_> = ["one", "two"]
        .iter()
        .map(|name| {
            let image = Image::new(name, &[100_000]);
            image.push(registry.address(), &format!("acme/{name}"), "v1");
            format!("{}/acme/{name}:v1", registry.address())
        })
        .collect();
    sandbox.write("p.yml", pipeline(&format!("\"{}\"", names[0]), ""));
    sandbox.run(["p.yml", "--lock", "web.lock"]).expect(0);
    sandbox.run(["pull", &names[1]]).expect(0);
    let key = sandbox.run(["cache", "key"]).expect(0).stdout;
    let removed = sandbox
        .run(["cache", "gc", "--max-size", "150kB", "--lock", "web.lock"])
        .expect(0);
    assert!(removed.stdout.contains(&names[1]), "{}", removed.stdout);
    assert_ne!(sandbox.run(["cache", "key"]).expect(0).stdout, key);
    sandbox.run(["cache", "verify"]).expect(0);
    sandbox
        .run(["cache", "rm", &names[1]])
        .expect(2)
        .says("cache ls");
    sandbox.run(["cache", "rm", &names[0]]).expect(0);
    assert!(files(&sandbox.cache().join("blobs")).is_empty());
}
