//! Timelines written as letters, a small model that is walked through in full, and properties.
//!
//! A column is a round, a second apart: `G` good, `B` bad, `?` unknown, ` ` no sample. The line of
//! the control probe has `+` for reached and `-` for not.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Decision, Judge, Pass, Round, Rule, Sample, Settings, Spec, Value};
use crate::outcome::ExitCode;

/// A gate whose rounds are a second apart.
#[derive(Clone, Debug)]
struct Gate {
    rounds: u64,
    hold: u64,
    needed: Vec<u32>,
    pass: Option<Pass>,
    control: bool,
}

impl Gate {
    fn new(rounds: usize, hold: u64, needed: &[u32]) -> Self {
        let rounds = rounds as u64;
        Self {
            rounds,
            hold,
            needed: needed.to_vec(),
            pass: None,
            control: false,
        }
    }

    fn passing(self, pass: Pass) -> Self {
        Self {
            pass: Some(pass),
            ..self
        }
    }

    fn controlled(self) -> Self {
        Self {
            control: true,
            ..self
        }
    }

    fn spec(&self) -> Option<Spec> {
        let probes: BTreeMap<_, _> = self
            .needed
            .iter()
            .enumerate()
            .map(|(index, needed)| (name(index), Rule::Consecutive(*needed)))
            .collect();
        Spec::try_new(Settings {
            within: second(self.rounds),
            every: second(1),
            start_after: Duration::ZERO,
            hold: second(self.hold),
            probes,
            pass: self.pass.clone(),
            control: self.control,
        })
        .ok()
    }

    fn judge(&self) -> Judge {
        Judge::new(self.spec().expect("a gate that can pass"))
    }

    /// Feeds the lines until the gate decides; returns the verdict's letter, the number of rounds
    /// that it took, and the judge.
    fn run(&self, lines: &[&str]) -> (char, u64, Judge) {
        let mut judge = self.judge();
        for round in rounds(lines, self.control) {
            judge.feed(&round);
            let decision = judge.decide(round.ended);
            if !matches!(decision, Decision::Wait { .. }) {
                return (letter(&decision), round.began.as_secs() + 1, judge);
            }
        }
        let decision = judge.decide(second(self.rounds));
        (letter(&decision), self.rounds, judge)
    }

    fn verdict(&self, lines: &[&str]) -> (char, u64) {
        let (letter, rounds, _) = self.run(lines);
        (letter, rounds)
    }
}

fn rounds(lines: &[&str], control: bool) -> Vec<Round> {
    let (probes, control) = match lines.split_last() {
        Some((last, probes)) if control => (probes, Some(*last)),
        _ => (lines, None),
    };
    let length = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or_default();
    (0..length)
        .map(|index| {
            let began = second(index as u64);
            let samples = probes.iter().enumerate().filter_map(|(probe, line)| {
                let value = value(line.chars().nth(index)?)?;
                Some(Sample {
                    probe: name(probe),
                    at: began,
                    value,
                })
            });
            Round {
                began,
                ended: began,
                samples: samples.collect(),
                control: control.and_then(|line| match line.chars().nth(index)? {
                    '+' => Some(Value::Good),
                    '-' => Some(Value::Bad("no route".to_owned())),
                    _ => None,
                }),
            }
        })
        .collect()
}

fn value(letter: char) -> Option<Value> {
    match letter {
        'G' => Some(Value::Good),
        'B' => Some(Value::Bad("answered 503".to_owned())),
        '?' => Some(Value::Unknown("no grant".to_owned())),
        _ => None,
    }
}

fn letter(decision: &Decision) -> char {
    match decision {
        Decision::Failed { .. } => 'F',
        Decision::Inconclusive { .. } => 'I',
        Decision::Passed => 'P',
        Decision::Wait { .. } => 'W',
    }
}

fn name(index: usize) -> String {
    ["a", "b", "c"][index].to_owned()
}

