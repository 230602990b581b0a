//! The journal of a run in the sandbox, which its component could have written: what `finish` believes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cancel::Receiver;
use crate::harness::{
    Answer, Output, Running, Sandbox, Service, Signal, hostile, launcher, shared, wait_for,
};

/// A run whose last step, a gate, never ends, and which has a notice to tell then.
struct Stuck {
    sandbox: Sandbox,
    receiver: Receiver,
    silent: Service,
}

impl Stuck {
    fn new() -> Self {
        let (receiver, silent) = (Receiver::start(), Service::start(|_| Answer::Silence));
        let mut sandbox = Sandbox::new();
        sandbox.set("HOOK", &receiver.url("/hook"));
        // The launcher's own folder is that of all tests; what is native must know it too.
        let [_, (name, state)] = shared();
        sandbox.set(name, &state);
        sandbox.write(
            "p.yml",
            format!(
                "version: 1\nsecrets:\n  hook: {{env: HOOK}}\nsteps:\n  - id: stuck\n    gate: {{within: 60s, every: 50ms, probes: {{page: {{http: {{url: \"http://{}/\"}}}}}}}}\nfinally:\n  - id: tell\n    notify: {{webhook: {{url: \"${{secret.hook}}\"}}, on: [always]}}\n",
                silent.address()
            ),
        );
        Self {
            sandbox,
            receiver,
            silent,
        }
    }

    /// Kills a run while it is stuck, and returns its journal.
    fn kill(&self, start: impl FnOnce(&Sandbox) -> Running) -> PathBuf {
        let before = self.silent.requests().len();
        let running = start(&self.sandbox);
        wait_for("the gate to ask", || {
            (self.silent.requests().len() > before).then_some(())
        });
        running.signal(Signal::Kill);
        running.finish();
        let journals = crate::preload::files(&self.sandbox.cache().join("runs"));
        let [(journal, _)] = &journals[..] else {
            panic!("one journal, not {journals:?}");
        };
        journal.clone()
    }

    fn kill_caged(&self) -> PathBuf {
        self.kill(|sandbox| sandbox.start_caged(&["run", "p.yml", "--report", "out"]))
    }

    fn finish(&self, cache: &Path, flags: &[&str]) -> Output {
        let cache = cache.to_str().unwrap();
        let words = [&["finish", "--cache", cache], flags].concat();
        self.sandbox.run(words)
    }
}

