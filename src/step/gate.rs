//! `gate`: watches a service until it is good, or is not.

use std::time::Duration;

use super::question::Question;
use crate::gate::{self, Settings, Spec, SpecError};
use crate::pipeline::address::Name;
use crate::pipeline::convert::Context;
use crate::pipeline::diagnostic::Kind;
use crate::pipeline::interpolate::undefined;
use crate::pipeline::map::Map;
use crate::pipeline::record::record;
use crate::pipeline::scalar::{Count, duration_text};
use crate::pipeline::source::{Span, Spanned};
use crate::pipeline::tree::Node;

record! {
    /// Watches a service until it is good, or is not, or that cannot be told.
    pub struct Gate("`gate`") {
        /// The time after which a service that is not good yet has failed.
        within: Spanned<Duration>,
        /// The time from one round of questions to the next.
        every: Spanned<Duration> = Spanned::new(Duration::from_secs(5), Span::default()),
        /// The time before the first round.
        start_after: Spanned<Duration> = Spanned::new(Duration::ZERO, Span::default()),
        /// How long the service must stay good before the gate passes.
        hold: Spanned<Duration> = Spanned::new(Duration::ZERO, Span::default()),
        /// The questions that are asked, by name.
        probes: Map<Name, Probe>,
        /// Which probes must be good; without it, all. Every probe must be used.
        pass: Option<Pass>,
        /// Asks a target that is known to be good, to tell a broken service from a prober that sees nothing.
        control: Option<Question>,
    }
    later = ["inconclusive", "baseline", "since"];
    check = check;
}

record! {
    /// A question, and when its answers count as good.
    pub struct Probe("a probe") {
        /// When the answers count as good or bad.
        rule: Rule = Rule { consecutive: Count(1) },
    }
    one_of {
        /// The question.
        question: Question
    }
}

record! {
    /// When a probe's answers count.
    pub struct Rule("a rule") {
        /// How many answers in a row must be alike.
        consecutive: Count,
    }
    later = ["successes", "failures", "of", "sequential"];
}

record! {
    /// Which probes must be good. What is said by several keys must all hold.
    pub struct Pass("`pass`") {
        /// All of these.
        all: Option<Vec<Spanned<Name>>>,
        /// One of these.
        any: Option<Vec<Spanned<Name>>>,
        /// A number of these.
        at_least: Option<AtLeast>,
    }
}

record! {
    /// A number of some probes.
    pub struct AtLeast("`at-least`") {
        /// How many.
        count: Spanned<Count>,
        /// Of which.
        of: Vec<Spanned<Name>>,
    }
}

/// Checks a gate; what its own module refuses besides is noted only if nothing else is wrong with it.
fn check(gate: &Gate, node: &Node, context: &mut Context<'_>) {
    let before = context.count();
    check_times(gate, context);
    check_names(gate, node, context);
    let times = [&gate.within, &gate.every, &gate.start_after, &gate.hold];
    if context.count() > before || !node.complete || times.iter().any(|time| !time.known) {
        return;
    }
    // A probe that could not be read leaves a gate that is not the one that was meant.
    let written = node
        .entry("probes")
        .and_then(Node::mapping)
        .map_or(0, <[_]>::len);
    if written != gate.probes.len() {
        return;
    }
    for error in Spec::try_new(gate.settings()).err().unwrap_or_default() {
        let span = match node.entry("within") {
            Some(within) if matches!(error, SpecError::NeverPasses { .. }) => within.span,
            _ => context.head(node),
        };
        context.push(
            context
                .error(Kind::Inconsistent, span, "the gate cannot do what it says")
                .caused_by(error.to_string())
                .helped(error.hint()),
        );
    }
}

impl Gate {
    /// Says whether all times are those that a run will use.
    #[must_use]
    pub fn times_are_known(&self) -> bool {
        [&self.within, &self.every, &self.start_after, &self.hold]
            .iter()
            .all(|time| time.known)
    }

    /// Returns what the gate's own module takes.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let names = |list: &Option<Vec<Spanned<Name>>>| -> Vec<String> {
            list.iter()
                .flatten()
                .map(|name| name.value.0.clone())
                .collect()
        };
        Settings {
            within: self.within.value,
            every: self.every.value,
            start_after: self.start_after.value,
            hold: self.hold.value,
            probes: self
                .probes
                .iter()
                .map(|(name, probe)| {
                    (
                        name.value.0.clone(),
                        gate::Rule::Consecutive(probe.rule.consecutive.0),
                    )
                })
                .collect(),
            pass: self.pass.as_ref().map(|pass| gate::Pass {
                all: names(&pass.all),
                any: names(&pass.any),
                at_least: pass.at_least.as_ref().map(|some| {
                    let of = some.of.iter().map(|name| name.value.0.clone()).collect();
                    (some.count.value.0, of)
                }),
            }),
            control: self.control.is_some(),
        }
    }
}

