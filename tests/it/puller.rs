//! The puller at its limits: answers to ranges, slow and silent connections, a cache that is still
//! filling, a disk that fills up.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::faults::{reference, registry};
use crate::harness::{
    Ending, Exchange, Fault, FaultProxy, Image, Length, RangeLie, Registry, Rule, Sandbox, digest,
    pause, wait_for,
};
use crate::preload::{assert_holds, files};

const LARGE: usize = 20_000_000;

fn large() -> Image {
    Image::new("puller", &[LARGE, 3000])
}

fn of_blob(proxy: &FaultProxy, blob: &[u8]) -> Vec<Exchange> {
    let name = digest(blob);
    let mut exchanges = proxy.exchanges();
    exchanges.retain(|it| it.request.target.contains(&name));
    exchanges
}

fn sent(exchanges: &[Exchange]) -> u64 {
    exchanges.iter().map(|it| it.sent).sum()
}

#[test]
fn every_answer_to_a_range_gives_the_right_bytes_at_its_price() {
    let image = large();
    // What is answered; the most requests that bring nothing; the most bytes sent, in hundredths.
    let rows: [(&str, Vec<Fault>, usize, u64); 9] = [
        ("206", vec![], 0, 105),
        ("200", vec![Fault::Range(RangeLie::Whole)], 0, 100),
        (
            "206, another offset",
            vec![Fault::Range(RangeLie::Offset(1))],
            1,
            145,
        ),
        (
            "206, short",
            // Of the last million bytes only crumbs would come.
            vec![Fault::Range(RangeLie::Short(1_000_000))],
            3,
            200,
        ),
        (
            "206, another total",
            vec![Fault::Range(RangeLie::Total(77))],
            1,
            145,
        ),
        (
            "206, unlabelled",
            vec![Fault::Range(RangeLie::Unlabelled)],
            1,
            145,
        ),
        ("400", vec![Fault::Range(RangeLie::Status(400))], 1, 100),
        ("416", vec![Fault::Range(RangeLie::Status(416))], 1, 100),
        (
            "no length",
            vec![
                Fault::Range(RangeLie::Whole),
                Fault::Length(Length::Missing),
            ],
            0,
            100,
        ),
    ];
    for (name, faults, wasted, bytes) in rows {
        let proxy = registry(&image);
        let rule = faults.into_iter().fold(Rule::on("*/blobs/*"), Rule::fault);
        proxy.add(rule);
        let sandbox = Sandbox::new();
        sandbox.run(["pull", &reference(&proxy)]).expect(0);
        assert_holds(&sandbox.cache(), &image);
        let exchanges = of_blob(&proxy, &image.layers[0]);
        let answered = |it: &&Exchange| matches!(it.status, Some(200 | 206));
        let good = exchanges
            .iter()
            .filter(answered)
            .filter(|it| it.ending == Some(Ending::Complete));
        let nothing = exchanges.len() - good.count();
        assert!(nothing <= wasted, "{name}: {exchanges:?}");
        let most = image.layers[0].len() as u64 * bytes / 100;
        assert!(
            sent(&exchanges) <= most,
            "{name}: {} bytes",
            sent(&exchanges)
        );
    }
}