fn run_of(journal: &Path) -> &str {
    journal.file_stem().unwrap().to_str().unwrap()
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_run_that_was_killed_in_the_sandbox_is_finished_at_once() {
    let stuck = Stuck::new();
    let cache = stuck.sandbox.cache();
    stuck.kill_caged();
    let finished = stuck.finish(&cache, &[]).expect(0);
    // Whether it is alive is known by the launcher's lock: nothing is watched for half a minute.
    assert!(!finished.stderr.contains("watching its journal"));
    finished.says("killed during step stuck; finishing: tell");
    assert_eq!(stuck.receiver.notices().len(), 1);
    assert!(stuck.sandbox.path().join("out/report.json").is_file());
    stuck
        .finish(&cache, &[])
        .expect(0)
        .says("nothing to finish");
    // What the launcher kept of it is gone with the journal.
    let [_, (_, state)] = shared();
    let kept = crate::preload::files(&Path::new(&state).join("shipgate-wasm/journals"));
    let own = cache.canonicalize().unwrap().display().to_string();
    let shelf = kept
        .iter()
        .find(|(path, _)| fs::read_to_string(path).is_ok_and(|it| it == own));
    let shelf = shelf.unwrap().0.parent().unwrap();
    assert_eq!(fs::read_dir(shelf).unwrap().count(), 1);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_run_in_the_sandbox_that_goes_on_is_left_alone() {
    let stuck = Stuck::new();
    let running = stuck.sandbox.start_caged(&["run", "p.yml"]);
    wait_for("the gate to ask", || {
        (!stuck.silent.requests().is_empty()).then_some(())
    });
    let finished = stuck.finish(&stuck.sandbox.cache(), &[]).expect(0);
    finished.says("goes on, or is being finished");
    running.signal(Signal::Interrupt);
    running.finish().expect(70);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_first_line_that_was_altered_is_refused() {
    let stuck = Stuck::new();
    let journal = stuck.kill_caged();
    let text = fs::read_to_string(&journal).unwrap();
    let folder = stuck.sandbox.path().display().to_string();
    for (from, to, field) in [
        ("on: [always]", "on: [always], message: hostile", "document"),
        ("\"report\":\"out\"", "\"report\":\"/elsewhere\"", "options"),
        (
            &*format!("\"folder\":\"{folder}\""),
            "\"folder\":\"/\"",
            "folder",
        ),
        ("\"inputs\":{}", "\"inputs\":{\"a\":\"b\"}", "inputs"),
        ("\"locked\":null", "\"locked\":{}", "locked"),
        ("\"file\":\"p.yml\"", "\"file\":\"q.yml\"", "file"),
    ] {
        assert!(text.contains(from), "{from} in\n{text}");
        fs::write(&journal, text.replacen(from, to, 1)).unwrap();
        for flags in [&[][..], &["--run", run_of(&journal)]] {
            stuck
                .finish(&stuck.sandbox.cache(), flags)
                .expect(1)
                .says(&format!("names another {field} than the run was given"));
        }
    }
    assert_eq!(stuck.receiver.notices().len(), 0);
    // What was done it may say, true or not.
    fs::write(&journal, text).unwrap();
    stuck.finish(&stuck.sandbox.cache(), &[]).expect(0);
    assert_eq!(stuck.receiver.notices().len(), 1);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_journal_that_a_component_made_up_is_left_alone() {
    let stuck = Stuck::new();
    let journal = stuck.kill(|sandbox| sandbox.start(["p.yml"]));
    let text = fs::read_to_string(&journal).unwrap();
    let name = journal.file_name().unwrap().to_str().unwrap();
    let component = hostile().to_str().unwrap();
    let forged = stuck.sandbox.path().join("outer/forged");
    let layout = fs::read(stuck.sandbox.cache().join("oci-layout")).unwrap();
    stuck.sandbox.write("outer/forged/oci-layout", &layout);
    fs::create_dir(forged.join("runs")).unwrap();
    // By the cache itself, by a folder above it, by the folder of journals alone.
    for (granted, below) in [
        ("outer/forged", "runs/"),
        ("outer", "forged/runs/"),
        ("outer/forged/runs", ""),
    ] {
        let folder = format!("{granted}::/granted");
        let path = format!("/granted/{below}{name}");
        let line = [
            "--component",
            component,
            "--dir",
            &folder,
            "--",
            "write",
            &path,
            &text,
        ];
        stuck.sandbox.launch(&line).expect(0);
        let refused = stuck.finish(&forged, &[]).expect(0);
        refused
            .says("a component in the sandbox may write")
            .says("left alone");
        stuck
            .finish(&forged, &["--run", run_of(&journal)])
            .expect(1)
            .says("nothing is known of that run");
        assert_eq!(stuck.receiver.notices().len(), 0, "{granted}");
    }
    // Another home, or none at all, knows it by the mark in the cache.
    stuck
        .sandbox
        .launch(&[
            "--component",
            component,
            "--dir",
            "outer/forged::/granted",
            "--",
            "remove",
            "/granted/.shipgate-sandbox",
        ])
        .expect(0);
    let program = env!("CARGO_BIN_EXE_shipgate");
    for home in ["XDG_STATE_HOME=/nowhere", "-u HOME -u XDG_STATE_HOME"] {
        let finish = |flags: &str| {
            let cache = forged.display();
            let line = format!("exec env {home} {program} finish --cache {cache} {flags}");
            stuck.sandbox.launch_line(&line)
        };
        finish("").expect(0).says("left alone");
        finish(&format!("--run {}", run_of(&journal))).expect(1);
        assert_eq!(stuck.receiver.notices().len(), 0, "{home}");
    }
    // Where no component could write, the same journal is acted on.
    let own = tempfile::tempdir().unwrap();
    fs::write(own.path().join("oci-layout"), layout).unwrap();
    fs::create_dir(own.path().join("runs")).unwrap();
    fs::copy(&journal, own.path().join("runs").join(name)).unwrap();
    stuck.finish(own.path(), &[]).expect(0);
    assert_eq!(stuck.receiver.notices().len(), 1);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_native_run_in_a_cache_that_was_open_is_finished() {
    let stuck = Stuck::new();
    let cache = stuck.sandbox.cache();
    let gate = fs::read_to_string(stuck.sandbox.path().join("p.yml")).unwrap();
    let up = Service::constant(200, "");
    let quick = gate.replace(&stuck.silent.address(), &up.address());
    stuck.sandbox.write("quick.yml", quick);
    stuck.sandbox.caged(&["quick.yml"]).expect(0);
    assert_eq!(stuck.receiver.notices().len(), 1);
    stuck.kill(|sandbox| sandbox.start(["p.yml"]));
    stuck.finish(&cache, &[]).expect(0).says("finishing: tell");
    assert_eq!(stuck.receiver.notices().len(), 2);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_start_that_fails_keeps_nothing() {
    let stuck = Stuck::new();
    stuck.sandbox.write("broken.wasm", "broken");
    let line = format!(
        "exec env XDG_STATE_HOME=$PWD/state {} run p.yml --component broken.wasm",
        launcher().display()
    );
    stuck
        .sandbox
        .launch_line(&line)
        .expect(1)
        .says("broken.wasm is no component to run");
    let kept = crate::preload::files(&stuck.sandbox.path().join("state"));
    let journals = kept
        .iter()
        .filter(|(path, _)| path.extension() == Some("jsonl".as_ref()));
    assert_eq!(journals.count(), 0, "{kept:?}");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn what_a_killed_launcher_left_goes_at_the_next_start() {
    let mut stuck = Stuck::new();
    let temporary = tempfile::tempdir().unwrap();
    stuck
        .sandbox
        .set("TMPDIR", temporary.path().to_str().unwrap());
    let folders = || {
        let entries = fs::read_dir(temporary.path()).unwrap();
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("shipgate-sandbox-"))
            .count()
    };
    stuck.kill_caged();
    assert_eq!(folders(), 1);
    stuck.sandbox.caged(&["validate", "p.yml"]).expect(0);
    assert_eq!(folders(), 0);
}
