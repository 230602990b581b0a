//! AWS's shared files, `config` and `credentials`, as far as they are about keys.
//!
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

use std::collections::BTreeMap;
use std::path::Path;

use super::error::Reason;

/// The profiles of both files by name; what `credentials` says wins.
#[derive(Clone, Default)]
pub(super) struct Profiles(BTreeMap<String, BTreeMap<String, String>>);

impl Profiles {
    /// Reads the texts of both files. Lines that are no settings are passed over, as AWS's tools do.
    pub(super) fn parse(config: &str, credentials: &str) -> Self {
        let mut profiles = Self::default();
        profiles.add(config, |section| match section {
            "default" => Some("default"),
            other => other
                .strip_prefix("profile")
                .filter(|rest| rest.starts_with([' ', '\t']))
                .map(str::trim),
        });
        profiles.add(credentials, |section| Some(section));
        profiles
    }

    /// Returns a profile's setting, if it has one that is not empty.
    pub(super) fn setting(&self, profile: &str, key: &str) -> Option<&str> {
        let value = self.0.get(profile)?.get(key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Says whether one of the files has a profile of this name.
    pub(super) fn has(&self, profile: &str) -> bool {
        self.0.contains_key(profile)
    }

    fn add(&mut self, text: &str, name_of: fn(&str) -> Option<&str>) {
        let mut current: Option<String> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = trimmed.strip_prefix('[') {
                let section = rest.split(']').next().unwrap_or_default().trim();
                current = name_of(section)
                    .map(|name| name.trim_matches(['"', '\'']).to_owned())
                    .filter(|name| !name.is_empty());
                if let Some(name) = &current {
                    self.0.entry(name.clone()).or_default();
                }
                continue;
            }
            // Indented lines belong to the setting above them, and none of those is read here.
            let (Some(name), false) = (&current, line.starts_with([' ', '\t'])) else {
                continue;
            };
            if let Some((key, value)) = trimmed.split_once('=') {
                let key = key.trim().to_ascii_lowercase();
                let section = self.0.entry(name.clone()).or_default();
                section.insert(key, uncommented(value).to_owned());
            }
        }
    }
}

/// Cuts off a comment: a mark behind a blank.
fn uncommented(value: &str) -> &str {
    let marks = [" #", " ;", "\t#", "\t;"];
    let ends = marks.iter().filter_map(|mark| value.find(mark));
    value[..ends.min().unwrap_or(value.len())].trim()
}

/// Splits a command as AWS's tools do: at blanks, unless they are in quotes.
pub(super) fn words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = command.chars();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (Some('"'), '\\') => {
                let next = chars.next()?;
                let word = word.get_or_insert_default();
                if !matches!(next, '"' | '\\') {
                    word.push('\\');
                }
                word.push(next);
            }
            (Some(_), _) => word.get_or_insert_default().push(char),
            (None, '"' | '\'') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, _) if char.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    (quote.is_none() && !words.is_empty()).then_some(words)
}

/// Reads a small file.
pub(super) fn text(path: &Path) -> Result<String, Reason> {
    use std::io::Read as _;

    let failed = |detail: String| Reason::File {
        path: path.display().to_string(),
        detail,
    };
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > LARGEST_FILE => Err(failed("it is larger than 1 MiB".into())),
        Ok(_) => Ok(text),
        Err(error) => Err(failed(error.to_string())),
    }
}

const LARGEST_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_files_are_read_as_awss_tools_read_them() {
        let profiles = Profiles::parse(
            "# a comment\n\
             [default]\n\
             Region = eu-west-1 ; mine\n\
             s3 =\n  addressing_style = path\n\
             [profile prod]\n\
             role_arn = arn:aws:iam::123456789012:role/deploy\n\
             source_profile = base\n\
             [profile \"with blank\"]\n\
             credential_process = /bin/keys --for=\"a b\"\n\
             [prod]\n\
             region = never\n\
             [profilex]\n\
             region = never\n\
             [sso-session corp]\n\
             sso_region = us-east-1\n",
            "[base]\n\
             aws_access_key_id=AKIA#1\n\
             aws_secret_access_key = a/b+c=#\n\
             [default]\n\
             region = us-east-1\n\
             empty =\n",
        );
        assert_eq!(profiles.setting("default", "region"), Some("us-east-1"));
        assert_eq!(profiles.setting("default", "empty"), None);
        assert_eq!(profiles.setting("default", "addressing_style"), None);
        assert_eq!(profiles.setting("prod", "source_profile"), Some("base"));
        assert_eq!(profiles.setting("prod", "region"), None);
        assert_eq!(
            profiles.setting("base", "aws_access_key_id"),
            Some("AKIA#1")
        );
        assert_eq!(
            profiles.setting("base", "aws_secret_access_key"),
            Some("a/b+c=#")
        );
        assert!(profiles.has("with blank"));
        for other in ["profilex", "x", "corp", "sso-session corp"] {
            assert!(!profiles.has(other), "{other}");
        }
    }

    #[test]
    fn commands_are_split_at_blanks_outside_of_quotes() {
        let split = |command: &str| words(command).unwrap_or_default();
        assert_eq!(split("/bin/a  --b c"), ["/bin/a", "--b", "c"]);
        assert_eq!(
            split(r#""/opt/my tool" 'x "y"' a\ b "q\"\n" """#),
            ["/opt/my tool", "x \"y\"", "a b", "q\"\\n", ""]
        );
        for broken in ["", "  ", "\"a", "a\\", "'"] {
            assert_eq!(words(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[\\[\\] =a-c#;\"'\\n\\t\\\\]{0,80}") {
            let profiles = Profiles::parse(&text, &text);
            let _ = profiles.setting("a", "b");
            let _ = words(&text);
        }
    }
}