fn check_names(gate: &Gate, node: &Node, context: &mut Context<'_>) {
    let probes = node.entry("probes");
    let declared: Vec<String> = probes
        .and_then(Node::mapping)
        .map(|entries| entries.iter().map(|entry| entry.key.clone()).collect())
        .unwrap_or_default();
    if let Some(probes) = probes.filter(|probes| declared.is_empty() && probes.complete) {
        refuse_empty(
            probes,
            context,
            "the gate asks nothing",
            "add a probe, for instance `web: {http: \"https://web.example/health\"}`",
        );
        return;
    }
    let Some(pass) = &gate.pass else { return };
    let at_least = pass.at_least.iter().flat_map(|some| &some.of);
    let used: Vec<&Spanned<Name>> = pass
        .all
        .iter()
        .chain(&pass.any)
        .flatten()
        .chain(at_least)
        .collect();
    if used.is_empty() {
        if let Some(node) = node
            .entry("pass")
            .filter(|node| node.mapping().is_some_and(<[_]>::is_empty))
        {
            refuse_empty(
                node,
                context,
                "`pass` names no probe",
                "remove it to demand all probes, or add `all: […]`",
            );
        }
        return;
    }
    for name in used
        .iter()
        .filter(|name| name.known && !declared.contains(&name.value.0))
    {
        let diagnostic = undefined(context.source, name.span, "probe", &name.value.0, &declared);
        context.push(diagnostic);
    }
    for (name, _) in gate.probes.iter() {
        if !used
            .iter()
            .any(|other| other.value == name.value || !other.known)
        {
            context.push(
                context
                    .error(
                        Kind::Unused,
                        name.span,
                        format!("the probe `{}` is not used", name.value),
                    )
                    .caused_by("`pass` does not name it, so its answers would make no difference")
                    .helped(format!(
                        "add `{}` to `pass`, or remove the probe",
                        name.value
                    )),
            );
        }
    }
    if let Some(some) = &pass.at_least {
        let count = usize::try_from(some.count.value.0).unwrap_or(usize::MAX);
        if some.count.known && count > some.of.len() {
            context.push(
                context
                    .error(
                        Kind::Inconsistent,
                        some.count.span,
                        format!("{count} of {} probes can never be good", some.of.len()),
                    )
                    .caused_by("`count` is larger than the number of probes in `of`")
                    .helped(format!("write at most {}", some.of.len())),
            );
        }
    }
}

fn check_times(gate: &Gate, context: &mut Context<'_>) {
    for (key, time) in [("within", &gate.within), ("every", &gate.every)] {
        if time.known && time.value.is_zero() {
            context.push(
                context
                    .error(Kind::Inconsistent, time.span, format!("`{key}` is zero"))
                    .caused_by("a gate needs time to ask")
                    .helped("write a longer duration, for instance `5s`"),
            );
        }
    }
    let within = &gate.within;
    let longer = [
        (
            "every",
            &gate.every,
            "there would be one round of questions at most",
        ),
        (
            "start-after",
            &gate.start_after,
            "the time would be over before the first question",
        ),
        (
            "hold",
            &gate.hold,
            "the service could not stay good that long within the time",
        ),
    ];
    for (key, time, cause) in longer {
        if !(time.known && within.known && time.value > within.value) {
            continue;
        }
        // A default has no place of its own: the key that contradicts it has.
        let span = if time.span == Span::default() {
            within.span
        } else {
            time.span
        };
        let limit = duration_text(within.value);
        context.push(
            context
                .error(
                    Kind::Inconsistent,
                    span,
                    format!(
                        "`{key}` ({}) is longer than `within` ({limit})",
                        duration_text(time.value)
                    ),
                )
                .caused_by(cause)
                .helped(format!(
                    "make `{key}` shorter than {limit}, or `within` longer"
                )),
        );
    }
    let both = gate.start_after.value + gate.hold.value;
    let each = gate.start_after.value.max(gate.hold.value);
    let known = within.known && gate.start_after.known && gate.hold.known;
    if known && both > within.value && each <= within.value {
        context.push(
            context
                .error(
                    Kind::Inconsistent,
                    gate.hold.span,
                    format!(
                        "`start-after` and `hold` together ({}) are longer than `within` ({})",
                        duration_text(both),
                        duration_text(within.value)
                    ),
                )
                .caused_by("the service could not stay good that long within the time")
                .helped("make one of them shorter, or `within` longer"),
        );
    }
}

pub(super) fn refuse_empty(node: &Node, context: &mut Context<'_>, message: &str, help: &str) {
    let span = context.head(node);
    context.push(
        context
            .error(Kind::Empty, span, message)
            .caused_by("nothing stands in it")
            .helped(help),
    );
}
