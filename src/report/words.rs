//! How numbers and foreign text become words: sizes, durations, counts, escapes.

use std::fmt::Write as _;
use std::time::Duration;

use super::model::StepReport;

/// The most characters of one foreign text that a line shows.
const LONGEST: usize = 2_000;

/// Returns a size in decimal units, as registries show it: `512 B`, `3.2 kB`, `1.2 GB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    // In rounded tenths, so that 999,950 bytes are 1.0 MB and never 1000.0 kB.
    let mut unit_bytes = 1_000_u128;
    for unit in ["kB", "MB", "GB", "TB", "PB"] {
        let tenths = (u128::from(bytes) * 10 + unit_bytes / 2) / unit_bytes;
        if tenths < 10_000 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        unit_bytes *= 1_000;
    }
    format!("{} EB", u128::from(bytes) / unit_bytes)
}

/// Returns what a run is called: a pipeline by its name, a command that runs none by its own.
pub(super) fn called(name: &str, run: &str) -> String {
    if run.is_empty() || name == "pipeline" {
        name.to_owned()
    } else {
        format!("pipeline {name}")
    }
}

/// Returns what is remarkable about how a step ran, beside its outcome.
pub(super) fn notes(step: &StepReport) -> Vec<String> {
    let attempts = u64::from(step.attempts);
    let tried_again = (attempts > 1).then(|| count(attempts, "attempt", "attempts"));
    let went_on = step.continued.then(|| "the run went on".to_owned());
    tried_again.into_iter().chain(went_on).collect()
}

/// Returns a rate in bytes a second, for instance `4.1 MB/s`.
#[must_use]
pub fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", size(bytes_per_second))
}

/// Returns a duration with two significant units at most: `3 ms`, `1.2 s`, `1 min 5 s`, `2 h 3 min`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds == 0 && !duration.is_zero() {
        return "<1 ms".into();
    }
    if milliseconds < 1_000 {
        return format!("{milliseconds} ms");
    }
    let tenths = (milliseconds + 50) / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = (milliseconds + 500) / 1_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, seconds) {
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Returns a duration in whole seconds or larger units, for waits that are still going on.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => self::duration(Duration::from_secs(seconds)),
    }
}

/// Returns a number with its noun in the right form: `1 blob`, `3 blobs`, `2 retries`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

/// Returns a share in whole per cent, never 100 before all is there.
#[must_use]
pub fn percent(part: u64, whole: u64) -> u64 {
    if part >= whole {
        return 100;
    }
    u64::try_from(u128::from(part) * 100 / u128::from(whole)).unwrap_or(99)
}

/// Returns foreign text in a form that can neither steer a terminal or a CI log nor leave its line.
///
/// Control, line-breaking and direction-changing characters are escaped (`\n`, `\u{1b}`), and so are the
/// marks with which CI systems take commands from anywhere in a line. Very long text is cut.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (place, character) in text.char_indices().take(LONGEST) {
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            // GitHub and Azure read `##[…]` and `##vso[…]` wherever they stand.
            '[' if safe.ends_with("##") || safe.ends_with("##vso") => safe.push_str("\\u{5b}"),
            character if is_unsafe(character) => {
                // Writing to a string can't fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(character));
            }
            _ => safe.push_str(&text[place..place + character.len_utf8()]),
        }
    }
    let left = text.chars().count().saturating_sub(LONGEST);
    if left > 0 {
        let left = count(left as u64, "character", "characters");
        let _ = write!(safe, "... ({left} more)");
    }
    safe
}

/// Returns text of several lines with everything escaped but the line breaks and tabs.
#[must_use]
pub fn escaped_lines(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => safe.push(character),
            character if is_unsafe(character) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(character));
            }
            character => safe.push(character),
        }
    }
    safe
}

/// Says whether a character can steer a terminal, break a line or change the direction of reading.
pub(super) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_is_called_once() {
        assert_eq!(called("web", "r1"), "pipeline web");
        assert_eq!(called("pipeline", "r1"), "pipeline");
        assert_eq!(called("pull", ""), "pull");
    }

    #[test]
    fn sizes_are_decimal_and_round_into_the_next_unit() {
        let sizes = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (3_249, "3.2 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (370_000_000, "370.0 MB"),
            (1_250_000_000, "1.3 GB"),
            (5_000_000_000_000_000, "5.0 PB"),
            (u64::MAX, "18 EB"),
        ];
        for (bytes, words) in sizes {
            assert_eq!(size(bytes), words);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let durations = [
            (0, "0 ms"),
            (3, "3 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min"),
            (65_000, "1 min 5 s"),
            (3_600_000, "1 h"),
            (7_380_000, "2 h 3 min"),
        ];
        for (milliseconds, words) in durations {
            assert_eq!(duration(Duration::from_millis(milliseconds)), words);
        }
        assert_eq!(duration(Duration::from_micros(400)), "<1 ms");
        assert_eq!(seconds(Duration::from_millis(30_900)), "30 s");
    }

    #[test]
    fn plural_forms() {
        assert_eq!(count(0, "blob", "blobs"), "0 blobs");
        assert_eq!(count(1, "retry", "retries"), "1 retry");
        assert_eq!(count(2, "retry", "retries"), "2 retries");
    }

    #[test]
    fn per_cent_is_not_100_too_early() {
        assert_eq!(percent(999, 1_000), 99);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
    }

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(
            escaped("\x1b[2Jgone\r\nnew"),
            "\\u{1b}[2Jgone\\r\\nnew",
            "terminal codes and line breaks"
        );
        assert_eq!(escaped("a\u{202e}b\u{9b}c"), "a\\u{202e}b\\u{9b}c");
        assert_eq!(escaped("##[error]x"), "##\\u{5b}error]x");
        assert_eq!(escaped("##vso[task]x"), "##vso\\u{5b}task]x");
        assert_eq!(escaped("größe 12 µs 日本"), "größe 12 µs 日本");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let cut = escaped(&"é".repeat(LONGEST + 7));
        assert!(cut.ends_with("é... (7 characters more)"), "{cut}");
    }

    proptest! {
        #[test]
        fn nothing_foreign_leaves_its_line(text in any::<String>()) {
            let safe = escaped(&text);
            prop_assert!(!safe.chars().any(is_unsafe));
            prop_assert!(!safe.contains("##["));
        }

        #[test]
        fn sizes_are_short_and_never_show_a_thousand(bytes in any::<u64>()) {
            let words = size(bytes);
            prop_assert!(words.len() <= 8, "{}", words);
            prop_assert!(!words.starts_with("1000"), "{}", words);
        }
    }
}
