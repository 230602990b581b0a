//! Text of others in files for machines and pages for people: it stays text, and holds no secret.
//!
//! Secrets go first: a secret that was cut or escaped is no longer found by a mask. Then everything is escaped that
//! could leave its line or steer a log ([`words::escaped`]), and last what the format itself reads.

use crate::failure::Failure;
use crate::report::{Mask, words};

/// The most characters of one text on a page. Longer ones are whole in `report.json`.
const SHOWN: usize = 400;
/// The most lines of a block on a page.
const LINES: usize = 60;

/// Quotes text of others.
#[derive(Clone, Copy)]
pub struct Quote<'a> {
    mask: &'a dyn Mask,
}

impl<'a> Quote<'a> {
    /// Makes a quote that masks.
    #[must_use]
    pub fn new(mask: &'a dyn Mask) -> Self {
        Self { mask }
    }

    /// Returns a text on one line.
    #[must_use]
    pub fn line(self, text: &str) -> String {
        words::escaped(&self.mask.mask(text))
    }

    /// Returns a text on one line for XML 1.0, which has no place for some characters even if escaped.
    ///
    /// GitLab takes `[[ATTACHMENT|path]]` in a test's output for a link to an artifact.
    #[must_use]
    pub fn xml(self, text: &str) -> String {
        self.line(text)
            .replace('\u{fffe}', "\\u{fffe}")
            .replace('\u{ffff}', "\\u{ffff}")
            .replace("[[ATTACHMENT|", "[[ATTACHMENT\\u{7c}")
    }

    /// Returns a text as a code span of Markdown, for use anywhere in a line, in a table too.
    ///
    /// Nothing is read inside a code span: no link, no mention, no emphasis, no HTML. Its end is a run of backticks
    /// as long as its begin, so that is made longer than any inside. Only a table looks into it, for `|`.
    #[must_use]
    pub fn code(self, text: &str) -> String {
        let text = self.short(text).replace('|', "\\u{7c}");
        if text.trim().is_empty() {
            return "(empty)".to_owned();
        }
        let fence = "`".repeat(longest_run(&text) + 1);
        let edges = [text.chars().next(), text.chars().last()];
        let pad = if edges.iter().any(|edge| matches!(edge, Some('`' | ' '))) {
            " "
        } else {
            ""
        };
        format!("{fence}{pad}{text}{pad}{fence}")
    }

    /// Returns lines as a block of code of Markdown, the first ones if there are many.
    #[must_use]
    pub fn block<'t>(self, lines: impl IntoIterator<Item = &'t str>) -> String {
        self.fenced(lines, LINES)
    }

    /// Returns lines as a block of code of Markdown, however many they are: nothing bounds it but the page.
    #[must_use]
    pub fn whole_block<'t>(self, lines: impl IntoIterator<Item = &'t str>) -> String {
        self.fenced(lines, usize::MAX)
    }

    /// A page may be printed into a log, where a line that begins with `::` is a command.
    fn fenced<'t>(self, lines: impl IntoIterator<Item = &'t str>, most: usize) -> String {
        let mut lines = lines.into_iter().map(|line| {
            let line = self.short(line);
            let indent = line.len() - line.trim_start().len();
            match line[indent..].strip_prefix("::") {
                Some(rest) => format!("{}\\u{{3a}}:{rest}", &line[..indent]),
                None => line,
            }
        });
        let mut shown: Vec<String> = lines.by_ref().take(most).collect();
        let left = lines.count() as u64;
        if left > 0 {
            shown.push(format!(
                "... ({} more)",
                words::count(left, "line", "lines")
            ));
        }
        let longest = shown.iter().map(|line| longest_run(line)).max();
        let fence = "`".repeat(longest.unwrap_or(0).max(2) + 1);
        format!("{fence}text\n{}\n{fence}\n", shown.join("\n"))
    }

    /// Returns a failure in full as a block of code.
    #[must_use]
    pub fn failure(self, failure: &Failure) -> String {
        let lines = said(failure);
        self.block(lines.iter().map(String::as_str))
    }

    fn short(self, text: &str) -> String {
        let masked = self.mask.mask(text);
        let Some((end, _)) = masked.char_indices().nth(SHOWN) else {
            return words::escaped(&masked);
        };
        let left = masked[end..].chars().count() as u64;
        let left = words::count(left, "character", "characters");
        format!("{}... ({left} more)", words::escaped(&masked[..end]))
    }
}

/// Returns a failure in lines: what failed, why, the facts, what helps. Nothing is masked or escaped yet.
#[must_use]
pub fn said(failure: &Failure) -> Vec<String> {
    let mut lines = vec![failure.message.clone()];
    let causes = failure.causes.iter();
    let causes = causes.filter(|cause| **cause != failure.message);
    lines.extend(causes.map(|cause| format!("cause: {cause}")));
    let facts = failure.facts.iter();
    lines.extend(facts.map(|fact| format!("{}: {}", fact.name, fact.value)));
    let hint = failure.hint.iter().flat_map(|hint| hint.lines());
    lines.extend(hint.enumerate().map(|(number, line)| match number {
        0 => format!("hint: {line}"),
        _ => format!("    | {line}"),
    }));
    lines
}

/// Returns the length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`')
        .map(str::len)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::NoMask;
    use crate::report::mask::tests::Word;

    #[test]
    fn a_code_span_can_be_left_by_nothing() {
        let quote = Quote::new(&NoMask);
        for (text, span) in [
            ("web", "`web`"),
            ("a|b", "`a\\u{7c}b`"),
            ("a\\|b", "`a\\\\u{7c}b`"),
            ("`x", "`` `x ``"),
            ("a``b", "```a``b```"),
            (" x", "`  x `"),
            ("\n@you <b>", "`\\n@you <b>`"),
            ("", "(empty)"),
        ] {
            assert_eq!(quote.code(text), span);
        }
        assert_eq!(Quote::new(&Word("hunter2")).code("hunter2!"), "`***!`");
    }

    #[test]
    fn a_block_can_be_left_by_nothing_and_commands_no_log() {
        let block = Quote::new(&NoMask).block(["::error::x", "  ::add-mask::y", "````", "a::b"]);
        insta::assert_snapshot!(block, @r"
        `````text
        \u{3a}:error::x
          \u{3a}:add-mask::y
        ````
        a::b
        `````
        ");
        let many: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let block = Quote::new(&NoMask).block(many.iter().map(String::as_str));
        assert!(block.ends_with("59\n... (40 lines more)\n```\n"), "{block}");
    }

    #[test]
    fn xml_has_no_place_for_noncharacters() {
        let quote = Quote::new(&NoMask);
        assert_eq!(quote.xml("a\u{ffff}\0"), "a\\u{ffff}\\u{0}");
        assert_eq!(
            quote.xml("[[ATTACHMENT|/etc]]"),
            "[[ATTACHMENT\\u{7c}/etc]]"
        );
    }
}