#[test]
fn one_slow_connection_holds_nobody_up_and_its_rest_is_gone_on_with() {
    let image = Image::new("slow", &[60_000_000]);
    let proxy = registry(&image);
    // 40 MB/s each, but for one that has a hundredth of it.
    let rate = |bytes_per_second| Fault::Throttle { bytes_per_second };
    proxy.add(Rule::on("*/blobs/*").fault(rate(40_000_000)));
    proxy.add(Rule::on("*/blobs/*").connection(3).fault(rate(400_000)));
    let sandbox = Sandbox::new();
    sandbox.run(["pull", &reference(&proxy)]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    let exchanges = of_blob(&proxy, &image.layers[0]);
    // At its own pace alone it would have sent much more.
    let slow: Vec<_> = exchanges
        .iter()
        .filter(|it| it.connection == 3)
        .cloned()
        .collect();
    assert!(sent(&slow) <= 4_000_000, "{slow:?}");
    assert!(sent(&exchanges) <= 66_000_000, "{} bytes", sent(&exchanges));
}

#[test]
fn a_blob_that_stalls_is_told_of_and_gone_on_with() {
    let image = Image::new("stall", &[2_000_000]);
    let proxy = registry(&image);
    proxy.add(
        Rule::on("*/blobs/*")
            .nth(1)
            .fault(Fault::Stall { after: 500_000 }),
    );
    proxy.add(
        Rule::on("*/blobs/*")
            .nth(2)
            .fault(Fault::Stall { after: 500_000 }),
    );
    let sandbox = Sandbox::new();
    let output = sandbox.run(["pull", &reference(&proxy)]).expect(0);
    output.says("for 10.");
    assert_holds(&sandbox.cache(), &image);
    let range = format!("bytes=500000-{}", image.layers[0].len() - 1);
    let exchanges = of_blob(&proxy, &image.layers[0]);
    assert!(
        exchanges
            .iter()
            .any(|it| it.request.header("range") == Some(&*range))
    );
    assert!(sent(&exchanges) <= 2_100_000, "{exchanges:?}");
}

#[test]
fn a_warm_run_costs_a_head_and_by_digest_nothing() {
    let image = large();
    let proxy = registry(&image);
    let sandbox = Sandbox::new();
    let by_digest = format!("{}/acme/web@{}", proxy.address(), image.digest());
    for name in [reference(&proxy), by_digest.clone()] {
        sandbox.run(["pull", &name]).expect(0);
    }
    for (name, expected) in [(reference(&proxy), 1), (by_digest, 0)] {
        let before = proxy.exchanges().len();
        sandbox.run(["pull", &name]).expect(0);
        let asked = proxy.exchanges().split_off(before);
        assert_eq!(asked.len(), expected, "{asked:?}");
        assert!(asked.iter().all(|it| it.request.method == "HEAD"));
    }
}

#[test]
fn what_a_registry_still_allows_is_said_with_its_window() {
    let proxy = registry(&large());
    let limit = [
        ("ratelimit-limit", "100;w=21600"),
        ("ratelimit-remaining", "76;w=21600"),
    ];
    let rule = Rule::on("*/manifests/*").method("GET");
    proxy.add(limit.iter().fold(rule, |rule, (name, value)| {
        rule.fault(Fault::header(name, value))
    }));
    let sandbox = Sandbox::new();
    let document = format!(
        "version: 1\nname: budget\nimages:\n  web: \"{}\"\nsteps:\n  - preload: {{images: [web]}}\n",
        reference(&proxy)
    );
    sandbox.write("p.yml", document);
    let words = "76 of 100 requests left in 6 h";
    let plan = sandbox.run(["plan", "p.yml"]).expect(0);
    assert!(plan.stdout.contains(words), "{}", plan.stdout);
    assert!(
        plan.stdout.contains("20.0 MB to fetch") || plan.stdout.contains("20.0 MB of"),
        "{}",
        plan.stdout
    );
    let folder = sandbox.path().join("reports");
    sandbox
        .run(["run", "p.yml", "--report", folder.to_str().unwrap()])
        .expect(0)
        .says(words);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
    let quota = &report["requests"]["hosts"][0]["quota"];
    assert_eq!(quota["remaining"], 76, "{report}");
    assert_eq!(quota["window_s"], 21_600);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_cold_cache_in_between_is_asked_once_for_each_blob() {
    let origin = Registry::start();
    let image = Image::new("cold", &[LARGE, 12_000_000, 3000]);
    image.push(origin.address(), "acme/web", "v1");
    let upstream = FaultProxy::before(origin.address());
    upstream.add(Rule::on("*/blobs/*").fault(Fault::Throttle {
        bytes_per_second: 20_000_000,
    }));
    let cache = Registry::cache_of(&upstream.address());
    let front = FaultProxy::before(cache.address());
    let sandbox = Sandbox::new();
    sandbox.run(["pull", &reference(&front)]).expect(0);
    assert_holds(&sandbox.cache(), &image);
    for blob in &image.layers {
        let asked = of_blob(&front, blob);
        assert_eq!(asked.len(), 1, "{asked:?}");
        // For each answer that it passes on it fetches one more for its own disk.
        let fetched = of_blob(&upstream, blob);
        let fetched = fetched.iter().filter(|it| it.request.method == "GET");
        assert!(fetched.count() <= 2);
    }
}

/// A folder of 64 MiB, which is gone with the process that a test starts in it.
fn on_small_disk(sandbox: &Sandbox, script: &str) -> Option<Command> {
    let place = sandbox.path().join("disk");
    fs::create_dir_all(&place).unwrap();
    let mount = "mount -t tmpfs -o size=64m none disk";
    let may = Command::new("unshare")
        .args(["--mount", "sh", "-c", mount])
        .current_dir(sandbox.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !may {
        return None;
    }
    let mut command = Command::new("unshare");
    let shipgate = Path::new(env!("CARGO_BIN_EXE_shipgate"));
    let line = format!(
        "{mount} && {}",
        script.replace("SHIPGATE", shipgate.to_str().unwrap())
    );
    command.args(["--mount", "sh", "-c", &line]);
    Some(command)
}

#[test]
fn a_disk_that_is_too_small_is_noticed_before_the_first_byte() {
    let image = Image::new("full", &[90_000_000]);
    let proxy = registry(&image);
    let sandbox = Sandbox::new();
    let script = format!("SHIPGATE pull {} --cache disk", reference(&proxy));
    let Some(command) = on_small_disk(&sandbox, &script) else {
        return;
    };
    let output = sandbox.start_command(command).finish().expect(20);
    output.says("90.0 MB").says("free");
    assert!(of_blob(&proxy, &image.layers[0]).is_empty());
}

#[test]
fn a_disk_that_fills_up_keeps_what_came_and_the_next_pull_goes_on() {
    let image = Image::new("fill", &[30_000_000]);
    let proxy = registry(&image);
    proxy.add(Rule::on("*/blobs/*").fault(Fault::Throttle {
        bytes_per_second: 4_000_000,
    }));
    let sandbox = Sandbox::new();
    let pull = format!("SHIPGATE pull {} --cache disk", reference(&proxy));
    // Somebody else fills the disk while the pull is under way, and makes room again after it.
    let script = format!(
        "{{ {pull} 2>first & }} ; while [ ! -e go ]; do sleep 0.02; done; \
         dd if=/dev/zero of=disk/filler bs=1M 2>/dev/null; wait $!; echo $? >code; ls disk/partial >left; \
         rm disk/filler; {pull}; ls disk/partial >after"
    );
    let Some(command) = on_small_disk(&sandbox, &script) else {
        return;
    };
    let running = sandbox.start_command(command);
    wait_for("the first bytes", || {
        (sent(&of_blob(&proxy, &image.layers[0])) > 4_000_000).then_some(())
    });
    fs::write(sandbox.path().join("go"), "").unwrap();
    wait_for("the first pull to fail", || {
        fs::read_to_string(sandbox.path().join("code"))
            .ok()
            .filter(|code| code.ends_with('\n'))
    });
    proxy.behave();
    running.finish().expect(0);
    let read = |name: &str| fs::read_to_string(sandbox.path().join(name)).unwrap();
    assert_eq!(read("code"), "20\n");
    let first = read("first");
    assert!(first.contains("no space left for disk/partial"), "{first}");
    assert!(read("left").contains(".data"), "{}", read("left"));
    assert!(!read("after").contains(".data"), "{}", read("after"));
    // What was on its way when the disk was full came in vain, and nothing else.
    let bytes = sent(&of_blob(&proxy, &image.layers[0]));
    assert!(bytes <= 36_000_000, "{bytes} bytes");
}

#[test]
fn what_is_left_of_a_bound_is_within_one_blob() {
    let sandbox = Sandbox::new();
    let mut proxies = Vec::new();
    for number in 0..4 {
        let image = Image::new(&format!("gc{number}"), &[100_000, 50_000]);
        let proxy = registry(&image);
        sandbox.run(["pull", &reference(&proxy)]).expect(0);
        // The order of use is by the clock's seconds and fractions.
        pause(Duration::from_millis(5));
        proxies.push(proxy);
    }
    sandbox
        .run(["cache", "gc", "--max-size", "350kB"])
        .expect(0);
    let left: u64 = files(&sandbox.cache().join("blobs"))
        .iter()
        .map(|(_, size)| size)
        .sum();
    assert!((250_000..=350_000).contains(&left), "{left}");
    let listed = sandbox.run(["cache", "ls"]).expect(0).stdout;
    assert!(!listed.contains(&proxies[0].address()), "{listed}");
    assert!(listed.contains(&proxies[3].address()), "{listed}");
}
