//! `finish` after a kill: what it tells, what it refuses, what it leaves.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::cancel::{Receiver, leftovers, report, step};
use crate::harness::{
    Answer, Image, PlaygroundRegistry, Proxy, Registry, Running, Sandbox, Service, Signal, wait_for,
};

/// A gate that waits for a service that never answers.
const HANGS: &str = "gate: {within: 60s, every: 50ms, probes: {page: {http: {url: \"http://{silent}/\", status: 200}}}}";

/// A run that is killed in its last step, the gate `stuck`.
struct Crash {
    sandbox: Sandbox,
    receiver: Receiver,
    silent: Service,
}

impl Crash {
    /// Makes a run whose hook is a secret.
    fn new() -> Self {
        let (receiver, silent) = (Receiver::start(), Service::start(|_| Answer::Silence));
        let mut sandbox = Sandbox::new();
        sandbox.set("HOOK", &receiver.url("/hook/s3cret-path"));
        let hangs = HANGS.replace("{silent}", &silent.address());
        sandbox.write(
            "p.yml",
            format!(
                "version: 1\nname: web\nsecrets:\n  hook: {{env: HOOK}}\nsteps:\n  - id: stuck\n    {hangs}\nfinally:\n  - id: tell\n    notify: {{webhook: {{url: \"${{secret.hook}}\"}}, on: [always]}}\n"
            ),
        );
        Self {
            sandbox,
            receiver,
            silent,
        }
    }

    fn start(&self) -> Running {
        let before = self.silent.requests().len();
        let running = self.sandbox.start(["p.yml", "--report", "out"]);
        wait_for("the gate to ask", || {
            (self.silent.requests().len() > before).then_some(())
        });
        running
    }

    fn killed(self) -> Self {
        let running = self.start();
        running.signal(Signal::Kill);
        running.finish();
        self
    }

    fn journal(&self) -> PathBuf {
        let [path] = &journals(&self.sandbox)[..] else {
            panic!("one journal, not {:?}", journals(&self.sandbox));
        };
        path.clone()
    }

