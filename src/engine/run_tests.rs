use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::engine::Cancel;
use crate::engine::grants::Grants;
use crate::engine::image::Images;
use crate::engine::task::{Action, Rehearsal};
use crate::engine::world::{RunNames, State, World};
use crate::report::Emitter;
use crate::{net, oci};

/// An action that fails a number of times, then takes a while and passes.
struct Scripted {
    failures: Mutex<Vec<ExitCode>>,
    takes: Duration,
    family: ExitCode,
}

impl Action for Scripted {
    fn verb(&self) -> &'static str {
        "scripted"
    }

    fn family(&self) -> ExitCode {
        self.family
    }

    fn grants(&self, _: &mut Grants, _: &Context) {}

    fn run<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        async {
            let next = self.failures.lock().unwrap().pop();
            match next {
                Some(exit) => Err(Failure::new(exit, "scripted")),
                None => {
                    sleep(self.takes).await;
                    Ok(())
                }
            }
        }
        .boxed()
    }

    fn rehearse<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Rehearsal, Failure>> {
        async { Ok(Rehearsal::default()) }.boxed()
    }
}

/// Hides the one word that a scripted failure has.
struct Hiding;

impl Mask for Hiding {
    fn mask(&self, text: &str) -> String {
        text.replace("scripted", "***")
    }
}

fn task(id: &str, failures: &[ExitCode], takes: Duration) -> Task {
    Task {
        id: id.into(),
        name: id.into(),
        line: None,
        condition: None,
        timeout: Duration::from_secs(60),
        retries: 0,
        pause: Duration::from_secs(1),
        continue_on_error: false,
        action: Box::new(Scripted {
            failures: Mutex::new(failures.to_vec()),
            takes,
            family: ExitCode::PreloadFailed,
        }),
    }
}

fn passing(id: &str) -> Task {
    task(id, &[], Duration::ZERO)
}

fn failing(id: &str, exit: ExitCode) -> Task {
    task(id, &[exit; 9], Duration::ZERO)
}

type Lines = Arc<Mutex<Vec<String>>>;

fn context() -> (Context, Lines) {
    let lines = Lines::default();
    let heard = Arc::clone(&lines);
    let events = Emitter::new(move |event| {
        let step = event.step.unwrap_or_default();
        let line = match event.detail {
            Detail::StepFinished {
                outcome, continued, ..
            } => {
                format!(
                    "{step} {outcome}{}",
                    if continued { ", continued" } else { "" }
                )
            }
            Detail::StepSkipped { reason } => format!("{step} skipped: {reason}"),
            Detail::StepRetried {
                attempt, of, wait, ..
            } => format!("{step} {attempt}/{of}, again in {wait:?}"),
            _ => return,
        };
        heard.lock().unwrap().push(line);
    });
    let clock = Clock::fixed(jiff::Timestamp::UNIX_EPOCH);
    let http = net::Client::new(net::Config {
        system_roots: false,
        ..net::Config::default()
    });
    let http = http.unwrap();
    let world = World {
        clock: clock.clone(),
        run: RunNames::default(),
        registries: oci::Client::new(oci::Config::new(http.clone(), clock)),
        http,
        cache: Cache::view("/nowhere").unwrap(),
        images: Images::default(),
        docker_host: None,
        policy: None,
        state: State::default(),
        mask: Arc::new(Hiding),
    };
    let context = Context {
        events,
        cancel: Cancel::new(),
        world: Arc::new(world),
        deadline: None,
    };
    (context, lines)
}

async fn outcome(tasks: Tasks) -> (ExitCode, String) {
    let (context, lines) = context();
    let selected = vec![true; tasks.steps.len()];
    let exit = run(&tasks, &selected, &context).await;
    let lines = lines.lock().unwrap().join("\n");
    (exit, lines)
}