fn second(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn names(list: &str) -> Vec<String> {
    list.chars().map(String::from).collect()
}

#[test]
fn one_probe() {
    for (needed, hold, line, verdict) in [
        // The first good answer passes when nothing more is asked for.
        (1, 0, "G     ", ('P', 1)),
        (1, 0, "BBBG  ", ('P', 4)),
        (1, 0, "BBBBBB", ('F', 6)),
        // So many in a row.
        (3, 0, "GGBGGG", ('P', 6)),
        (3, 0, "GGBGGB", ('F', 6)),
        // Decided as soon as it can't be made up for: three good rounds no longer fit.
        (3, 0, "GGGBBB", ('P', 3)),
        (3, 0, "GGBBBB", ('F', 4)),
        // A bad answer sets the hold back, and a hold that no longer fits fails early.
        (1, 3, "GGGG  ", ('P', 4)),
        (1, 3, "GBGGGG", ('P', 6)),
        (1, 3, "GGBGGG", ('F', 3)),
        // Both: after the streak, the hold.
        (2, 2, "GGGG  ", ('P', 4)),
        (2, 2, "BGGGGG", ('P', 5)),
        (2, 2, "BBBGGG", ('F', 3)),
        // Unknown answers neither grow nor break the streak.
        (3, 0, "G?G?G ", ('P', 5)),
        (3, 0, "G?B?GG", ('I', 6)),
        (1, 0, "??????", ('I', 6)),
        // They stop the hold's clock.
        (1, 2, "GG?GG ", ('P', 5)),
        (1, 3, "GG?GG?", ('I', 6)),
        (1, 2, "G?G?G?", ('I', 6)),
        // Old evidence of bad does not fail a gate that may have recovered since…
        (1, 2, "BB????", ('I', 6)),
        // …and one unknown answer at the end does not excuse what was bad till then.
        (1, 2, "BBBBB?", ('F', 4)),
        (1, 2, "????BB", ('F', 5)),
        // No samples at all.
        (1, 0, "      ", ('I', 6)),
        (1, 0, "B     ", ('I', 6)),
    ] {
        assert_eq!(
            Gate::new(6, hold, &[needed]).verdict(&[line]),
            verdict,
            "{needed} {hold} {line:?}"
        );
    }
}

#[test]
fn the_timelines_of_the_documentation() {
    let page = include_str!("../../docs/gates.md");
    let mut checked = 0;
    for row in page.lines().filter(|row| row.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let line = cells[1].trim_matches('`');
        if !line.chars().all(|letter| "GB?".contains(letter)) {
            continue;
        }
        let hold = cells[2].trim_end_matches('s').parse().unwrap();
        let (verdict, after) = Gate::new(6, hold, &[1]).verdict(&[line]);
        let said = match verdict {
            'P' => "passed",
            'F' => "failed",
            _ => "inconclusive",
        };
        assert!(cells[3].starts_with(said), "{row}");
        assert_eq!(after, line.len() as u64, "{row}");
        assert_eq!(
            cells[3].contains("early"),
            verdict == 'F' && after < 6,
            "{row}"
        );
        checked += 1;
    }
    assert_eq!(checked, 8);
}

#[test]
fn several_probes() {
    let all = || Gate::new(6, 1, &[1, 1]);
    let any = || {
        all().passing(Pass {
            any: names("ab"),
            ..Pass::default()
        })
    };
    let two = || {
        let at_least = Some((2, names("abc")));
        Gate::new(6, 1, &[1, 1, 1]).passing(Pass {
            at_least,
            ..Pass::default()
        })
    };
    for (gate, lines, verdict) in [
        (all(), vec!["GGGGGG", "BBGG  "], ('P', 4)),
        (all(), vec!["GGGGGG", "BBBBBB"], ('F', 5)),
        (all(), vec!["GGGGGG", "??????"], ('I', 6)),
        // What is bad is bad, whatever is not known of the other.
        (all(), vec!["BBBBBB", "??????"], ('F', 5)),
        (any(), vec!["BBBBBB", "GG    "], ('P', 2)),
        (any(), vec!["BBBBBB", "??????"], ('I', 6)),
        (any(), vec!["BBBBBB", "BBBBBB"], ('F', 5)),
        // The one takes over from the other: the expression was true all the time.
        (any(), vec!["GBGBGB", "BGBGBG"], ('P', 2)),
        (two(), vec!["GGGGGG", "BBBGGG", "BBBBBB"], ('P', 5)),
        (two(), vec!["GGGGGG", "BBBBBB", "??????"], ('I', 6)),
        (two(), vec!["GGGGGG", "BBBBBB", "BBBBBB"], ('F', 5)),
    ] {
        assert_eq!(gate.verdict(&lines), verdict, "{lines:?}");
    }
}

#[test]
fn blind_rounds_are_dropped_whole() {
    let gate = || Gate::new(6, 1, &[1]).controlled();
    for (lines, verdict) in [
        (["GG    ", "++    "], ('P', 2)),
        // The runner's network is down: nothing is said of the service.
        (["BBBBBB", "------"], ('I', 6)),
        (["GGGGGG", "------"], ('I', 6)),
        (["GBBBGG", "+---++"], ('P', 6)),
        // A control probe that gave no answer is none that was reached.
        (["BBBBBB", "      "], ('I', 6)),
        // With sight again, what is bad counts.
        (["BBBBBB", "---+++"], ('F', 5)),
    ] {
        assert_eq!(gate().verdict(&lines), verdict, "{lines:?}");
    }
    let (_, _, judge) = gate().run(&["BBBBGB", "------"]);
    let summary = judge.summary();
    assert_eq!(
        (
            summary.rounds,
            summary.blind_rounds,
            summary.dropped_samples
        ),
        (6, 6, 6)
    );
    assert_eq!(summary.probes["a"].line(9), "------");
    assert_eq!(summary.probes["a"].bad, 0);
}

#[test]
fn reasons_name_probe_time_and_answer() {
    let (_, _, judge) = Gate::new(6, 1, &[1, 3]).run(&["GBBBBB", "GGGGGG"]);
    insta::assert_json_snapshot!(judge.failure(second(6)), @r#"
    {
      "exit": "gate-failed",
      "message": "the service did not become good in time",
      "causes": [
        "`a` is bad from 1 s on: answered 503; too late to become good and hold for 1 s before the deadline of 6 s"
      ],
      "facts": [
        {
          "name": "a",
          "value": "GBBBB, first good at 0 s, last bad at 4 s: answered 503"
        },
        {
          "name": "b",
          "value": "GGGGG, first good at 0 s"
        }
      ],
      "hint": "look at the service's own logs from that moment on; if it only needs longer, raise `within`"
    }
    "#);
    let reason = |gate: Gate, lines: &[&str]| {
        let (_, rounds, judge) = gate.run(lines);
        match judge.decide(second(rounds)) {
            Decision::Failed { reason } | Decision::Inconclusive { reason } => reason,
            Decision::Wait { reason, .. } => format!("wait: {reason}"),
            Decision::Passed => "passed".to_owned(),
        }
    };
    let one = |hold, needed| Gate::new(6, hold, &[needed]);
    insta::assert_snapshot!(
        [
            reason(one(3, 1), &["GGBGGG"]),
            reason(one(0, 3), &["GGBGBG"]),
            reason(one(0, 1), &["??????"]),
            reason(one(3, 1), &["GG?GG?"]),
            reason(one(0, 1), &["      "]),
            reason(one(0, 1).controlled(), &["BBBBBB", "------"]),
            reason(Gate::new(6, 0, &[1, 1, 1]).controlled(), &["GGGGGG", "??????", "GGGGG?", "++-+++"]),
        ]
        .join("\n"),
        @r#"
    `a` is bad from 2 s on: answered 503; too late to become good and hold for 3 s before the deadline of 6 s
    `a` is bad from 4 s on: answered 503; too late to become good before the deadline of 6 s
    `a` unknown: no grant
    seen good for 2 s of the 3 s to hold; `a` unknown: no grant
    `a` gave no answer
    6 samples dropped: control target unreachable: no route
    3 samples dropped: control target unreachable: no route; `b` unknown: no grant; `c` unknown: no grant
    "#
    );
}

#[test]
fn failures_of_blind_gates_point_at_the_runner() {
    let (_, _, judge) = Gate::new(6, 0, &[1])
        .controlled()
        .run(&["BBBBBB", "------"]);
    let failure = judge.failure(second(6)).unwrap();
    assert_eq!(failure.exit, ExitCode::GateInconclusive);
    assert_eq!(
        failure.causes,
        ["6 samples dropped: control target unreachable: no route"]
    );
    assert!(failure.hint.unwrap().contains("network of this machine"));
}

#[test]
fn a_waiting_gate_says_for_what_and_until_when() {
    let settings = Settings {
        within: second(60),
        every: second(5),
        start_after: second(10),
        hold: second(20),
        probes: [("http".to_owned(), Rule::Consecutive(2))].into(),
        pass: None,
        control: true,
    };
    let mut judge = Judge::new(Spec::try_new(settings).unwrap());
    let mut seen = Vec::new();
    let mut feed = |began: u64, took: u64, value: Value, control: Value| {
        let (began, ended) = (second(began), second(began + took));
        let samples = vec![Sample {
            probe: "http".to_owned(),
            at: ended,
            value,
        }];
        judge.feed(&Round {
            began,
            ended,
            samples,
            control: Some(control),
        });
        seen.push(match judge.decide(ended) {
            Decision::Wait { reason, until } => format!("{}: {reason}", until.as_secs()),
            other => format!("{other:?}"),
        });
    };
    let bad = || Value::Bad("503 Service Unavailable, expected 200".to_owned());
    // Before `start-after`: ignored.
    feed(5, 0, Value::Good, Value::Good);
    feed(10, 1, bad(), Value::Good);
    // A round that took longer than `every` delays the next one.
    feed(15, 7, bad(), Value::Good);
    feed(22, 0, Value::Good, Value::Good);
    feed(27, 0, Value::Good, Value::Bad("no route".to_owned()));
    feed(32, 0, Value::Good, Value::Good);
    feed(37, 0, Value::Good, Value::Good);
    feed(42, 0, Value::Good, Value::Good);
    feed(
        47,
        0,
        Value::Unknown("can't resolve `web`".to_owned()),
        Value::Good,
    );
    feed(52, 0, Value::Good, Value::Good);
    feed(57, 0, Value::Good, Value::Good);
    insta::assert_snapshot!(seen.join("\n"), @r#"
    10: the first round, 10 s after the gate's begin
    15: `http`: 503 Service Unavailable, expected 200
    22: `http`: 503 Service Unavailable, expected 200
    27: `http` to be good 2 times in a row
    32: the control target, unreachable: no route
    37: everything to stay good for 20 s
    42: everything to stay good for 20 s
    47: everything to stay good for 20 s
    52: `http`: can't resolve `web`
    57: everything to stay good for 20 s
    Inconclusive { reason: "seen good for 15 s of the 20 s to hold; 1 sample dropped: control target unreachable: no route" }
    "#);
}

#[test]
fn what_the_deadline_cut_off_neither_helps_nor_excuses() {
    let gate = Gate::new(6, 0, &[1]);
    let feed = |lines: &str, last: Round| {
        let mut judge = gate.judge();
        for round in rounds(&[lines], false) {
            judge.feed(&round);
        }
        judge.feed(&last);
        letter(&judge.decide(second(6)))
    };
    let cut = |samples: Vec<Sample>| Round {
        began: second(5),
        ended: second(6),
        samples,
        control: None,
    };
    let late = Sample {
        probe: "a".to_owned(),
        at: second(7),
        value: Value::Good,
    };
    assert_eq!(feed("BBBBB", cut(vec![])), 'F');
    assert_eq!(feed("BBBBB", cut(vec![late])), 'F');
    assert_eq!(feed("?????", cut(vec![])), 'I');
    let in_time = Sample {
        probe: "a".to_owned(),
        at: second(6),
        value: Value::Good,
    };
    assert_eq!(feed("BBBBB", cut(vec![in_time])), 'P');
}

#[test]
fn slow_rounds_without_a_bad_answer_never_fail_the_gate() {
    let gate = Gate::new(10, 0, &[4]);
    let mut judge = gate.judge();
    for began in [0, 4, 8] {
        let samples = vec![Sample {
            probe: "a".to_owned(),
            at: second(began + 4),
            value: Value::Good,
        }];
        judge.feed(&Round {
            began: second(began),
            ended: second(began + 4).min(second(10)),
            samples,
            control: None,
        });
    }
    assert_eq!(
        judge.decide(second(10)),
        Decision::Inconclusive {
            reason: "`a` has 2 good of 4 in a row".to_owned()
        }
    );
    // Time-outs that fill the gate are evidence all the same.
    let mut judge = Gate::new(10, 0, &[1]).judge();
    for began in [0, 5] {
        let value = Value::Bad("no answer within 5 s".to_owned());
        let samples = vec![Sample {
            probe: "a".to_owned(),
            at: second(began + 5),
            value,
        }];
        judge.feed(&Round {
            began: second(began),
            ended: second(began + 5),
            samples,
            control: None,
        });
    }
    assert_eq!(letter(&judge.decide(second(10))), 'F');
}

/// Every line of six letters, against the rules said in another way.
#[test]
fn the_small_model_is_right_everywhere() {
    let mut checked = 0;
    for needed in 1..=3 {
        for hold in 0..=3 {
            let gate = Gate::new(6, hold, &[needed]);
            for number in 0..3_usize.pow(6) {
                let line: String = (0..6)
                    .map(|digit| "GB?".as_bytes()[number / 3_usize.pow(digit) % 3] as char)
                    .collect();
                let (verdict, _) = gate.verdict(&[&line]);
                assert_eq!(
                    verdict,
                    model(&line, needed as usize, hold as usize),
                    "{needed} {hold} {line}"
                );
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 3 * 4 * 729);
}

/// Judges a line by looking at all of it at once.
fn model(line: &str, needed: usize, hold: usize) -> char {
    let letters: Vec<char> = line.chars().collect();
    let last_bad = |end: usize| letters[..=end].iter().rposition(|letter| *letter == 'B');
    let good_at = |index: usize| {
        let from = last_bad(index).map_or(0, |bad| bad + 1);
        letters[index] == 'G'
            && letters[from..=index]
                .iter()
                .filter(|it| **it == 'G')
                .count()
                >= needed
    };
    let hopeless_at = |index: usize| last_bad(index).is_some_and(|bad| index - bad < needed);
    let passes = (0..letters.len()).any(|end| {
        let from = (0..=end)
            .rfind(|index| hopeless_at(*index))
            .map_or(0, |index| index + 1);
        let held = (from..end)
            .filter(|index| good_at(*index) && good_at(index + 1))
            .count();
        good_at(end) && held >= hold
    });
    let end = letters.len() - 1;
    let fails = last_bad(end).is_some_and(|bad| end < bad + needed + hold);
    match (passes, fails) {
        (true, _) => 'P',
        (_, true) => 'F',
        _ => 'I',
    }
}

const ROUNDS: usize = 8;

/// A gate of three probes that can pass.
fn gates() -> impl Strategy<Value = Gate> {
    let part = || proptest::sample::subsequence(names("abc"), 0..=3);
    (
        part(),
        part(),
        part(),
        1..=3_u32,
        proptest::collection::vec(1..=3_u32, 3),
        0..=4_u64,
        any::<bool>(),
    )
        .prop_filter_map(
            "a gate that can pass",
            |(mut all, any, of, count, needed, hold, control)| {
                let used: Vec<String> = [&all, &any, &of].into_iter().flatten().cloned().collect();
                all.extend(names("abc").into_iter().filter(|name| !used.contains(name)));
                let at_least = (count as usize <= of.len()).then_some((count, of));
                let pass = Pass { all, any, at_least };
                let gate = Gate {
                    control,
                    ..Gate::new(ROUNDS, hold, &needed).passing(pass)
                };
                gate.spec().map(|_| gate)
            },
        )
}

fn lines(letters: &'static str, control: &'static str) -> impl Strategy<Value = Vec<String>> {
    let line = |letters: &'static str| {
        let letters: Vec<char> = letters.chars().collect();
        proptest::collection::vec(proptest::sample::select(letters), ROUNDS)
            .prop_map(|it| it.into_iter().collect::<String>())
    };
    (line(letters), line(letters), line(letters), line(control))
        .prop_map(|(a, b, c, control)| vec![a, b, c, control])
}

fn judged(gate: &Gate, lines: &[String]) -> (char, u64) {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    gate.verdict(if gate.control { &lines } else { &lines[..3] })
}

fn rank(verdict: char) -> usize {
    "FIP".find(verdict).expect("a verdict")
}

proptest! {
    #[test]
    fn what_was_not_seen_decides_nothing(gate in gates(), lines in lines("? ", "+- ")) {
        prop_assert_eq!(judged(&gate, &lines).0, 'I');
    }

    #[test]
    fn blind_rounds_decide_nothing(gate in gates(), lines in lines("GB? ", "- ")) {
        let gate = gate.controlled();
        prop_assert_eq!(judged(&gate, &lines).0, 'I');
    }

    #[test]
    fn what_was_seen_throughout_is_decided(gate in gates(), lines in lines("GB", "+")) {
        prop_assert_ne!(judged(&gate, &lines).0, 'I');
    }

    #[test]
    fn no_failure_without_a_bad_answer_no_pass_without_a_good_one(
        gate in gates(), hopeful in lines("G? ", "+- "), bleak in lines("B? ", "+- "),
    ) {
        prop_assert_ne!(judged(&gate, &hopeful).0, 'F');
        prop_assert_ne!(judged(&gate, &bleak).0, 'P');
    }

    #[test]
    fn a_better_answer_never_worsens_the_verdict(
        gate in gates(), lines in lines("GB? ", "+-"), probe in 0..4_usize, round in 0..ROUNDS,
    ) {
        let mut better = lines.clone();
        let next = match lines[probe].as_bytes()[round] {
            b'B' => "?",
            b'-' => "-",
            b'+' => "+",
            _ => "G",
        };
        better[probe].replace_range(round..=round, next);
        prop_assert!(rank(judged(&gate, &better).0) >= rank(judged(&gate, &lines).0), "{better:?}");
    }

    #[test]
    fn an_early_failure_is_what_the_deadline_would_have_said(
        gate in gates(), lines in lines("GB? ", "+-"),
    ) {
        let (verdict, after) = judged(&gate, &lines);
        prop_assume!(verdict == 'F');
        // Whatever comes after: the best of answers can't save it.
        let saved: Vec<String> = lines.iter().enumerate().map(|(index, line)| {
            let best = if index == 3 { "+" } else { "G" };
            format!("{}{}", &line[..after as usize], best.repeat(ROUNDS - after as usize))
        }).collect();
        let lines: Vec<&str> = saved.iter().map(String::as_str).collect();
        let mut judge = gate.judge();
        for round in rounds(if gate.control { &lines } else { &lines[..3] }, gate.control) {
            judge.feed(&round);
        }
        prop_assert_eq!(letter(&judge.decide(second(ROUNDS as u64))), 'F');
    }

    #[test]
    fn any_times_are_taken_without_panic(
        gate in gates(),
        rounds in proptest::collection::vec((0..u64::MAX, 0..u64::MAX, 0..20_u64, any::<bool>()), 0..20),
        now in 0..u64::MAX,
    ) {
        let mut judge = gate.judge();
        for (huge, ended, began, small) in rounds {
            let began = if small { second(began) } else { second(huge) };
            let samples = vec![Sample { probe: "a".to_owned(), at: second(ended), value: Value::Bad(String::new()) }];
            judge.feed(&Round { began, ended: second(ended), samples, control: None });
            if let Decision::Wait { until, .. } = judge.decide(began) {
                prop_assert!(until < second(ROUNDS as u64));
            }
        }
        let _ = judge.decide(second(now));
        let _ = judge.failure(second(now));
    }
}
