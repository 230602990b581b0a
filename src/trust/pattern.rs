//! Patterns of repositories, as trust rules are named.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::failure::{Explain, Fact};
use crate::oci::Repository;

/// A pattern that matches whole repository names, `registry/path`.
///
/// It is compared segment by segment, `/` between them: `*` stands for exactly one segment, `**`
/// for any number of them, none included, and everything else for itself. There are no partial
/// wildcards and no regular expressions, so `ghcr.io/acme/*` can't match `ghcr.io/acme-evil/web`.
/// Registry names are compared without regard to case.
///
/// # Specificity
///
/// Of two patterns that match the same image, the more specific one wins. They are compared
/// from the left, and the first segment whose kind differs decides: a name is more specific
/// than `*`, `*` more than the end of the pattern, and the end more than `**`. So, from the most
/// to the least specific:
/// `ghcr.io/acme/web`, `ghcr.io/acme/*`, `ghcr.io/acme/**`, `ghcr.io/*/web`, `ghcr.io/**`, `**`.
/// Two patterns with the same kinds of segments that could match the same image are a tie,
/// which [`Policy::new`](super::Policy::new) refuses.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

impl Pattern {
    /// The most segments that a pattern may have.
    pub const MAX_SEGMENTS: usize = 32;

    /// Tells whether the pattern matches the whole name of a repository.
    #[must_use]
    pub fn matches(&self, repository: &Repository) -> bool {
        let registry = repository.registry.to_ascii_lowercase();
        let name: Vec<&str> = std::iter::once(registry.as_str())
            .chain(repository.path.split('/'))
            .collect();
        // `reachable[i]`: the segments so far can bring the pattern to its segment `i`.
        let mut reachable = vec![false; self.segments.len() + 1];
        reachable[0] = true;
        skip_any(&self.segments, &mut reachable);
        for part in name {
            let mut next = vec![false; self.segments.len() + 1];
            for (index, segment) in self.segments.iter().enumerate() {
                if !reachable[index] {
                    continue;
                }
                match segment {
                    Segment::Any => next[index] = true,
                    Segment::One => next[index + 1] = true,
                    Segment::Name(name) if name == part => next[index + 1] = true,
                    Segment::Name(_) => {}
                }
            }
            skip_any(&self.segments, &mut next);
            reachable = next;
        }
        reachable[self.segments.len()]
    }

    /// Compares how specific two patterns are; the greater is the more specific.
    #[must_use]
    pub fn specificity(&self, other: &Self) -> Ordering {
        let kinds = |pattern: &Self| -> Vec<u8> {
            let ends = std::iter::once(END);
            pattern
                .segments
                .iter()
                .map(Segment::rank)
                .chain(ends)
                .collect()
        };
        kinds(self).cmp(&kinds(other))
    }

