//! Patterns of the identities in certificates.

use std::fmt;
use std::str::FromStr;

use crate::failure::Explain;

/// A pattern that matches whole identities: the address or URI of a certificate.
///
/// `*` stands for one or more characters other than `/`, `**` between `/`, `@` and the ends for any characters, and
/// everything else for itself. So `https://github.com/acme/*/.github/workflows/release.yml@refs/tags/**` matches
/// the tags of every repository of `acme`, and none of `acme-evil`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SubjectPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Part {
    Exactly(char),
    /// At least one character that is not `/`.
    Some,
    /// Any characters.
    Any,
}

impl SubjectPattern {
    /// The most characters that a pattern may have.
    pub const MAX_LENGTH: usize = 1024;

    /// Tells whether the pattern matches the whole identity.
    #[must_use]
    pub fn matches(&self, identity: &str) -> bool {
        // `reachable[i]`: the characters so far can bring the pattern to its part `i`; `started[i]`: the `*` there
        // has had its first character.
        let mut reachable = vec![false; self.parts.len() + 1];
        let mut started = vec![false; self.parts.len() + 1];
        reachable[0] = true;
        self.skip(&mut reachable);
        for found in identity.chars() {
            let mut next = vec![false; self.parts.len() + 1];
            let mut next_started = vec![false; self.parts.len() + 1];
            for (index, part) in self.parts.iter().enumerate() {
                match part {
                    Part::Exactly(wanted) => {
                        next[index + 1] |= reachable[index] && *wanted == found
                    }
                    Part::Any => next[index] |= reachable[index],
                    Part::Some => {
                        let goes_on = (reachable[index] || started[index]) && found != '/';
                        next_started[index] |= goes_on;
                        next[index + 1] |= goes_on;
                    }
                }
            }
            self.skip(&mut next);
            reachable = next;
            started = next_started;
        }
        reachable[self.parts.len()]
    }

    /// Tells whether there could be an identity that both patterns match.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        // A `*` is taken for `**` here: two that do not overlap then don't as they are.
        let (left, right) = (&self.parts, &other.parts);
        let mut table = vec![vec![false; right.len() + 1]; left.len() + 1];
        for i in (0..=left.len()).rev() {
            for j in (0..=right.len()).rev() {
                table[i][j] = match (left.get(i), right.get(j)) {
                    (None, None) => true,
                    (Some(Part::Exactly(a)), Some(Part::Exactly(b))) => {
                        a == b && table[i + 1][j + 1]
                    }
                    (Some(Part::Exactly(_)), None) | (None, Some(Part::Exactly(_))) => false,
                    (Some(Part::Exactly(_)), Some(_)) => table[i][j + 1] || table[i + 1][j],
                    (Some(_), Some(Part::Exactly(_))) => table[i + 1][j] || table[i][j + 1],
                    (Some(_), Some(_)) => table[i + 1][j] || table[i][j + 1],
                    (Some(_), None) => table[i + 1][j],
                    (None, Some(_)) => table[i][j + 1],
                };
            }
        }
        table[0][0]
    }

    /// Tells whether it says nothing of an identity at all.
    #[must_use]
    pub fn is_anybody(&self) -> bool {
        let literal = |part: &Part| matches!(part, Part::Exactly(found) if found.is_alphanumeric());
        !self.parts.iter().any(literal)
    }

    /// `**` may stand for nothing.
    fn skip(&self, reachable: &mut [bool]) {
        for (index, part) in self.parts.iter().enumerate() {
            if reachable[index] && *part == Part::Any {
                reachable[index + 1] = true;
            }
        }
    }
}

