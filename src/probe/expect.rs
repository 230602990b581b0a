//! What an HTTP probe expects of status and body.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use http::StatusCode;
use regex::Regex;

use super::phrase::excerpt;

/// The statuses that count as good: `200`, `2xx`, `200-399`, and lists of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Reads a list of statuses, classes and ranges.
    ///
    /// # Errors
    /// The first entry that is none, or an empty list.
    pub fn try_new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidStatus> {
        let ranges: Vec<_> = entries.into_iter().map(range).collect::<Result<_, _>>()?;
        if ranges.is_empty() {
            return Err(InvalidStatus {
                found: String::new(),
            });
        }
        Ok(Self(ranges))
    }

    /// Says whether a status is one of them.
    #[must_use]
    pub fn contain(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

/// Any `2xx`.
impl Default for Statuses {
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl FromStr for Statuses {
    type Err = InvalidStatus;

    fn from_str(text: &str) -> Result<Self, InvalidStatus> {
        Self::try_new([text])
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            let (from, to) = (range.start(), range.end());
            match (from == to, from % 100 == 0 && *to == from + 99) {
                (true, _) => write!(f, "{from}")?,
                (_, true) => write!(f, "{}xx", from / 100)?,
                _ => write!(f, "{from}-{to}")?,
            }
        }
        Ok(())
    }
}

/// A refusal to take a text for a status.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{found}` is no status: expected a number from 100 to 599, a class such as 2xx, or a range such as 200-399"
)]
pub struct InvalidStatus {
    /// What was found.
    pub found: String,
}

/// What must be in a body; a part that is left out asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct BodyTest {
    /// Text that must be in it somewhere.
    pub contains: Option<String>,
    /// A regular expression that must match somewhere in it; anchor it for more.
    pub matches: Option<Regex>,
}

impl BodyTest {
    /// Says whether nothing is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.contains.is_none() && self.matches.is_none()
    }

    /// Returns what is missing in the body, in one phrase without the body itself.
    pub(super) fn missing(&self, body: &str) -> Option<String> {
        if let Some(wanted) = self
            .contains
            .as_ref()
            .filter(|wanted| !body.contains(*wanted))
        {
            return Some(format!("body lacks {}", excerpt(wanted)));
        }
        let wanted = self
            .matches
            .as_ref()
            .filter(|wanted| !wanted.is_match(body))?;
        Some(format!("body does not match {}", excerpt(wanted.as_str())))
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, InvalidStatus> {
    let invalid = || InvalidStatus {
        found: text.chars().take(32).collect(),
    };
    let number = |digits: &str| {
        let three = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = three.then(|| digits.parse::<u16>().ok()).flatten();
        number
            .filter(|number| (100..=599).contains(number))
            .ok_or_else(invalid)
    };
    let text = text.trim();
    if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        let from = number(&format!("{class}00"))?;
        return Ok(from..=from + 99);
    }
    let range = match text.split_once('-') {
        Some((from, to)) => number(from.trim())?..=number(to.trim())?,
        None => number(text)?..=number(text)?,
    };
    if range.is_empty() {
        Err(invalid())
    } else {
        Ok(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn statuses_classes_ranges_and_lists() {
        for (entries, shown, inside, outside) in [
            (&["200"][..], "200", &[200][..], &[201, 503][..]),
            (&["2xx"], "2xx", &[200, 299], &[199, 300]),
            (&["2XX"], "2xx", &[204], &[404]),
            (&["200-399"], "200-399", &[200, 302, 399], &[400]),
            (
                &["200 - 204", "404"],
                "200-204 or 404",
                &[201, 404],
                &[205, 403],
            ),
        ] {
            let statuses = Statuses::try_new(entries.iter().copied()).unwrap();
            assert_eq!(statuses.to_string(), shown);
            assert!(inside.iter().all(|code| statuses.contain(status(*code))));
            assert!(!outside.iter().any(|code| statuses.contain(status(*code))));
        }
        assert_eq!(Statuses::default().to_string(), "2xx");
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for text in [
            "", "20", "2000", "099", "600", "xx", "6xx", "2x", "399-200", "200-", "-", "+20",
            "٢٠٠", "200,204",
        ] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
        assert!(Statuses::try_new([]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
            if let Ok(statuses) = text.parse::<Statuses>() {
                let again: Statuses = statuses.to_string().parse().unwrap();
                proptest::prop_assert_eq!(again, statuses);
            }
        }
    }

    #[test]
    fn the_first_thing_that_is_missing_is_said() {
        let test = BodyTest {
            contains: Some("ready".to_owned()),
            matches: Some(Regex::new("v[0-9]+").unwrap()),
        };
        assert_eq!(test.missing("ready v2"), None);
        assert_eq!(test.missing("v2").unwrap(), "body lacks \"ready\"");
        assert_eq!(
            test.missing("ready").unwrap(),
            "body does not match \"v[0-9]+\""
        );
        assert!(BodyTest::default().is_empty() && !test.is_empty());
    }
}
