//! Times as people write them in the document.

use std::time::Duration;

/// Returns a duration as the document would spell it, to the second from ten seconds on and to
/// the millisecond below.
pub(super) fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        return short(duration);
    }
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect()
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
        return format!("{milliseconds}ms");
    }
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    if rest == 0 {
        return format!("{whole}s");
    }
    format!("{whole}.{}s", format!("{rest:03}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_written() {
        for (milliseconds, words) in [
            (0, "0s"),
            (1, "1ms"),
            (250, "250ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (9070, "9.07s"),
            (10_499, "10s"),
            (60_000, "1m"),
            (290_000, "4m50s"),
            (3_600_000, "1h"),
            (3_601_000, "1h1s"),
        ] {
            assert_eq!(time(Duration::from_millis(milliseconds)), words);
        }
        assert_eq!(count(1_u32, "sample"), "1 sample");
        assert_eq!(count(0_u32, "sample"), "0 samples");
    }
}