impl FromStr for SubjectPattern {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let refuse = |reason: &'static str, hint: &'static str| {
            Err(SubjectError {
                text: text.chars().take(300).collect(),
                reason,
                hint,
            })
        };
        if text.is_empty() {
            return refuse(
                "it is empty",
                "write the identity that the certificate must name",
            );
        }
        if text.chars().count() > Self::MAX_LENGTH {
            return refuse("it has more than 1024 characters", "write a shorter one");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse(
                "it has a space or a control character",
                "no identity in a certificate has one",
            );
        }
        let characters: Vec<char> = text.chars().collect();
        let mut parts = Vec::with_capacity(characters.len());
        let mut index = 0;
        while index < characters.len() {
            let run = characters[index..]
                .iter()
                .take_while(|c| **c == '*')
                .count();
            match run {
                0 => parts.push(Part::Exactly(characters[index])),
                1 => parts.push(Part::Some),
                2 => {
                    let before = index.checked_sub(1).map(|before| characters[before]);
                    let after = characters.get(index + 2);
                    if !matches!(before, None | Some('/' | '@'))
                        || !matches!(after, None | Some('/' | '@'))
                    {
                        return refuse(
                            "a `**` stands beside something else than `/`, `@` or the end",
                            "use `*` for a part of a segment and `**` for whole ones, as in `https://github.com/acme/**`",
                        );
                    }
                    parts.push(Part::Any);
                }
                _ => {
                    return refuse(
                        "it has three `*` in a row",
                        "use `*` for a part of a segment and `**` for any number of segments",
                    );
                }
            }
            index += run.max(1);
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A refusal of a pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is no pattern of an identity: {reason}")]
pub struct SubjectError {
    /// The pattern, shortened.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// What to write.
    pub hint: &'static str,
}

impl Explain for SubjectError {
    fn hint(&self) -> Option<String> {
        Some(self.hint.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> SubjectPattern {
        text.parse().unwrap()
    }

    const RELEASE: &str = "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/**";

    #[test]
    fn whole_identities_are_matched() {
        let of = |repository: &str, tag: &str| {
            format!("https://github.com/{repository}/.github/workflows/release.yml@{tag}")
        };
        for (identity, expected) in [
            (of("acme/web", "refs/tags/v1"), true),
            (of("acme/web", "refs/tags/v1/rc"), true),
            (of("acme/web", "refs/heads/main"), false),
            (of("acme-evil/web", "refs/tags/v1"), false),
            (of("acme/web/x", "refs/tags/v1"), false),
            (of("acme/", "refs/tags/v1"), false),
            (format!("x{}", of("acme/web", "refs/tags/v1")), false),
        ] {
            assert_eq!(pattern(RELEASE).matches(&identity), expected, "{identity}");
        }
        assert!(pattern("*@acme.example").matches("ci@acme.example"));
        assert!(!pattern("*@acme.example").matches("@acme.example"));
        assert!(!pattern("*@acme.example").matches("ci@acme.example.evil"));
        assert!(!pattern("*@acme.example").matches("a/b@acme.example"));
        assert!(pattern("https://github.com/acme/**").matches("https://github.com/acme/web/x"));
    }

    /// CVE-2026-22772: an expression without anchors took `acme-evil` for `acme`.
    #[test]
    fn cve_2026_22772_a_prefix_is_no_match() {
        assert!(!pattern("https://github.com/acme").matches("https://github.com/acme-evil"));
        assert!(!pattern("https://github.com/acme").matches("https://github.com/acme/web"));
        assert!(!pattern("https://github.com/acme/*").matches("https://github.com/acme-evil/web"));
    }

    #[test]
    fn overlaps_are_seen() {
        for (left, right, expected) in [
            (RELEASE, RELEASE, true),
            (RELEASE, "https://github.com/acme/web/**", true),
            (RELEASE, "https://github.com/other/**", false),
            ("*@acme.example", "ci@acme.example", true),
            ("*@acme.example", "ci@other.example", false),
            ("ci@acme.example", "ci@acme.exampl", false),
            ("**", "x", true),
        ] {
            let (a, b) = (pattern(left), pattern(right));
            assert_eq!(a.overlaps(&b), expected, "{left} {right}");
            assert_eq!(b.overlaps(&a), expected, "{right} {left}");
        }
    }

    #[test]
    fn a_pattern_of_anybody_is_known_as_such() {
        for text in ["**", "*", "*/**", "*@*"] {
            assert!(pattern(text).is_anybody(), "{text}");
        }
        assert!(!pattern("https://github.com/**").is_anybody());
    }

    #[test]
    fn refusals_say_what_to_write() {
        let long = "x".repeat(SubjectPattern::MAX_LENGTH + 1);
        let told: Vec<String> = ["", &long, "a b", "https://github.com/acme**", "***", "**x"]
            .iter()
            .map(|text| {
                let error = text.parse::<SubjectPattern>().unwrap_err();
                format!("{}: {}", error.reason, error.hint)
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    proptest! {
        #[test]
        fn a_text_without_stars_matches_itself_alone(text in "[a-z@/.:-]{1,40}", other in "[a-z@/.:-]{1,40}") {
            prop_assert!(pattern(&text).matches(&text));
            prop_assert_eq!(pattern(&text).matches(&other), text == other);
        }

        #[test]
        fn what_two_patterns_match_they_overlap_in(
            left in "[ab/]{0,4}(\\*[ab/]{0,3}){0,3}",
            right in "[ab/]{0,4}(\\*[ab/]{0,3}){0,3}",
            identity in "[ab/]{1,8}",
        ) {
            if let (Ok(left), Ok(right)) = (left.parse::<SubjectPattern>(), right.parse::<SubjectPattern>()) {
                prop_assert!(!(left.matches(&identity) && right.matches(&identity)) || left.overlaps(&right));
            }
        }
    }
}
