//! Durations and sizes, which have units.

use std::fmt;
use std::time::Duration;

use schemars::{Schema, json_schema};

use super::convert::{FromScalar, Problem};

/// The units of durations, the longest first, with their milliseconds.
pub(super) const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
/// The units of sizes, with their bytes.
pub(super) const SIZES: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];
/// The longest duration: no step waits a year.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl FromScalar for Duration {
    const WHAT: &'static str = "a duration";
    const EXAMPLE: &'static str = "30s";

    fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |cause: &str| Problem::new(cause.to_owned());
        let mut rest = text;
        let mut milliseconds = 0u64;
        let mut largest = usize::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail
                .find(|character: char| !character.is_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            if number.is_empty() {
                let help = if text.contains('.') {
                    "write whole numbers, for instance `1h30m` for `1.5h`"
                } else {
                    "write numbers with units and nothing between, for instance `1h30m`"
                };
                return Err(
                    refuse("a duration is one or more whole numbers, each with a unit")
                        .helped(help),
                );
            }
            if unit.is_empty() {
                return Err(unitless(text, tail));
            }
            let Some(rank) = UNITS.iter().position(|(name, _)| *name == unit) else {
                let known = UNITS.iter().map(|(name, _)| *name);
                let meant = match unit.to_lowercase().as_str() {
                    "min" | "mins" | "minute" | "minutes" => Some("m".to_owned()),
                    "sec" | "secs" | "second" | "seconds" => Some("s".to_owned()),
                    "hr" | "hrs" | "hour" | "hours" => Some("h".to_owned()),
                    "day" | "days" => Some("d".to_owned()),
                    "millis" | "msec" | "msecs" | "milliseconds" => Some("ms".to_owned()),
                    other => known.clone().find(|name| *name == other).map(str::to_owned),
                };
                let suggestion = meant.map(|unit| format!("{number}{unit}"));
                return Err(Problem {
                    suggestion,
                    ..refuse(&format!(
                        "there is no unit `{unit}`; units are `ms`, `s`, `m`, `h` and `d`"
                    ))
                });
            };
            if largest != usize::MAX && rank <= largest {
                return Err(refuse(
                    "units go from the longest to the shortest, each once",
                ));
            }
            largest = rank;
            milliseconds = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(UNITS[rank].1))
                .and_then(|part| milliseconds.checked_add(part))
                .ok_or_else(|| refuse("it is longer than a year"))?;
            rest = tail;
        }
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        let duration = Self::from_millis(milliseconds);
        if duration > LONGEST {
            return Err(refuse("it is longer than a year"));
        }
        Ok(duration)
    }

    fn stand_in() -> Self {
        Self::from_secs(1)
    }

    fn scalar_schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]+(ms|s|m|h|d))+$",
            "examples": ["30s", "1h30m", "250ms"]
        })
    }
}

/// Says what is wrong with a number that no unit follows; `tail` is what follows instead.
fn unitless(text: &str, tail: &str) -> Problem {
    if tail.starts_with(['.', ',']) {
        return Problem::new("a duration is made of whole numbers")
            .helped("take a smaller unit, for instance `1500ms` for `1.5s` or `1h30m` for `1.5h`");
    }
    if tail.trim_start().starts_with(char::is_alphabetic) {
        return Problem::new("a space stands between the number and its unit")
            .helped("leave the space out, for instance `5m`");
    }
    let problem = Problem::new("the number has no unit; units are `ms`, `s`, `m`, `h` and `d`");
    if tail.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return problem.helped(format!(
            "write `{text}s` for seconds or `{text}m` for minutes"
        ));
    }
    problem
}

/// Writes a duration as documents do: `1h30m`, `250ms`.
pub fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, milliseconds) in UNITS {
        let number = rest / milliseconds;
        rest %= milliseconds;
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Size(pub u64);

impl FromScalar for Size {
    const WHAT: &'static str = "a size";
    const EXAMPLE: &'static str = "64KiB";

    fn parse(text: &str) -> Result<Self, Problem> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let units = "units are `B`, `KiB`, `MiB` and `GiB`";
        if number.is_empty() {
            return Err(Problem::new(format!(
                "a size is a whole number with a unit; {units}"
            )));
        }
        let Some((_, bytes)) = SIZES.iter().find(|(name, _)| *name == unit) else {
            if unit.is_empty() {
                return Err(Problem::new(format!("the number has no unit; {units}"))
                    .helped(format!("write `{text}B` for bytes or `{text}MiB`")));
            }
            let meant = match unit.trim().to_lowercase().as_str() {
                "b" | "byte" | "bytes" => Some("B"),
                "k" | "kb" | "ki" | "kib" => Some("KiB"),
                "m" | "mb" | "mi" | "mib" => Some("MiB"),
                "g" | "gb" | "gi" | "gib" => Some("GiB"),
                _ => None,
            };
            return Err(Problem {
                suggestion: meant.map(|unit| format!("{number}{unit}")),
                ..Problem::new(format!("there is no unit `{}`; {units}", unit.trim()))
            });
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*bytes))
            .map(Self)
            .ok_or_else(|| Problem::new("it is larger than any file"))
    }

    fn stand_in() -> Self {
        Self(1 << 10)
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "examples": ["64KiB"]})
    }
}

impl fmt::Display for Size {
    /// Writes the size with the largest unit that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, bytes) = SIZES
            .iter()
            .rev()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes))
            .unwrap_or(&SIZES[0]);
        write!(f, "{}{unit}", self.0 / bytes)
    }
}
