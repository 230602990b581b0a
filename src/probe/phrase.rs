//! Words for what strangers sent: one line, short, nothing in it that moves a cursor.

use std::time::Duration;

/// The most characters of a stranger's text that one phrase shows.
const EXCERPT: usize = 120;

/// Returns the begin of a text in quotes, on one line, with `…` if there is more.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown = String::from('"');
    let mut length = 0;
    let mut rest = text.trim().chars();
    for letter in rest.by_ref() {
        let escaped = escape(letter);
        length += escaped.chars().count();
        if length > EXCERPT {
            shown.push_str("…\"");
            return shown;
        }
        shown.push_str(&escaped);
    }
    shown.push('"');
    shown
}

/// Returns a text without quotes, otherwise as [`excerpt`] does.
pub(super) fn bare(text: &str) -> String {
    excerpt(text).trim_matches('"').to_owned()
}

/// Returns a duration as a person says it: `12 ms`, `1.2 s`.
pub(super) fn took(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{} ms", time.as_millis());
    }
    let tenths = time.as_millis() / 100;
    match tenths % 10 {
        0 => format!("{} s", tenths / 10),
        rest => format!("{}.{rest} s", tenths / 10),
    }
}

/// Escapes what is not printed: control characters, line ends, marks that turn the writing
/// direction, invisible spaces.
fn escape(letter: char) -> String {
    match letter {
        '"' | '\'' | '\\' => letter.to_string(),
        _ => letter.escape_debug().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_tame() {
        assert_eq!(excerpt("  ready\n"), "\"ready\"");
        assert_eq!(excerpt("a \"b\" c\\d"), "\"a \"b\" c\\d\"");
        assert_eq!(excerpt("\u{1b}[2Jx\r\ny\0"), "\"\\u{1b}[2Jx\\r\\ny\\0\"");
        assert_eq!(excerpt("a\u{202e}b\u{200b}"), "\"a\\u{202e}b\\u{200b}\"");
        assert_eq!(excerpt("größe 例"), "\"größe 例\"");
        assert_eq!(excerpt(&"x".repeat(120)).chars().count(), 122);
        assert_eq!(
            excerpt(&"x".repeat(5000)),
            format!("\"{}…\"", "x".repeat(120))
        );
    }

    #[test]
    fn times_are_said_in_the_unit_that_fits() {
        for (milliseconds, words) in [
            (0, "0 ms"),
            (12, "12 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (1249, "1.2 s"),
            (61_000, "61 s"),
        ] {
            assert_eq!(took(Duration::from_millis(milliseconds)), words);
        }
    }

    proptest::proptest! {
        #[test]
        fn an_excerpt_is_one_line_of_bounded_length(text in "\\PC*|[\\x00-\\x20\\u{202a}-\\u{202e}a]{0,400}") {
            let shown = excerpt(&text);
            proptest::prop_assert!(shown.chars().count() <= EXCERPT + 3);
            proptest::prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