#[tokio::test(start_paused = true)]
async fn a_failure_skips_to_on_failure_and_finally() {
    let (exit, lines) = outcome(Tasks {
        steps: vec![passing("a"), failing("b", ExitCode::Unsigned), passing("c")],
        on_failure: vec![failing("d", ExitCode::Unexpected), passing("e")],
        finally: vec![passing("f")],
    })
    .await;
    assert_eq!(exit, ExitCode::Unsigned);
    insta::assert_snapshot!(lines, @"
    a passed
    b failed
    c skipped: an earlier step did not pass
    d failed
    e passed
    f passed
    ");
}

#[tokio::test(start_paused = true)]
async fn continue_on_error_goes_on_and_counts_for_nothing() {
    let (exit, lines) = outcome(Tasks {
        steps: vec![
            Task {
                continue_on_error: true,
                ..failing("a", ExitCode::GateFailed)
            },
            passing("b"),
        ],
        on_failure: vec![passing("c")],
        ..Tasks::default()
    })
    .await;
    assert_eq!(exit, ExitCode::Done);
    insta::assert_snapshot!(lines, @"
    a failed, continued
    b passed
    c skipped: nothing failed
    ");
}

#[tokio::test(start_paused = true)]
async fn retries_double_their_pause() {
    let (exit, lines) = outcome(Tasks {
        steps: vec![Task {
            retries: 3,
            ..task("a", &[ExitCode::PreloadFailed; 2], Duration::ZERO)
        }],
        ..Tasks::default()
    })
    .await;
    assert_eq!(exit, ExitCode::Done);
    insta::assert_snapshot!(lines, @"
    a 1/4, again in 1s
    a 2/4, again in 2s
    a passed
    ");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_bounds_all_attempts() {
    let (exit, lines) = outcome(Tasks {
        steps: vec![task("a", &[], Duration::from_secs(3600))],
        finally: vec![passing("b")],
        ..Tasks::default()
    })
    .await;
    assert_eq!(exit, ExitCode::PreloadFailed);
    insta::assert_snapshot!(lines, @"
    a failed
    b passed
    ");
}

#[tokio::test(start_paused = true)]
async fn a_gate_cut_by_its_timeout_is_inconclusive_and_not_failed() {
    let mut cut = task("a", &[], Duration::from_secs(3600));
    cut.action = Box::new(Scripted {
        failures: Mutex::default(),
        takes: Duration::from_secs(3600),
        family: ExitCode::GateInconclusive,
    });
    let (exit, lines) = outcome(Tasks {
        steps: vec![cut],
        ..Tasks::default()
    })
    .await;
    assert_eq!(exit, ExitCode::GateInconclusive);
    insta::assert_snapshot!(lines, @"a inconclusive");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_does_not_forget_what_an_earlier_attempt_found() {
    let (exit, _) = outcome(Tasks {
        steps: vec![Task {
            retries: 1,
            ..task("a", &[ExitCode::GateFailed], Duration::from_secs(3600))
        }],
        ..Tasks::default()
    })
    .await;
    assert_eq!(exit, ExitCode::GateFailed);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_leaves_finally_its_time() {
    let (context, lines) = context();
    let cancel = context.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(5)).await;
        cancel.raise(Urgency::Cancel);
    });
    let tasks = Tasks {
        steps: vec![task("a", &[], Duration::from_secs(50)), passing("b")],
        on_failure: vec![passing("c")],
        finally: vec![
            task("d", &[], Duration::from_secs(7)),
            task("e", &[], Duration::from_secs(7)),
            passing("f"),
        ],
    };
    let began = Instant::now();
    let exit = run(&tasks, &[true, true], &context).await;
    assert_eq!(exit, ExitCode::Cancelled);
    assert_eq!(
        began.elapsed(),
        Duration::from_secs(5) + FINALLY_AFTER_CANCEL
    );
    insta::assert_snapshot!(lines.lock().unwrap().join("\n"), @"
    a cancelled
    b skipped: the run was cancelled
    c skipped: the run was cancelled
    d passed
    e cancelled
    f skipped: the time after the cancellation is over
    ");
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_at_once() {
    let (context, lines) = context();
    context.cancel.raise(Urgency::Abort);
    let tasks = Tasks {
        steps: vec![passing("a")],
        finally: vec![passing("b")],
        ..Tasks::default()
    };
    assert_eq!(run(&tasks, &[true], &context).await, ExitCode::Cancelled);
    insta::assert_snapshot!(lines.lock().unwrap().join("\n"), @"
    a skipped: the run was cancelled
    b skipped: the time after the cancellation is over
    ");
}

#[tokio::test(start_paused = true)]
async fn the_worst_outcome_is_the_exit_code_and_the_first_is_the_reason() {
    let (context, _) = context();
    let tasks = Tasks {
        steps: vec![failing("a", ExitCode::GateInconclusive)],
        on_failure: vec![failing("b", ExitCode::GateFailed)],
        finally: vec![failing("c", ExitCode::NotifyFailed)],
    };
    assert_eq!(run(&tasks, &[true], &context).await, ExitCode::GateFailed);
    assert_eq!(context.world.state.first_failure().unwrap().step, "a");
}

#[tokio::test(start_paused = true)]
async fn a_signal_during_finally_is_told_although_finally_ends_in_time() {
    let (context, _) = context();
    let cancel = context.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(1)).await;
        cancel.raise(Urgency::Cancel);
    });
    let tasks = Tasks {
        steps: vec![passing("a")],
        finally: vec![task("b", &[], Duration::from_secs(2))],
        ..Tasks::default()
    };
    assert_eq!(run(&tasks, &[true], &context).await, ExitCode::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_killed_in_a_step_is_cancelled_and_finally_runs() {
    let (context, lines) = context();
    context.world.state.ended("a", StepOutcome::Passed);
    let tasks = Tasks {
        steps: vec![passing("a"), passing("b"), passing("c"), passing("d")],
        on_failure: vec![passing("e")],
        finally: vec![passing("f")],
    };
    let stopped = Stopped {
        during: Some(("b".into(), Duration::from_secs(3))),
        exit: None,
    };
    let exit = resume(&tasks, &[true, true, true, false], &stopped, &context).await;
    assert_eq!(exit, ExitCode::Cancelled);
    assert_eq!(context.world.state.status(), Status::Cancelled);
    insta::assert_snapshot!(lines.lock().unwrap().join("\n"), @"
    b cancelled
    c skipped: the run was killed
    d skipped: not asked for
    e skipped: the run was cancelled
    f passed
    ");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_killed_after_a_failure_goes_on_with_on_failure() {
    let (context, lines) = context();
    let state = &context.world.state;
    state.ended("a", StepOutcome::Failed);
    state.failed("a", "a", &Failure::new(ExitCode::GateFailed, "x"));
    state.ended("c", StepOutcome::Passed);
    let tasks = Tasks {
        steps: vec![passing("a"), passing("b")],
        on_failure: vec![passing("c"), passing("d")],
        finally: vec![passing("e")],
    };
    let exit = resume(&tasks, &[true, true], &Stopped::default(), &context).await;
    assert_eq!(exit, ExitCode::GateFailed);
    insta::assert_snapshot!(lines.lock().unwrap().join("\n"), @"
    b skipped: an earlier step did not pass
    d passed
    e passed
    ");
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_that_was_cancelled_leaves_on_failure_alone() {
    let (context, lines) = context();
    let state = &context.world.state;
    state.ended("a", StepOutcome::Failed);
    state.failed("a", "a", &Failure::new(ExitCode::GateFailed, "x"));
    state.cancelled();
    let tasks = Tasks {
        steps: vec![passing("a")],
        on_failure: vec![passing("b")],
        finally: vec![passing("c")],
    };
    resume(&tasks, &[true], &Stopped::default(), &context).await;
    insta::assert_snapshot!(lines.lock().unwrap().join("\n"), @"
    b skipped: the run was cancelled
    c passed
    ");
}

#[tokio::test(start_paused = true)]
async fn what_a_run_that_was_over_left_open_does_not_change_how_it_ended() {
    for (ended, expected) in [
        (Some(ExitCode::Done), ExitCode::Done),
        (Some(ExitCode::Cancelled), ExitCode::Cancelled),
        // Killed in `finally`, after every step had passed.
        (None, ExitCode::Cancelled),
    ] {
        let (context, _) = context();
        context.world.state.ended("a", StepOutcome::Passed);
        let tasks = Tasks {
            steps: vec![passing("a")],
            finally: vec![passing("b")],
            ..Tasks::default()
        };
        let stopped = Stopped {
            during: None,
            exit: ended,
        };
        assert_eq!(resume(&tasks, &[true], &stopped, &context).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn finishing_is_cancelled_as_a_run_is() {
    let (context, lines) = context();
    context.cancel.raise(Urgency::Cancel);
    let tasks = Tasks {
        finally: vec![task("a", &[], Duration::from_secs(60)), passing("b")],
        ..Tasks::default()
    };
    let exit = resume(&tasks, &[], &Stopped::default(), &context).await;
    assert_eq!(exit, ExitCode::Cancelled);
    insta::assert_snapshot!(lines.lock().unwrap().join("\n"), @"
    a cancelled
    b skipped: the time after the cancellation is over
    ");
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_a_failure_holds_no_secret() {
    let (context, _) = context();
    let tasks = Tasks {
        steps: vec![failing("a", ExitCode::Unexpected)],
        ..Tasks::default()
    };
    run(&tasks, &[true], &context).await;
    let first = context.world.state.first_failure().unwrap();
    assert_eq!(first.failure.message, "***");
}

#[tokio::test]
async fn a_plan_grants_the_hosts_that_registries_name() {
    let (context, _) = context();
    let tasks = Tasks {
        steps: vec![Task {
            action: Box::new(Elsewhere),
            ..passing("a")
        }],
        ..Tasks::default()
    };
    let grants = Grants::default();
    let (plan, _) = crate::engine::plan::plan(&tasks, &[true], grants, &context).await;
    assert!(plan.grants.hosts.contains_key("tokens.example:443"));
}

/// An action whose run asks a host that the document does not name.
struct Elsewhere;

impl Action for Elsewhere {
    fn verb(&self) -> &'static str {
        "elsewhere"
    }

    fn family(&self) -> ExitCode {
        ExitCode::Unexpected
    }

    fn grants(&self, _: &mut Grants, _: &Context) {}

    fn run<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }

    fn rehearse<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Rehearsal, Failure>> {
        let mut rehearsal = Rehearsal::default();
        let cost = crate::engine::plan::Cost {
            requests: 1,
            bytes: 0,
        };
        rehearsal.expects("tokens.example:443", cost);
        async { Ok(rehearsal) }.boxed()
    }
}
