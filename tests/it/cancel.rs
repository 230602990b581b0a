//! Signals as they really come, and what is left of a run that was killed all the same.
//!
//! GitHub sends SIGINT, 7.5 s later SIGTERM, and kills 2.5 s after that; only the step's entry process
//! gets them. Another system sends SIGTERM alone, an impatient person a second SIGINT, and a machine that
//! runs out of memory nothing but the kill.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::{
    Answer, Image, PATIENCE, Proxy, Registry, Running, Sandbox, Service, Signal, Signer, pause,
    wait_for, wait_within,
};

/// When GitHub sends SIGTERM and when it kills, from its SIGINT on.
const TERMINATED: Duration = Duration::from_millis(7_500);
const KILLED: Duration = Duration::from_secs(10);

/// Somebody to tell, who may be deaf, or hold back the answer.
pub struct Receiver {
    service: Service,
    mood: Arc<AtomicU8>,
}

impl Receiver {
    const ANSWERS: u8 = 0;
    const DEAF: u8 = 1;
    const HOLDS: u8 = 2;

    /// Starts a receiver that takes every notice.
    pub fn start() -> Self {
        Self::of_mood(Self::ANSWERS)
    }

    fn of_mood(mood: u8) -> Self {
        let mood = Arc::new(AtomicU8::new(mood));
        let heard = Arc::clone(&mood);
        let service = Service::start(move |request| {
            if request.target.starts_with("/gone") {
                return Answer::text(404, &format!("no hook at {}", request.target));
            }
            let held = || heard.load(Ordering::SeqCst) == Self::HOLDS;
            let _ = wait_within(PATIENCE, || (!held()).then_some(()));
            match heard.load(Ordering::SeqCst) {
                Self::ANSWERS => Answer::text(200, "taken"),
                _ => Answer::Silence,
            }
        });
        Self { service, mood }
    }

    /// Holds back every answer until there is one.
    pub fn hold(&self) {
        self.mood.store(Self::HOLDS, Ordering::SeqCst);
    }

    /// Takes every notice, those that are held back too.
    pub fn answer_from_now_on(&self) {
        self.mood.store(Self::ANSWERS, Ordering::SeqCst);
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        self.service.url(path)
    }

    /// Returns the notices that came so far, whether they were answered or not.
    pub fn notices(&self) -> Vec<Value> {
        let requests = self.service.requests();
        let body = |body: &Vec<u8>| serde_json::from_slice(body).unwrap();
        requests.iter().map(|request| body(&request.body)).collect()
    }

    fn wait_for_notice(&self) {
        wait_for("the receiver to be asked", || {
            (!self.notices().is_empty()).then_some(())
        });
    }
}

/// A run that hangs in its step `stuck`, or in the one of `finally`, and the receiver that `finally` tells.
struct Stuck {
    sandbox: Sandbox,
    receiver: Receiver,
    // Kept so that the step goes on hanging.
    silent: Service,
    in_finally: bool,
}

impl Stuck {
    /// Makes a pipeline whose step is this verb; `{silent}` becomes the address that never answers.
    fn in_step(verb: &str, mood: u8) -> Self {
        let silent = Service::start(|request| match request.target.as_str() {
            "/good" => Answer::text(200, ""),
            _ => Answer::Silence,
        });
        let receiver = Receiver::of_mood(mood);
        let sandbox = Sandbox::new();
        let address = silent.address();
        sandbox.write("k.pub", KEY);
        sandbox.write(
            "p.yml",
            format!(
                "version: 1\nname: stuck\nimages:\n  web: \"{address}/acme/web:v1\"\ntrust:\n  signers:\n    ops: {{key: k.pub}}\n  images:\n    \"{address}/**\": {{signed-by: ops}}\nsteps:\n  - id: stuck\n    {}\nfinally:\n  - id: tell\n    notify: {{webhook: {{url: \"{}\"}}, on: [always]}}\n",
                verb.replace("{silent}", &address),
                receiver.url("/told"),
            ),
        );
        Self {
            sandbox,
            receiver,
            silent,
            in_finally: verb == PASSES,
        }
    }

    /// Starts the run and returns once it hangs.
    fn start(&self) -> Running {
        let running = self
            .sandbox
            .start(["run", "p.yml", "--verbose", "--report", "out"]);
        self.wait_until_it_hangs();
        running
    }

