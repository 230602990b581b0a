//! Loads documents as tests need them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;

use crate::pipeline::{Given, Loaded, Mode, RunNames, Source, load};

/// The variables of every test.
fn variables(name: &str) -> Option<String> {
    match name {
        "GHCR_TOKEN" => Some("ghp_0123456789".to_owned()),
        "SLACK_WEBHOOK_URL" => Some("https://hooks.slack.example/T0/B0".to_owned()),
        "SHORT" => Some("abc".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("token.txt") => Ok(b"file-token-1\n".to_vec()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    }
}

/// Loads a document with inputs as on the command line.
pub fn load_with(text: &str, inputs: &[(&str, &str)], mode: Mode) -> Loaded {
    let given = Given {
        inputs: inputs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        variables: &variables,
        read_file: &read_file,
        run: RunNames {
            id: "run-1".to_owned(),
            link: None,
        },
        playground: None,
        mode,
    };
    load(&Source::new("pipeline.yml", text), &given)
}

/// Loads a document to run it, and shows everything that was found.
pub fn findings(text: &str) -> String {
    shown(&load_with(text, &[], Mode::Run))
}

/// Shows everything that was found.
pub fn shown(loaded: &Loaded) -> String {
    let mut text = String::new();
    for diagnostic in &loaded.diagnostics {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        let _ = write!(text, "{diagnostic}");
    }
    if text.is_empty() {
        text.push_str("nothing");
    }
    text
}
