//! What the samples of a probe say when there is little room for it.

use std::time::Duration;

use crate::report::model::{ProbeReport, SampleReport};
use crate::report::words;

/// The most samples in a picture.
const PICTURED: usize = 40;

/// What the marks of a picture mean.
pub const LEGEND: &str = "● good, ✕ bad, · unknown; the newest on the right";

/// Draws the newest samples, a mark each, the newest on the right: `…··●●✕`.
#[must_use]
pub fn picture(probe: &ProbeReport) -> String {
    let hidden = probe.samples.len().saturating_sub(PICTURED);
    let more = if hidden > 0 || probe.dropped > 0 {
        "…"
    } else {
        ""
    };
    let marks = probe
        .samples
        .iter()
        .skip(hidden)
        .map(|sample| mark(&sample.sample));
    more.chars().chain(marks).collect()
}

/// Returns how many samples were good, bad and unknown: `3 good, 1 bad`.
#[must_use]
pub fn counts(probe: &ProbeReport) -> String {
    let counts = [
        (probe.good, "good"),
        (probe.bad, "bad"),
        (probe.unknown, "unknown"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    counts.join(", ")
}

/// Returns the samples that differ from the one before them: the first and the last such.
#[must_use]
pub fn changes(probe: &ProbeReport) -> Option<(&SampleReport, &SampleReport)> {
    let pairs = probe.samples.iter().zip(probe.samples.iter().skip(1));
    let mut changed = pairs.filter_map(|(before, after)| {
        (mark(&before.sample) != mark(&after.sample)).then_some(after)
    });
    let first = changed.next()?;
    Some((first, changed.next_back().unwrap_or(first)))
}

/// Returns the word for a sample: whatever is neither good nor bad is unknown.
#[must_use]
pub fn word(sample: &SampleReport) -> &'static str {
    match sample.sample.as_str() {
        "good" => "good",
        "bad" => "bad",
        _ => "unknown",
    }
}

/// Returns when a sample was taken, from the beginning of the run.
#[must_use]
pub fn at(sample: &SampleReport) -> String {
    words::duration(Duration::from_millis(sample.at_ms))
}

fn mark(sample: &str) -> char {
    match sample {
        "good" => '●',
        "bad" => '✕',
        _ => '·',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(samples: &str) -> ProbeReport {
        let sample = |(at, mark): (usize, char)| SampleReport {
            at_ms: at as u64,
            sample: match mark {
                'g' => "good",
                'b' => "bad",
                _ => "unknown",
            }
            .into(),
            found: String::new(),
            took_ms: 0,
        };
        ProbeReport {
            samples: samples.chars().enumerate().map(sample).collect(),
            ..ProbeReport::default()
        }
    }

    #[test]
    fn pictures_show_the_newest() {
        assert_eq!(picture(&probe("uggb")), "·●●✕");
        let long = picture(&probe(&("b".repeat(10) + &"g".repeat(40))));
        assert_eq!(long, format!("…{}", "●".repeat(40)));
    }

    #[test]
    fn the_first_and_the_last_change_are_found() {
        let ends = |samples| {
            let probe = probe(samples);
            changes(&probe).map(|(first, last)| (first.at_ms, last.at_ms))
        };
        assert_eq!(ends("ggg"), None);
        assert_eq!(ends(""), None);
        assert_eq!(ends("ugg"), Some((1, 1)));
        assert_eq!(ends("gbbug"), Some((1, 4)));
    }
}
