//! Signals reach the run in the sandbox, as they reach a native one.

use crate::harness::{Answer, Running, Sandbox, Service, Signal, wait_for};

/// Starts a gate that hangs, and waits until it does.
fn stuck(sandbox: &Sandbox, sink: &Service, silent: &Service) -> Running {
    sandbox.write(
        "p.yml",
        format!(
            "version: 1
steps:
  - gate: {{within: 60s, every: 50ms, probes: {{page: {{http: {{url: \"{}\"}}}}}}}}
finally:
  - notify: {{webhook: {{url: \"{}\"}}, on: [failure, success, cancelled]}}
",
            silent.url("/"),
            sink.url("/told")
        ),
    );
    let running = sandbox.start_caged(&["run", "p.yml", "--report", "out"]);
    wait_for("the silent service to be asked", || {
        (!silent.requests().is_empty()).then_some(())
    });
    running
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_signal_cancels_and_finally_still_runs() {
    for signals in [
        &[Signal::Interrupt][..],
        &[Signal::Terminate],
        &[Signal::Interrupt, Signal::Terminate],
    ] {
        let silent = Service::start(|_| Answer::Silence);
        let sink = Service::constant(200, "");
        let sandbox = Sandbox::new();
        let running = stuck(&sandbox, &sink, &silent);
        for signal in signals {
            running.signal(*signal);
        }
        running.finish().expect(70).says("webhook: delivered");
        assert_eq!(sink.requests().len(), 1, "{signals:?}");
        assert!(sandbox.path().join("out/report.json").is_file());
    }
}
