//! Test helpers: logs as the systems that show them read them, written from what their sources do.

use proptest::prelude::*;

/// A workflow command as GitHub's runner understands it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) data: String,
}

impl Command {
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Everything that the runner registers, and words that a `stop-commands` may have registered.
///
/// Commands of any other name are no commands to it; here they are, so that no test is luckier than a runner.
pub(crate) fn commands(log: &str) -> Vec<Command> {
    // .NET's line reader ends a line at CR, LF and CRLF.
    log.split(['\r', '\n'])
        .filter_map(|line| second_form(line).or_else(|| first_form(line)))
        .collect()
}

/// `::name key=value,key=value::data`, behind white space that is trimmed.
fn second_form(line: &str) -> Option<Command> {
    let rest = line.trim_start().strip_prefix("::")?;
    let (head, data) = rest.split_once("::")?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let properties = properties.trim().split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (!key.is_empty() && !value.is_empty())
            .then(|| (key.to_owned(), unescaped(value, &["0D", "0A", "3A", "2C"])))
    });
    Some(Command {
        name: name.to_owned(),
        properties: properties.collect(),
        data: unescaped(data, &["0D", "0A"]),
    })
}

/// `##[name key=value;key=value]data`, anywhere in a line.
fn first_form(line: &str) -> Option<Command> {
    let (_, rest) = line.split_once("##[")?;
    let (head, data) = rest.split_once(']')?;
    let name = head.split(' ').next().unwrap_or(head);
    Some(Command {
        name: name.to_owned(),
        properties: Vec::new(),
        data: unescaped(data, &["3B", "0D", "0A", "5D"]),
    })
}

fn unescaped(text: &str, codes: &[&str]) -> String {
    let mut text = text.to_owned();
    for code in codes {
        let byte = u8::from_str_radix(code, 16).unwrap();
        text = text.replace(&format!("%{code}"), &char::from(byte).to_string());
    }
    text.replace("%25", "%")
}

/// Returns GitLab's section markers: whether each begins a section, its time and its name.
pub(crate) fn sections(log: &str) -> Vec<(bool, i64, String)> {
    let mut found = Vec::new();
    for (word, begins) in [("section_start:", true), ("section_end:", false)] {
        for (at, _) in log.match_indices(word) {
            let rest = &log[at + word.len()..];
            let Some((time, rest)) = rest.split_once(':') else {
                continue;
            };
            let end = rest.find(|character: char| {
                !character.is_ascii_alphanumeric() && !"_.-".contains(character)
            });
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let rest = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((_, rest)) => rest,
                None => rest,
            };
            if let Ok(time) = time.parse()
                && !name.is_empty()
                && rest.starts_with("\r\x1b[0K")
            {
                found.push((at, (begins, time, name.to_owned())));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, marker)| marker).collect()
}

/// Text that tries to be a command.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[ -~]{0,6}",
        prop::sample::select(vec![
            "::",
            ":",
            "#",
            "##",
            "##[",
            "[",
            "]",
            "vso[",
            "error",
            "::error::x",
            "::error file=a,line=1::",
            "::set-output name=a::b",
            "::add-mask::",
            "::stop-commands::t",
            "::group::",
            "::endgroup::",
            "##[command]",
            "##[add-mask]a",
            "%0A",
            "%0D",
            "%25",
            "%253A",
            "\n",
            "\r",
            "\r\n",
            "\t",
            " ",
            "\u{a0}",
            "\u{3000}",
            "\u{85}",
            "\u{2028}",
            "\u{ad}",
            "\u{feff}",
            "\u{1b}",
            "\u{1b}[0K",
            "\u{1b}[1m",
            "\u{9b}",
            "section_start:1:a\r\u{1b}[0K",
            "section_end:1:a\r\u{1b}[0K",
            "section_",
            "start:",
            "1:a",
            ",",
            "=",
            "%",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_runner_reads() {
        let log =
            "x ::error::no\n \t::error file=a%2Cb,line=3::100%25%0Ax\ry ##[group]z;%5D\n::warning";
        let found = commands(log);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].name, "error");
        assert_eq!(found[0].property("file"), Some("a,b"));
        assert_eq!(found[0].property("line"), Some("3"));
        assert_eq!(found[0].data, "100%\nx");
        assert_eq!(
            (found[1].name.as_str(), found[1].data.as_str()),
            ("group", "z;]")
        );
    }

    #[test]
    fn reads_what_gitlab_reads() {
        let log = "a\x1b[0Ksection_start:7:a.b[collapsed=true]\r\x1b[0KHead\nsection_end:8:a.b\r\x1b[0K\nsection_end:9:c\n";
        let expected = [(true, 7, "a.b".to_owned()), (false, 8, "a.b".to_owned())];
        assert_eq!(sections(log), expected);
    }
}
