//! Times and counts in the words of reports.

use std::time::Duration;

/// Returns a duration in words, as reports have it, to the second from ten seconds on and to
/// the millisecond below.
pub(super) fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        return short(duration);
    }
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns a duration as the document would spell it, `4m50s`: for what is said about its settings.
pub(super) fn setting(duration: Duration) -> String {
    time(duration).replace(' ', "").replace("min", "m")
}

/// Returns `1 sample`, `2 samples`.
pub(super) fn count(number: impl Into<u64>, thing: &str) -> String {
    let number = number.into();
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn short(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1000 && milliseconds != 0 {
        return format!("{milliseconds} ms");
    }
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    if rest == 0 {
        return format!("{whole} s");
    }
    format!("{whole}.{} s", format!("{rest:03}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_in_reports() {
        for (milliseconds, words) in [
            (0, "0 s"),
            (1, "1 ms"),
            (250, "250 ms"),
            (1000, "1 s"),
            (1500, "1.5 s"),
            (9070, "9.07 s"),
            (10_499, "10 s"),
            (60_000, "1 min"),
            (290_000, "4 min 50 s"),
            (3_600_000, "1 h"),
            (3_601_000, "1 h 1 s"),
        ] {
            assert_eq!(time(Duration::from_millis(milliseconds)), words);
        }
        assert_eq!(setting(Duration::from_secs(290)), "4m50s");
        assert_eq!(count(1_u32, "sample"), "1 sample");
        assert_eq!(count(0_u32, "sample"), "0 samples");
    }
}
