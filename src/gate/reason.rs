//! The words of a verdict.

use std::time::Duration;

use super::history::History;
use super::judge::{Decision, Judge};
use super::words::{count, time};
use crate::failure::Failure;
use crate::outcome::ExitCode;

/// How many probes one reason names.
const NAMED: usize = 3;

/// How many samples a line of letters shows.
const LETTERS: usize = 60;

/// Says what was bad, since when, and the last answer.
pub(super) fn failed(judge: &Judge) -> String {
    let Some((at, probes)) = judge.broken() else {
        return "the service was not good".to_owned();
    };
    if !judge.possible() {
        let bad = list(probes, |name| bad_now(judge, name));
        return if judge.has_time() {
            let within = time(judge.spec().within());
            format!(
                "{bad}; too late to become good{} before the deadline of {within}",
                and_hold(judge)
            )
        } else {
            bad
        };
    }
    format!(
        "good again only after {}, too late to hold for {} before the deadline of {}: {}",
        time(at),
        time(judge.spec().hold()),
        time(judge.spec().within()),
        list(probes, |name| last_bad(judge, name)),
    )
}

/// Says what was not seen, and why.
pub(super) fn inconclusive(judge: &Judge) -> String {
    let summary = judge.summary();
    if summary.rounds == 0 {
        return "no round of probes was taken".to_owned();
    }
    let mut parts = Vec::new();
    if !judge.held().is_zero() {
        let (held, hold) = (time(judge.held()), time(judge.spec().hold()));
        parts.push(format!("seen good for {held} of the {hold} to hold"));
    }
    if let Some(control) = &summary.control {
        parts.push(format!(
            "{} dropped: control target unreachable: {control}",
            count(summary.dropped_samples, "sample"),
        ));
    }
    let mut unseen: Vec<String> = unproven(judge).collect();
    if summary.blind_rounds > 0 {
        // What the control probe explains needs no second explanation.
        unseen.retain(|name| summary.probes.get(name).is_some_and(|it| it.unknown > 0));
    }
    if !unseen.is_empty() {
        parts.push(list(&unseen, |name| not_seen(judge, name)));
    }
    if parts.is_empty() {
        parts.push("the rounds took longer than planned".to_owned());
    }
    parts.join("; ")
}

/// Says what the gate waits for; the same words as long as nothing changes.
pub(super) fn waiting(judge: &Judge, now: Duration) -> String {
    if judge.summary().rounds == 0 {
        let start = judge.spec().start_after();
        return if now < start {
            format!("the first round, {} after the gate's begin", time(start))
        } else {
            "the first answers".to_owned()
        };
    }
    if judge.blind_now() {
        let control = judge.summary().control.as_deref().unwrap_or_default();
        return format!("the control target, unreachable: {control}");
    }
    if judge.proven() {
        return format!("everything to stay good for {}", time(judge.spec().hold()));
    }
    let unseen: Vec<String> = unproven(judge).collect();
    list(&unseen, |name| wanted(judge, name))
}

/// Makes the failure of a report.
pub(super) fn failure(judge: &Judge, now: Duration) -> Option<Failure> {
    let (exit, message, reason, hint) = match judge.decide(now) {
        Decision::Passed | Decision::Wait { .. } => return None,
        Decision::Failed { reason } => (
            ExitCode::GateFailed,
            "the service did not become good in time",
            reason,
            "look at the service's own logs from that moment on; if it only needs longer, raise `within`",
        ),
        Decision::Inconclusive { reason } => (
            ExitCode::GateInconclusive,
            "the gate could not see enough to decide",
            reason,
            inconclusive_hint(judge),
        ),
    };
    let mut failure = Failure::new(exit, message).caused_by(reason).hinted(hint);
    for (name, history) in &judge.summary().probes {
        failure = failure.fact(name.clone(), fact(history));
    }
    Some(failure)
}

fn and_hold(judge: &Judge) -> String {
    let hold = judge.spec().hold();
    if hold.is_zero() {
        String::new()
    } else {
        format!(" and hold for {}", time(hold))
    }
}

fn inconclusive_hint(judge: &Judge) -> &'static str {
    if judge.summary().blind_rounds > 0 {
        "check the network of this machine, and that the control target is one that always answers"
    } else {
        "check that the probe can be run from here: the name's address, the grants, and a `timeout` of the probe that is shorter than `within`"
    }
}

fn fact(history: &History) -> String {
    let mut fact = history.line(LETTERS);
    if fact.is_empty() {
        fact.push_str("no sample");
    }
    if let Some(first) = history.first_good {
        fact.push_str(&format!(", first good at {}", time(first)));
    }
    if let Some(seen) = &history.last_bad {
        fact.push_str(&format!(", last bad at {}: {}", time(seen.at), seen.reason));
    }
    fact
}

fn bad_now(judge: &Judge, name: &str) -> String {
    let history = judge.summary().probes.get(name);
    let reason = history
        .and_then(|it| it.last_bad.as_ref())
        .map_or("", |seen| &seen.reason);
    match history.and_then(|history| history.bad_since) {
        Some(since) => format!("`{name}` is bad from {} on: {reason}", time(since)),
        None => {
            let (track, needed) = judge.track(name);
            format!(
                "`{name}` has {} good of {needed} in a row since it was bad: {reason}",
                track.streak()
            )
        }
    }
}

fn last_bad(judge: &Judge, name: &str) -> String {
    let seen = judge
        .summary()
        .probes
        .get(name)
        .and_then(|history| history.last_bad.as_ref());
    match seen {
        Some(seen) => format!("`{name}` was bad at {}: {}", time(seen.at), seen.reason),
        None => format!("`{name}` was bad"),
    }
}

fn not_seen(judge: &Judge, name: &str) -> String {
    let (track, needed) = judge.track(name);
    let history = judge.summary().probes.get(name);
    if let Some(seen) = history.and_then(|history| history.last_unknown.as_ref()) {
        return format!("`{name}` unknown: {}", seen.reason);
    }
    if history.is_none_or(|history| history.good + history.bad == 0) {
        return format!("`{name}` gave no answer");
    }
    if track.streak() < needed {
        return format!("`{name}` has {} good of {needed} in a row", track.streak());
    }
    format!("`{name}` was not seen at the end")
}

fn wanted(judge: &Judge, name: &str) -> String {
    let (_, needed) = judge.track(name);
    let history = judge.summary().probes.get(name);
    let newest = history.and_then(|history| history.runs.back());
    match newest.and_then(|run| run.reason.as_ref()) {
        Some(reason) => format!("`{name}`: {reason}"),
        None if needed > 1 => format!("`{name}` to be good {needed} times in a row"),
        None => format!("`{name}` to answer"),
    }
}

/// Returns the probes that are not good, strictly read.
fn unproven(judge: &Judge) -> impl Iterator<Item = String> {
    let names = judge.spec().probes().keys();
    let unproven = names.filter(|name| {
        let (track, needed) = judge.track(name);
        !track.proven(needed)
    });
    unproven.cloned()
}

fn list(names: &[String], words: impl Fn(&str) -> String) -> String {
    let mut parts: Vec<String> = names.iter().take(NAMED).map(|name| words(name)).collect();
    if names.len() > NAMED {
        parts.push(format!("and {} more", names.len() - NAMED));
    }
    parts.join("; ")
}
