//! Jobs that are cancelled: what the runner signals, and what is left open when it kills.
//!
//! GitHub leaves 7.5 s between SIGINT and SIGTERM and 2.5 s more before it kills. Nothing here
//! depends on the length of the pauses, so there are none.

use std::fs;

use crate::harness::{Answer, Runner, Running, Sandbox, Service, Signal, wait_for};

/// A job whose gate waits for a service that never answers.
struct Job {
    sandbox: Sandbox,
    silent: Service,
    told: Service,
}

impl Job {
    fn new() -> Self {
        let job = Self {
            sandbox: Sandbox::new(),
            silent: Service::start(|_| Answer::Silence),
            told: Service::constant(200, ""),
        };
        job.sandbox.write(
            "folder/pipeline.yml",
            format!(
                "version: 1\nname: stuck\nsteps:\n  - id: live\n    gate: {{within: 60s, every: 50ms, probes: {{page: {{http: \"{}\"}}}}}}\nfinally:\n  - notify: {{webhook: {{url: \"{}\"}}, on: [cancelled, failure]}}\n",
                job.silent.url("/"),
                job.told.url("/told")
            ),
        );
        job
    }

    fn runner(&self) -> Runner<'_> {
        let runner = Runner::new(&self.sandbox)
            .with("working-directory", "folder")
            .with("cache", "images");
        runner.step("binary").finish().expect(0);
        runner
    }

    /// Starts the run and returns once its gate waits.
    fn start(&self, runner: &Runner<'_>) -> Running {
        let running = runner.step("run");
        wait_for("the silent service to be asked", || {
            (!self.silent.requests().is_empty()).then_some(())
        });
        running
    }
}

#[test]
fn a_cancelled_run_ends_itself_and_leaves_nothing_to_finish() {
    let job = Job::new();
    let runner = job.runner();
    let running = job.start(&runner);
    running.signal(Signal::Interrupt);
    running.finish().expect(70);
    assert_eq!(runner.output("status"), "cancelled");
    assert_eq!(job.told.requests().len(), 1);
    let finished = runner.step("finish").finish().expect(0);
    assert_eq!(job.told.requests().len(), 1);
    let said = finished.stdout + &finished.stderr;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(runner.output("status"), "cancelled");
}

#[test]
fn a_killed_run_is_finished_by_the_last_step_though_that_is_signalled_too() {
    let job = Job::new();
    let runner = job.runner();
    let running = job.start(&runner);
    running.signal(Signal::Kill);
    assert_eq!(running.finish().status.code(), None);
    assert_eq!(runner.output("status"), "");
    assert!(job.told.requests().is_empty());

    let finishing = runner.step("finish");
    signal_early(&finishing);
    finishing.finish();
    assert_eq!(job.told.requests().len(), 1);
    assert_ne!(runner.output("status"), "");
    let report = fs::read_to_string(runner.output("report")).unwrap();
    assert!(report.contains("\"live\""), "{report}");

    // Nothing is finished twice.
    runner.step("finish").finish().expect(0);
    assert_eq!(job.told.requests().len(), 1);
}

#[test]
fn a_killed_run_is_finished_by_a_step_of_its_own() {
    let job = Job::new();
    let runner = job.runner();
    let running = job.start(&runner);
    running.signal(Signal::Kill);
    running.finish();
    let finish = job.runner().with("command", "finish");
    finish.step("run").finish();
    assert_eq!(job.told.requests().len(), 1);
    assert_ne!(finish.output("status"), "");
}

/// Interrupts a step as soon as it minds SIGINT, which is before it has become shipgate, or soon after.
fn signal_early(running: &Running) {
    let status = format!("/proc/{}/status", running.id());
    wait_for("the step to mind SIGINT", || {
        let status = fs::read_to_string(&status).ok()?;
        let signals = |set: &str| {
            let signals = status.lines().find_map(|line| line.strip_prefix(set))?;
            u64::from_str_radix(signals.trim(), 16).ok()
        };
        let minded = (signals("SigIgn:")? | signals("SigCgt:")?) & 0b10 != 0;
        let over = status.contains("State:\tZ");
        (minded || over).then_some(())
    });
    running.signal(Signal::Interrupt);
}
