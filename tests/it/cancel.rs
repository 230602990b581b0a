//! Signals as they really come: SIGINT and then SIGTERM from one system, SIGTERM alone from
//! another, a second SIGINT from an impatient person.
//!
//! GitHub leaves 7.5 s between SIGINT and SIGTERM and 2.5 s more before it kills. Nothing here
//! depends on the length of the pauses, so they are short.

use std::time::Duration;

use crate::harness::{
    Answer, Image, Proxy, Registry, Running, Sandbox, Service, Signal, Signer, wait_for,
};

/// A run that hangs in its step `stuck`, and the receiver that `finally` tells.
struct Stuck {
    sandbox: Sandbox,
    sink: Service,
    // Kept so that the step goes on hanging.
    silent: Service,
}

impl Stuck {
    /// Makes a pipeline whose step is this verb; `{silent}` becomes the address that never answers.
    fn in_step(verb: &str) -> Self {
        let silent = Service::start(|_| Answer::Silence);
        let sink = Service::constant(200, "");
        let sandbox = Sandbox::new();
        let address = silent.address();
        sandbox.write("k.pub", KEY);
        sandbox.write(
            "p.yml",
            format!(
                "version: 1\nname: stuck\nimages:\n  web: \"{address}/acme/web:v1\"\ntrust:\n  signers:\n    ops: {{key: k.pub}}\n  images:\n    \"{address}/**\": {{signed-by: ops}}\nsteps:\n  - id: stuck\n    {}\nfinally:\n  - notify: {{webhook: {{url: \"{}\"}}, on: [failure, success, cancelled]}}\n",
                verb.replace("{silent}", &address),
                sink.url("/told"),
            ),
        );
        Self {
            sandbox,
            sink,
            silent,
        }
    }

    /// Makes a pipeline whose gate hangs and whose `finally` tells this receiver.
    fn telling(receiver: &Service) -> Self {
        let stuck = Self::in_step(STEPS[3]);
        let path = stuck.sandbox.path().join("p.yml");
        let document = std::fs::read_to_string(path).unwrap();
        let told = document.replace(&stuck.sink.url("/told"), &receiver.url("/told"));
        stuck.sandbox.write("p.yml", told);
        stuck
    }

    /// Starts the run and returns once its step waits for the silent address.
    fn start(&self) -> Running {
        let running = self.sandbox.start(["run", "p.yml", "--verbose"]);
        self.wait_until_it_hangs();
        running
    }

    fn wait_until_it_hangs(&self) {
        wait_for("the silent service to be asked", || {
            (!self.silent.requests().is_empty()).then_some(())
        });
    }
}

/// A key that nothing is signed with.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtQOE94YU5Waloxcu3GiP5ftfTbSO
RrQt0UCyUswm2eKkGvOmTqUlzeTVTcr6STzvf2orLk1VQp4ts50+frm+Jw==
-----END PUBLIC KEY-----
";

const STEPS: [&str; 5] = [
    "check: {registry: \"{silent}\"}",
    "preload: {images: [web]}",
    "verify: {images: [web]}",
    "gate: {within: 60s, every: 50ms, probes: {page: {http: {url: \"http://{silent}/\", status: 200}}}}",
    "notify: {webhook: {url: \"http://{silent}/hook\"}, on: [success], required: true}",
];

#[test]
fn an_interrupt_cancels_every_step_and_finally_still_runs() {
    for verb in STEPS {
        let stuck = Stuck::in_step(verb);
        let running = stuck.start();
        running.signal(Signal::Interrupt);
        running.finish().expect(70);
        assert_eq!(told(&stuck.sink), 1, "{verb}");
    }
}

#[test]
fn a_terminate_after_the_interrupt_changes_nothing() {
    for verb in STEPS {
        let stuck = Stuck::in_step(verb);
        let mut running = stuck.start();
        running.signal(Signal::Interrupt);
        if !running.ends_within(Duration::from_millis(100)) {
            running.signal(Signal::Terminate);
        }
        running.finish().expect(70);
        assert_eq!(told(&stuck.sink), 1, "{verb}");
    }
}

#[test]
fn a_terminate_alone_cancels_too() {
    let stuck = Stuck::in_step(STEPS[3]);
    let running = stuck.start();
    running.signal(Signal::Terminate);
    running.finish().expect(70);
    assert_eq!(told(&stuck.sink), 1);
}

#[test]
fn signals_while_finally_runs_do_not_cut_it_short() {
    for second in [Signal::Terminate, Signal::Interrupt] {
        // The receiver takes its time, as a busy one does.
        let slow = Service::start(|_| {
            crate::harness::pause(Duration::from_millis(50));
            Answer::text(200, "")
        });
        let stuck = Stuck::telling(&slow);
        let mut running = stuck.start();
        running.signal(Signal::Interrupt);
        wait_for("the receiver to be told", || {
            (!slow.requests().is_empty()).then_some(())
        });
        if !running.ends_within(Duration::ZERO) {
            running.signal(second);
        }
        running.finish().expect(70).says("webhook: delivered");
    }
}

#[test]
fn a_second_ctrl_c_aborts() {
    let deaf = Service::start(|_| Answer::Silence);
    let stuck = Stuck::telling(&deaf);
    let mut running = stuck.sandbox.start_on_terminal("run p.yml");
    stuck.wait_until_it_hangs();
    running.press_interrupt();
    wait_for("the deaf receiver to be asked", || {
        (!deaf.requests().is_empty()).then_some(())
    });
    running.press_interrupt();
    assert!(
        running.ends_within(Duration::from_secs(5)),
        "an abort does not wait for the receiver"
    );
    running.finish().expect(70);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_interrupt_in_the_middle_of_a_blob_leaves_a_cache_that_the_next_run_uses() {
    let registry = Registry::start();
    let image = Image::new("cancel", &[6_000_000, 1000]);
    image.push(registry.address(), "acme/web", "v1");
    let signer = Signer::new();
    let slow = Proxy::limited(registry.address(), "2m");
    let sandbox = Sandbox::new();
    sandbox.write("ops.pub", std::fs::read(signer.public_key()).unwrap());
    sandbox.write(
        "p.yml",
        format!("version: 1\nname: blob\nimages:\n  web: \"{}/acme/web:v1\"\nsteps:\n  - preload: {{images: [web]}}\n", slow.address()),
    );
    let running = sandbox.start(["run", "p.yml", "--verbose"]);
    wait_for("the first bytes of the large layer", || {
        super::preload::files(&sandbox.cache())
            .iter()
            .any(|(_, size)| *size > 300_000)
            .then_some(())
    });
    running.signal(Signal::Interrupt);
    running.finish().expect(70);
    super::preload::assert_whole(&sandbox.cache());
    sandbox.run(["p.yml"]).expect(0);
    super::preload::assert_whole(&sandbox.cache());
}

fn told(sink: &Service) -> usize {
    sink.requests()
        .iter()
        .filter(|r| r.target == "/told")
        .count()
}