    /// Changes a word of the journal.
    fn edit(&self, from: &str, to: &str) {
        let path = self.journal();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} in\n{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

fn journals(sandbox: &Sandbox) -> Vec<PathBuf> {
    let files = super::preload::files(&sandbox.cache().join("runs"));
    files.into_iter().map(|(path, _)| path).collect()
}

#[test]
fn the_notice_of_a_killed_run_names_the_digest_and_the_state() {
    let registry = PlaygroundRegistry::start(Default::default());
    let image = Image::new("finish", &[1000]);
    image.push(registry.address(), "acme/web", "v1");
    let crash = Crash::new();
    let document = fs::read_to_string(crash.sandbox.path().join("p.yml")).unwrap();
    let images = format!(
        "images:\n  web: \"{}/acme/web:v1\"\nsteps:\n  - preload: {{images: [web]}}\n",
        registry.address()
    );
    let message =
        "on: [always], message: \"${run.status} ${step.stuck.outcome} ${image.web.digest}\"";
    let document = document
        .replace("steps:\n", &images)
        .replace("on: [always]", message);
    crash.sandbox.write("p.yml", document);
    let crash = crash.killed();
    let address = registry.address().to_owned();
    drop(registry);
    let finished = crash.sandbox.run(["finish"]).expect(0);
    finished
        .says("killed during step stuck; finishing: tell")
        .says("CANCELLED")
        .says("nothing is left open, exit code 0 (done)");
    let [notice] = &crash.receiver.notices()[..] else {
        panic!("one notice");
    };
    let expected = format!("cancelled cancelled {}", image.digest());
    assert_eq!(notice["message"], expected.as_str());
    assert_eq!(notice["images"][0]["digest"], image.digest());
    let report = report(&crash.sandbox);
    assert_eq!(report["run"], notice["run"]);
    assert_eq!(report["images"][0]["digest"], image.digest());
    // What the run had asked of the registry, and the notice besides.
    let hosts = report["requests"]["hosts"].as_array().unwrap();
    let registry = hosts.iter().find(|host| host["host"] == address.as_str());
    assert!(
        registry.unwrap()["requests"].as_u64() > Some(1),
        "{hosts:?}"
    );
    assert!(report["requests"]["total"].as_u64() > Some(2), "{hosts:?}");
    assert_eq!(report["notices"][0]["delivered"], true);
    assert_eq!(leftovers(crash.sandbox.path()), [""; 0]);
}

#[test]
fn a_run_that_was_killed_while_it_told_of_a_failure_tells_it() {
    let (broken, deaf) = (
        Service::constant(500, ""),
        Service::start(|_| Answer::Silence),
    );
    let receiver = Receiver::start();
    let mut sandbox = Sandbox::new();
    sandbox.set("HOOK", &deaf.url("/hook/s3cret-path"));
    sandbox.write(
        "p.yml",
        format!(
            "version: 1\nname: web\nsecrets:\n  hook: {{env: HOOK}}\nsteps:\n  - id: live\n    gate: {{within: 200ms, every: 50ms, probes: {{page: {{http: {{url: \"{}\", status: 200}}}}}}}}\n  - id: after\n    check: {{registry: \"127.0.0.1:1\"}}\non-failure:\n  - id: back\n    notify: {{webhook: \"${{secret.hook}}\"}}\nfinally:\n  - id: tell\n    notify: {{webhook: \"{}\", on: [failure], message: \"${{run.status}}: ${{run.reason}}\"}}\n",
            broken.url("/"),
            receiver.url("/tell"),
        ),
    );
    let running = sandbox.start(["p.yml", "--report", "out"]);
    wait_for("on-failure to tell", || {
        (!deaf.requests().is_empty()).then_some(())
    });
    running.signal(Signal::Kill);
    running.finish();
    sandbox.set("HOOK", &receiver.url("/back"));
    let finished = sandbox.run(["finish"]).expect(0);
    finished
        .says("killed during step back; finishing: back, tell")
        .says("exit code 50 (gate-failed)");
    let [back, tell] = &receiver.notices()[..] else {
        panic!("two notices, not {:?}", receiver.notices());
    };
    assert_eq!(back["status"], "failed");
    assert_eq!(back["step"]["id"], "live");
    let message = tell["message"].as_str().unwrap();
    assert!(message.starts_with("failed: "), "{message}");
    let report = report(&sandbox);
    assert_eq!(report["exit"]["name"], "gate-failed");
    assert_eq!(step(&report, "after")["outcome"], "skipped");
    assert_eq!(step(&report, "back")["outcome"], "passed");
}

#[test]
fn a_missing_secret_is_named_and_the_journal_stays() {
    let mut crash = Crash::new().killed();
    let hook = crash.receiver.url("/hook/s3cret-path");
    crash.sandbox.set("HOOK", "");
    crash
        .sandbox
        .run(["finish"])
        .expect(11)
        .says("the variable `HOOK` is empty")
        .says("call `shipgate finish` again");
    crash.journal();
    crash.sandbox.set("HOOK", &hook);
    crash.sandbox.run(["finish"]).expect(0);
    assert_eq!(crash.receiver.notices().len(), 1);
    assert_eq!(journals(&crash.sandbox), Vec::<PathBuf>::new());
}

#[test]
fn a_notice_that_nobody_takes_stays_open_until_somebody_does() {
    let mut crash = Crash::new().killed();
    crash
        .sandbox
        .set("HOOK", &crash.receiver.url("/gone/s3cret-path"));
    for _ in 0..2 {
        crash
            .sandbox
            .run(["finish"])
            .expect(80)
            .says("404")
            .says("left open: tell")
            .says("to give it up, remove ");
        let journal = fs::read_to_string(crash.journal()).unwrap();
        assert!(journal.contains("answered 404"), "{journal}");
        assert!(!journal.contains("s3cret"), "{journal}");
    }
    crash
        .sandbox
        .set("HOOK", &crash.receiver.url("/hook/s3cret-path"));
    crash
        .sandbox
        .run(["finish"])
        .expect(0)
        .says("it left something open; finishing: tell");
    let delivered = report(&crash.sandbox)["notices"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|notice| notice["delivered"] == true)
        .count();
    assert_eq!(delivered, 1);
    assert_eq!(journals(&crash.sandbox), Vec::<PathBuf>::new());
}

#[test]
fn a_signal_leaves_finish_the_time_to_end_what_it_began() {
    let crash = Crash::new().killed();
    crash.receiver.hold();
    let running = crash.sandbox.start(["finish"]);
    wait_for("the receiver to be asked", || {
        (!crash.receiver.notices().is_empty()).then_some(())
    });
    running.signal(Signal::Interrupt);
    crash.receiver.answer_from_now_on();
    running.finish().expect(0).says("webhook: delivered");
    assert_eq!(crash.receiver.notices().len(), 1);
    assert_eq!(journals(&crash.sandbox), Vec::<PathBuf>::new());
}

#[test]
fn living_runs_are_left_alone_and_each_has_a_journal_of_its_own() {
    let crash = Crash::new();
    let running = [crash.start(), crash.start()];
    assert_eq!(journals(&crash.sandbox).len(), 2);
    let finished = crash.sandbox.run(["finish"]).expect(0);
    finished.says("goes on").says("nothing else to finish");
    assert_eq!(crash.receiver.notices().len(), 0);
    let [first, second] = running;
    first.signal(Signal::Kill);
    first.finish();
    crash
        .sandbox
        .run(["finish"])
        .expect(0)
        .says("killed during");
    assert_eq!(crash.receiver.notices().len(), 1);
    second.signal(Signal::Interrupt);
    second.finish().expect(70);
    assert_eq!(crash.receiver.notices().len(), 2);
    assert_eq!(journals(&crash.sandbox), Vec::<PathBuf>::new());
}

#[test]
fn what_no_run_wrote_is_refused_by_name_and_holds_up_nothing_else() {
    for (from, to, said) in [
        (
            "{\"journal\":1",
            "{\"journal\":9",
            "in version 9 of the journal's format",
        ),
        (
            "\"event\":\"run-started\"",
            "\"event\":\"x\"",
            ":2 can't be read: unknown variant `x`",
        ),
    ] {
        let crash = Crash::new().killed();
        crash.edit(from, to);
        let refused = crash.journal();
        // A second run dies beside it.
        let crash = crash.killed();
        let finished = crash.sandbox.run(["finish"]).expect(1);
        finished.says(said).says("is not finished");
        assert_eq!(journals(&crash.sandbox), [refused]);
        assert_eq!(crash.receiver.notices().len(), 1);
    }
}

#[test]
fn a_journal_that_came_from_elsewhere_is_acted_on_only_by_its_name() {
    let crash = Crash::new().killed();
    let path = crash.journal();
    let text = fs::read_to_string(&path).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let Some(boot) = header["boot"].as_str() else {
        // Only Linux names its starts.
        return;
    };
    crash.edit(boot, "00000000-0000-0000-0000-000000000000");
    // Nor is its folder looked for, which other machines don't have.
    let folder = format!("\"folder\":{}", header["folder"]);
    let elsewhere = "\"folder\":\"/nowhere\"";
    crash.edit(&folder, elsewhere);
    let refused = crash.sandbox.run(["finish"]).expect(0);
    refused
        .says("was begun elsewhere")
        .says("nothing else to finish");
    crash.edit(elsewhere, &folder);
    assert_eq!(crash.receiver.notices().len(), 0);
    let run = path.file_stem().unwrap().to_str().unwrap();
    crash.sandbox.run(["finish", "--run", run]).expect(0);
    assert_eq!(crash.receiver.notices().len(), 1);
    let unknown = crash.sandbox.run(["finish", "--run", run]).expect(2);
    unknown.says("there is no journal of run");
}

#[test]
fn a_journal_that_others_may_write_to_is_left_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let crash = Crash::new().killed();
    let path = crash.journal();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = crash.sandbox.run(["finish"]).expect(0);
    refused
        .says("others may write to it: it is left alone")
        .says("nothing else to finish");
    let run = path.file_stem().unwrap().to_str().unwrap();
    let named = crash.sandbox.run(["finish", "--run", run]).expect(1);
    named.says("others may write to it");
    assert_eq!(crash.receiver.notices().len(), 0);
    assert_eq!(crash.journal(), path);
}

#[test]
fn a_pipe_where_an_old_journal_should_be_holds_nobody_up() {
    let crash = Crash::new().killed();
    let pipe = crash
        .sandbox
        .cache()
        .join("runs/20200101T000000Z-00000000.jsonl");
    for command in [
        &["mkfifo"][..],
        &["touch", "--no-create", "--date", "2020-01-01"],
    ] {
        let mut call = Command::new(command[0]);
        call.args(&command[1..]).arg(&pipe);
        assert!(call.status().unwrap().success());
    }
    crash.sandbox.run(["finish"]).expect(1).says("is no file");
    assert_eq!(crash.receiver.notices().len(), 1);
}

#[test]
fn an_old_run_is_closed_without_a_word_to_others() {
    let crash = Crash::new().killed();
    let text = fs::read_to_string(crash.journal()).unwrap();
    let started: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    crash.edit(started["at"].as_str().unwrap(), "2020-01-01T00:00:00Z");
    crash
        .sandbox
        .run(["finish"])
        .expect(0)
        .says("tell will not be done: the run was killed more than a day ago");
    assert_eq!(crash.receiver.notices().len(), 0);
    let report = report(&crash.sandbox);
    assert_eq!(step(&report, "stuck")["outcome"], "cancelled");
    assert_eq!(step(&report, "tell")["outcome"], "skipped");
    assert_eq!(journals(&crash.sandbox), Vec::<PathBuf>::new());
}

#[test]
fn finish_works_from_any_folder_and_reports_where_it_is_told() {
    let crash = Crash::new().killed();
    let script = format!(
        "mkdir else && cd else && exec {} finish --report new",
        env!("CARGO_BIN_EXE_shipgate")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    crash.sandbox.start_command(command).finish().expect(0);
    assert_eq!(crash.receiver.notices().len(), 1);
    assert!(crash.sandbox.path().join("else/new/report.json").is_file());
    assert!(!crash.sandbox.path().join("out").exists());
}

#[test]
fn a_killed_playground_leaves_nothing() {
    let mut sandbox = Sandbox::new();
    fs::create_dir(sandbox.path().join("tmp")).unwrap();
    let temporary = sandbox.path().join("tmp");
    sandbox.set("TMPDIR", temporary.to_str().unwrap());
    let silent = Service::start(|_| Answer::Silence);
    sandbox.write(
        "p.yml",
        format!(
            "version: 1\nname: play\nplayground: true\nsteps:\n  - id: stuck\n    {}\nfinally:\n  - id: tell\n    notify: {{webhook: \"${{playground.webhook}}\", on: [always]}}\n",
            HANGS.replace("{silent}", &silent.address())
        ),
    );
    let running = sandbox.start(["p.yml", "--report", "out"]);
    wait_for("the gate to ask", || {
        (!silent.requests().is_empty()).then_some(())
    });
    running.signal(Signal::Kill);
    running.finish();
    assert_eq!(super::preload::files(&temporary).len(), 1, "the key");
    sandbox
        .run(["finish"])
        .expect(0)
        .says("tell will not be done: it went to the playground, which died with the run");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert_eq!(step(&report(&sandbox), "tell")["outcome"], "skipped");
    assert_eq!(leftovers(sandbox.path()), [""; 0]);
}

#[test]
fn a_run_that_can_keep_no_journal_runs_and_says_so() {
    let crash = Crash::new();
    crash.sandbox.write(
        "cache/shipgate/oci-layout",
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    );
    crash.sandbox.write("cache/shipgate/runs", "in the way");
    let running = crash.start();
    running.signal(Signal::Interrupt);
    running
        .finish()
        .expect(70)
        .says("this run keeps no journal")
        .says("(os error ")
        .says("name a cache with --cache");
    assert_eq!(crash.receiver.notices().len(), 1);
}

#[test]
fn a_pipeline_that_holds_the_value_of_a_secret_is_not_written_down() {
    let mut crash = Crash::new();
    crash.sandbox.set("HOOK", &crash.silent.url("/"));
    let running = crash.start();
    assert_eq!(journals(&crash.sandbox), Vec::<PathBuf>::new());
    running.signal(Signal::Kill);
    let said = running.finish();
    said.says("its document would hold the value of a secret");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_kill_in_the_middle_of_a_blob_leaves_a_cache_that_the_next_run_uses() {
    let registry = Registry::start();
    let image = Image::new("finish", &[6_000_000, 1000]);
    image.push(registry.address(), "acme/web", "v1");
    let slow = Proxy::limited(registry.address(), "2m");
    let crash = Crash::new();
    crash.sandbox.write(
        "p.yml",
        format!(
            "version: 1\nname: blob\nsecrets:\n  hook: {{env: HOOK}}\nimages:\n  web: \"{}/acme/web:v1\"\nsteps:\n  - preload: {{images: [web]}}\nfinally:\n  - notify: {{webhook: \"${{secret.hook}}\", on: [always]}}\n",
            slow.address()
        ),
    );
    let running = crash.sandbox.start(["p.yml"]);
    wait_for("the first bytes of the large layer", || {
        super::preload::files(&crash.sandbox.cache())
            .iter()
            .any(|(_, size)| *size > 300_000)
            .then_some(())
    });
    running.signal(Signal::Kill);
    running.finish();
    super::preload::assert_whole(&crash.sandbox.cache());
    let finished = crash.sandbox.run(["finish"]).expect(0);
    finished.says("killed during step preload; finishing: notify");
    assert_eq!(crash.receiver.notices().len(), 1);
    super::preload::assert_whole(&crash.sandbox.cache());
    crash.sandbox.run(["p.yml"]).expect(0);
    super::preload::assert_holds(&crash.sandbox.cache(), &image);
    assert_eq!(journals(&crash.sandbox), Vec::<PathBuf>::new());
}