    /// Tells whether there could be an image that both patterns match.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (left, right) = (&self.segments, &other.segments);
        // `table[i][j]`: the rest of `left` from `i` and the rest of `right` from `j` have a name in common.
        let mut table = vec![vec![false; right.len() + 1]; left.len() + 1];
        for i in (0..=left.len()).rev() {
            for j in (0..=right.len()).rev() {
                table[i][j] = match (left.get(i), right.get(j)) {
                    (None, None) => true,
                    (Some(Segment::Any), None) => table[i + 1][j],
                    (None, Some(Segment::Any)) => table[i][j + 1],
                    (None, Some(_)) | (Some(_), None) => false,
                    (Some(Segment::Any), Some(_)) | (Some(_), Some(Segment::Any)) => {
                        table[i + 1][j] || table[i][j + 1]
                    }
                    (Some(Segment::Name(a)), Some(Segment::Name(b))) if a != b => false,
                    (Some(_), Some(_)) => table[i + 1][j + 1],
                };
            }
        }
        table[0][0]
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let refuse = |reason: &str, hint: &str| PatternError {
            text: text.chars().take(300).collect(),
            reason: reason.into(),
            hint: hint.into(),
        };
        if text.contains("://") {
            return Err(refuse("it has a scheme", "leave the scheme out"));
        }
        if text.contains('@') {
            return Err(refuse(
                "it names a digest",
                "rules are about repositories: leave the digest out",
            ));
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > Self::MAX_SEGMENTS {
            return Err(refuse(
                "it has more than 32 segments",
                "use `**` for the rest of the path",
            ));
        }
        let mut segments = Vec::with_capacity(parts.len());
        for (index, part) in parts.into_iter().enumerate() {
            let segment = match part {
                "**" => Segment::Any,
                "*" => Segment::One,
                "" => {
                    return Err(refuse(
                        "it has an empty segment",
                        "write it like `ghcr.io/acme/**`",
                    ));
                }
                part if part.contains('*') => {
                    return Err(refuse(
                        "a `*` stands for a whole segment, not for a part of one",
                        "use `*` for one segment and `**` for any number, as in `ghcr.io/acme/*`",
                    ));
                }
                part if index == 0 => {
                    registry(part).map_err(|(reason, hint)| refuse(reason, hint))?
                }
                part if part.contains(':') => {
                    return Err(refuse(
                        "it names a tag",
                        "rules are about repositories: leave the tag out",
                    ));
                }
                part if is_path(part) => Segment::Name(part.to_owned()),
                _ => {
                    return Err(refuse(
                        "a repository's path has lower-case letters, digits and `.`, `_`, `-` only",
                        "write the path as it stands in the image's reference",
                    ));
                }
            };
            if segment == Segment::Any && segments.last() == Some(&Segment::Any) {
                return Err(refuse("it has `**` twice in a row", "one `**` is enough"));
            }
            segments.push(segment);
        }
        if segments.len() == 1 && segments[0] != Segment::Any {
            return Err(refuse(
                "it has a registry and no repository",
                "add a path, for instance `/**` for all of its repositories",
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A refusal to take a string for a pattern of repositories.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not a pattern of repositories: {reason}")]
pub struct PatternError {
    /// What was given, at most 300 characters of it.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to write instead.
    pub hint: String,
}

impl Explain for PatternError {
    fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }

    fn facts(&self) -> Vec<Fact> {
        vec![Fact::new("found", &self.text)]
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Segment {
    Any,
    Name(String),
    One,
}

impl Segment {
    const fn rank(&self) -> u8 {
        match self {
            Self::Any => 0,
            Self::One => END + 1,
            Self::Name(_) => END + 2,
        }
    }
}

const END: u8 = 1;

fn skip_any(segments: &[Segment], reachable: &mut [bool]) {
    for (index, segment) in segments.iter().enumerate() {
        if *segment == Segment::Any && reachable[index] {
            reachable[index + 1] = true;
        }
    }
}

fn registry(part: &str) -> Result<Segment, (&'static str, &'static str)> {
    let lower = part.to_ascii_lowercase();
    let named = lower.contains(['.', ':']) || lower == "localhost";
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    match lower.as_str() {
        "index.docker.io" | "registry-1.docker.io" => Err((
            "Docker Hub's images are named `docker.io`",
            "write `docker.io/…`",
        )),
        _ if !named => Err((
            "it does not begin with a registry",
            "spell it out: `docker.io/library/nginx` rather than `nginx`",
        )),
        _ if !lower.bytes().all(allowed) => Err((
            "the registry is not a host name",
            "write the registry as it stands in the image's reference",
        )),
        _ => Ok(Segment::Name(lower)),
    }
}

fn is_path(part: &str) -> bool {
    part.bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repository(text: &str) -> Repository {
        let (registry, path) = text.split_once('/').unwrap();
        Repository {
            registry: registry.into(),
            path: path.into(),
        }
    }

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn matches_whole_names_only() {
        for (text, image, expected) in [
            ("ghcr.io/acme/web", "ghcr.io/acme/web", true),
            ("ghcr.io/acme/web", "GHCR.io/acme/web", true),
            ("ghcr.io/acme/web", "ghcr.io/acme/web2", false),
            ("ghcr.io/acme/web", "ghcr.io/acme/web/x", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/web", true),
            ("ghcr.io/acme/*", "ghcr.io/acme-evil/web", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/a/b", false),
            ("ghcr.io/acme/**", "ghcr.io/acme/a/b", true),
            ("ghcr.io/acme/**", "ghcr.io/acme", true),
            ("ghcr.io/acme/**", "ghcr.io/acmex", false),
            ("*/acme/web", "127.0.0.1:5000/acme/web", true),
            ("**/web", "ghcr.io/a/b/web", true),
            ("**/web", "ghcr.io/web/b", false),
            ("**", "ghcr.io/anything", true),
            ("ghcr.io/**/a/*/c", "ghcr.io/a/b/a/x/c", true),
        ] {
            assert_eq!(
                pattern(text).matches(&repository(image)),
                expected,
                "{text} {image}"
            );
        }
    }

    #[test]
    fn the_documented_order_of_specificity() {
        let order = [
            "ghcr.io/acme/web",
            "ghcr.io/acme/*",
            "ghcr.io/acme/**",
            "ghcr.io/*/web",
            "ghcr.io/**",
            "**",
        ];
        for (rank, more) in order.iter().enumerate() {
            for less in &order[rank + 1..] {
                assert_eq!(
                    pattern(more).specificity(&pattern(less)),
                    Ordering::Greater,
                    "{more} {less}"
                );
            }
        }
        // A pattern that ends is more specific than one that could go on.
        assert_eq!(
            pattern("ghcr.io/acme").specificity(&pattern("ghcr.io/acme/**")),
            Ordering::Greater
        );
    }

    #[test]
    fn refusals_say_what_to_write() {
        let told: Vec<String> = [
            "",
            "nginx",
            "acme/web",
            "ghcr.io",
            "ghcr.io/",
            "ghcr.io//web",
            "ghcr.io/acme-*",
            "ghcr.io/acme/web:v1",
            "ghcr.io/acme/web@sha256:00",
            "https://ghcr.io/acme/web",
            "ghcr.io/Acme/web",
            "index.docker.io/library/nginx",
            "ghcr.io/**/**",
            "ghcr.io/a b",
            "gh$cr.io/a",
        ]
        .iter()
        .map(|text| {
            let error = text.parse::<Pattern>().unwrap_err();
            format!("{error} ({})", error.hint)
        })
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    /// Segments of a small alphabet, so that patterns and names often meet.
    fn name() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[ab]", 1..5)
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_or_matching_panic(text in "\\PC{0,40}", image in "\\PC{0,40}") {
            let repository = Repository { registry: image.clone(), path: image };
            if let Ok(pattern) = text.parse::<Pattern>() {
                let _ = pattern.matches(&repository);
            }
        }

        #[test]
        fn an_exact_pattern_matches_itself_alone(left in name(), right in name()) {
            let (left, right) = (left.join("/"), right.join("/"));
            let pattern = pattern(&format!("r.io/{left}"));
            prop_assert_eq!(pattern.matches(&repository(&format!("r.io/{right}"))), left == right);
        }

        #[test]
        fn patterns_that_match_the_same_name_overlap(
            left in proptest::collection::vec("(a|b|\\*|\\*\\*)", 1..5),
            right in proptest::collection::vec("(a|b|\\*|\\*\\*)", 1..5),
            image in name(),
        ) {
            let parse = |parts: &[String]| format!("r.io/{}", parts.join("/")).parse::<Pattern>();
            if let (Ok(left), Ok(right)) = (parse(&left), parse(&right)) {
                let image = repository(&format!("r.io/{}", image.join("/")));
                if left.matches(&image) && right.matches(&image) {
                    prop_assert!(left.overlaps(&right));
                    prop_assert!(right.overlaps(&left));
                }
                prop_assert_eq!(left.specificity(&right), right.specificity(&left).reverse());
            }
        }
    }
}