    fn wait_until_it_hangs(&self) {
        if self.in_finally {
            self.receiver.wait_for_notice();
        } else {
            wait_for("the silent service to be asked", || {
                (!self.silent.requests().is_empty()).then_some(())
            });
        }
    }

    /// Runs `finish`, which must end all that is left.
    fn finish(&self) {
        let finished = self.sandbox.run(["finish"]).expect(0);
        finished.says("nothing is left open, exit code 0 (done)");
        self.assert_nothing_is_open();
    }

    fn assert_nothing_is_open(&self) {
        assert_eq!(leftovers(self.sandbox.path()), [""; 0]);
        self.sandbox
            .run(["finish"])
            .expect(0)
            .says("nothing to finish");
    }

    fn report(&self) -> Value {
        report(&self.sandbox)
    }
}

/// Returns the report in the folder `out`.
pub fn report(sandbox: &Sandbox) -> Value {
    let text = std::fs::read(sandbox.path().join("out/report.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Returns the files below a folder that only a run under way may have: journals, locks and parts.
pub fn leftovers(folder: &Path) -> Vec<String> {
    let files = super::preload::files(folder).into_iter();
    let names = files.map(|(path, _)| path.display().to_string());
    names
        .filter(|name| {
            ["/runs/", "/partial/", ".part", ".lock", ".clock"]
                .iter()
                .any(|mark| name.contains(mark))
        })
        .collect()
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

/// A step that passes, so that the run hangs in `finally`.
const PASSES: &str = "gate: {within: 60s, every: 50ms, probes: {page: {http: {url: \"http://{silent}/good\", status: 200}}}}";

/// Runs cases side by side: most of what they do is waiting.
fn side_by_side(cases: Vec<(String, Box<dyn FnOnce() + Send + '_>)>) {
    std::thread::scope(|scope| {
        for (name, case) in cases {
            // A case that fails is named by its thread.
            let thread = std::thread::Builder::new().name(name);
            thread.spawn_scoped(scope, case).unwrap();
        }
    });
}

/// Returns a case for each step that a run may hang in, the one of `finally` being the last.
fn in_every_step(name: &str, case: fn(&str)) -> Vec<(String, Box<dyn FnOnce() + Send>)> {
    let verbs = STEPS.into_iter().chain([PASSES]);
    verbs
        .map(|verb| {
            let step = if verb == PASSES { "finally" } else { verb };
            let step = step.split(':').next().unwrap();
            let case: Box<dyn FnOnce() + Send> = Box::new(move || case(verb));
            (format!("{name} in {step}"), case)
        })
        .collect()
}

#[test]
fn signals_with_the_timing_of_github() {
    let mut cases = in_every_step("receivers answer", receivers_answer);
    cases.extend(in_every_step("a receiver is deaf", a_receiver_is_deaf));
    cases.extend(in_every_step("a crash", a_crash));
    side_by_side(cases);
}

/// The run ends by itself, before anybody loses patience.
fn receivers_answer(verb: &str) {
    let mood = if verb == PASSES {
        Receiver::HOLDS
    } else {
        Receiver::ANSWERS
    };
    let stuck = Stuck::in_step(verb, mood);
    let mut running = stuck.start();
    running.signal(Signal::Interrupt);
    stuck.receiver.answer_from_now_on();
    assert!(running.ends_within(TERMINATED), "it needs a SIGTERM");
    running.finish().expect(70).says("webhook: delivered");
    let status = if verb == PASSES {
        "passed"
    } else {
        "cancelled"
    };
    let [notice] = &stuck.receiver.notices()[..] else {
        panic!("one notice, not {:?}", stuck.receiver.notices());
    };
    assert_eq!(notice["status"], status);
    assert_eq!(stuck.report()["exit"]["name"], "cancelled");
    stuck.assert_nothing_is_open();
}

/// `finally` is cut in time, and what it could not do is done by `finish`.
fn a_receiver_is_deaf(verb: &str) {
    let stuck = Stuck::in_step(verb, Receiver::DEAF);
    let mut running = stuck.start();
    let interrupted = Instant::now();
    running.signal(Signal::Interrupt);
    assert!(
        !running.ends_within(TERMINATED),
        "a deaf receiver is given up before the time is over"
    );
    running.signal(Signal::Terminate);
    let left = KILLED.saturating_sub(interrupted.elapsed());
    assert!(running.ends_within(left), "it would have been killed");
    running
        .finish()
        .expect(70)
        .says("left open: tell")
        .says("` does what is left");
    let report = stuck.report();
    assert_eq!(report["exit"]["code"], 70);
    assert_eq!(step(&report, "tell")["outcome"], "cancelled");
    assert_eq!(leftovers(stuck.sandbox.path()).len(), 1, "the journal");

    let before = stuck.receiver.notices().len();
    stuck.receiver.answer_from_now_on();
    stuck.finish();
    let notices = stuck.receiver.notices();
    assert_eq!(notices.len(), before + 1, "exactly one notice is delivered");
    let status = if verb == PASSES {
        "passed"
    } else {
        "cancelled"
    };
    assert_eq!(notices.last().unwrap()["status"], status);
    let report = stuck.report();
    assert_eq!(report["exit"]["code"], 70);
    assert_eq!(step(&report, "tell")["outcome"], "passed");
}

/// The kill comes at once, so `finish` does all that is left.
fn a_crash(verb: &str) {
    let mood = if verb == PASSES {
        Receiver::DEAF
    } else {
        Receiver::ANSWERS
    };
    let stuck = Stuck::in_step(verb, mood);
    let running = stuck.start();
    running.signal(Signal::Kill);
    assert_eq!(running.finish().status.code(), None);
    assert_eq!(leftovers(stuck.sandbox.path()).len(), 1, "the journal");
    let before = stuck.receiver.notices().len();
    stuck.receiver.answer_from_now_on();
    stuck.finish();
    let notices = stuck.receiver.notices();
    assert_eq!(notices.len(), before + 1);
    let (status, stuck_step) = if verb == PASSES {
        ("passed", "passed")
    } else {
        ("cancelled", "cancelled")
    };
    assert_eq!(notices.last().unwrap()["status"], status);
    let report = stuck.report();
    assert_eq!(report["exit"]["name"], "cancelled");
    assert_eq!(step(&report, "stuck")["outcome"], stuck_step);
    assert_eq!(step(&report, "tell")["outcome"], "passed");
}

/// Returns a step of a report.
pub fn step<'a>(report: &'a Value, id: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).unwrap()
}

#[test]
fn signals_while_finally_runs_do_not_cut_it_short() {
    let mut cases = in_every_step("SIGTERM", |verb| {
        after_the_interrupt(verb, Signal::Terminate)
    });
    cases.extend(in_every_step("SIGINT", |verb| {
        after_the_interrupt(verb, Signal::Interrupt)
    }));
    side_by_side(cases);
}

fn after_the_interrupt(verb: &str, second: Signal) {
    // The receiver takes its time, as a busy one does: the run can't end before the second signal.
    let stuck = Stuck::in_step(verb, Receiver::HOLDS);
    let running = stuck.start();
    running.signal(Signal::Interrupt);
    stuck.receiver.wait_for_notice();
    running.signal(second);
    // Nothing shows that a signal changed nothing but the time that goes by.
    pause(Duration::from_millis(50));
    stuck.receiver.answer_from_now_on();
    running.finish().expect(70).says("webhook: delivered");
    assert_eq!(stuck.receiver.notices().len(), 1);
}

#[test]
fn a_terminate_alone_cancels_too() {
    let stuck = Stuck::in_step(STEPS[3], Receiver::ANSWERS);
    let running = stuck.start();
    running.signal(Signal::Terminate);
    running.finish().expect(70);
    assert_eq!(stuck.receiver.notices().len(), 1);
}

#[test]
fn a_second_ctrl_c_aborts() {
    let stuck = Stuck::in_step(STEPS[3], Receiver::DEAF);
    let mut running = stuck.sandbox.start_on_terminal("run p.yml");
    stuck.wait_until_it_hangs();
    running.press_interrupt();
    stuck.receiver.wait_for_notice();
    running.press_interrupt();
    assert!(
        running.ends_within(Duration::from_secs(5)),
        "an abort does not wait for the receiver"
    );
    running.finish().expect(70);
    // Whoever is impatient may change their mind.
    stuck.receiver.answer_from_now_on();
    stuck.finish();
    assert_eq!(stuck.receiver.notices().len(), 2);
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
