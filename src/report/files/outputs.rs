//! The outputs of a step in GitHub: the text that is added to the file `$GITHUB_OUTPUT`.
//!
//! A runner reads `NAME<<DELIMITER`, lines, and `DELIMITER` on a line of its own; the line break before the
//! delimiter is not a part of the value. Whoever can write the delimiter into a value can set other outputs,
//! so it is drawn anew for each.

use std::fmt::Write as _;

use super::results::Results;

/// A name and its value.
pub type Pair = (&'static str, String);

/// Returns the text that sets outputs. `random` returns a text that nobody can guess, another one each time.
#[must_use]
pub fn text(pairs: &[Pair], mut random: impl FnMut() -> String) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        let delimiter = loop {
            let delimiter = format!("shipgate-{}", random());
            if !value.contains(&delimiter) {
                break delimiter;
            }
        };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{name}<<{delimiter}\n{value}\n{delimiter}");
    }
    text
}

/// Returns the outputs of a command. `report` and `lock` are the paths of files that are there.
#[must_use]
pub fn pairs(
    command: &str,
    results: &Results,
    report: Option<String>,
    lock: Option<String>,
) -> Vec<Pair> {
    let truth = |truth: bool| truth.to_string();
    let mut pairs = vec![("status", results.status.clone())];
    if command != "validate" {
        pairs.push(("digests", results.digests_json()));
    }
    pairs.push(("report", report.unwrap_or_default()));
    if command == "run" {
        pairs.push(("lock", lock.unwrap_or_default()));
        pairs.push(("rolled-back", truth(results.rolled_back)));
        pairs.push(("cache-hit", truth(results.cache_hit)));
    }
    pairs
}
