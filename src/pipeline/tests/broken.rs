//! Broken documents, each with everything that is found in it. A document is a file under `broken/`,
//! and what is shown for it is its snapshot.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::support::*;
use crate::pipeline::source::MAXIMUM_BYTES;
use crate::pipeline::{Diagnostic, Kind, Mode, Severity, Source};

/// Returns the broken documents by name.
pub fn documents() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/tests/broken");
    let mut documents: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    documents.sort();
    documents
}

#[test]
fn each_document_is_explained() {
    for (name, text) in documents() {
        snapshot(&name, &findings(&text));
    }
}

fn snapshot(name: &str, shown: &str) {
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        omit_expression => true,
        snapshot_path => "snapshots",
    }, {
        insta::assert_snapshot!(name, shown);
    });
}

#[test]
fn each_finding_has_a_place_a_cause_and_a_help() {
    for (name, text) in documents() {
        let loaded = load_with(&text, &[], Mode::Run);
        assert!(loaded.document.is_none(), "{name}");
        assert!(!loaded.diagnostics.is_empty(), "{name}");
        for found in loaded.diagnostics {
            assert!(
                found.cause.is_some() && found.help.is_some(),
                "{name}: {found}"
            );
            assert!(
                found.place.is_some() || found.kind == Kind::Empty,
                "{name}: {found}"
            );
            assert!(!found.message.ends_with('.'), "{name}: {found}");
        }
    }
}

/// A document that is only validated has no variables and no values, and no other faults.
#[test]
fn validating_finds_nothing_that_running_does_not() {
    for (name, text) in documents() {
        let run: BTreeSet<String> = messages(&load_with(&text, &[], Mode::Run).diagnostics);
        let validated = messages(&load_with(&text, &[], Mode::Validate).diagnostics);
        let more: Vec<_> = validated.difference(&run).collect();
        assert!(more.is_empty(), "{name}: {more:?}");
    }
}

fn messages(diagnostics: &[Diagnostic]) -> BTreeSet<String> {
    diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .map(ToString::to_string)
        .collect()
}

#[test]
fn each_kind_of_finding_is_shown_by_one_document() {
    let mut seen: BTreeSet<Kind> = documents()
        .iter()
        .flat_map(|(_, text)| load_with(text, &[], Mode::Run).diagnostics)
        .map(|found| found.kind)
        .collect();
    let inputs = [("tga", "v1"), ("tag", "1")];
    let text = "version: 1\ninputs: {tag: {pattern: v.+}}\nsteps: [check: {registry: ghcr.io}]\n";
    seen.extend(
        load_with(text, &inputs, Mode::Run)
            .diagnostics
            .iter()
            .map(|found| found.kind),
    );
    seen.extend(files().iter().map(|found| found.kind));
    let missing: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| !seen.contains(kind))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn files() -> Vec<Diagnostic> {
    let utf_16: Vec<u8> = "\u{feff}version: 1\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    vec![
        Source::from_bytes("pipeline.yml", &vec![b'a'; 10 * MAXIMUM_BYTES]).unwrap_err(),
        Source::from_bytes("pipeline.yml", &utf_16).unwrap_err(),
        Source::from_bytes("pipeline.yml", b"version: 1\nname: caf\xe9\n").unwrap_err(),
        Source::unreadable("deploy/", &io::Error::from(io::ErrorKind::IsADirectory)),
        Source::unreadable("pipelin.yml", &io::Error::from(io::ErrorKind::NotFound)),
    ]
}

#[test]
fn files_that_are_no_documents_are_refused() {
    let shown: Vec<String> = files().iter().map(ToString::to_string).collect();
    snapshot("no-documents", &shown.join("\n\n"));
}

#[test]
fn values_given_for_inputs_are_checked() {
    let text = r#"version: 1
name: "${input.tag} ${input.count} ${input.where}"
inputs:
  tag: {type: string, pattern: "v[0-9.]+"}
  count: {type: integer, default: 3}
  where: {options: [staging, production]}
steps:
  - check: {registry: ghcr.io}
"#;
    let inputs = [
        ("tag", "1.2\n"),
        ("count", "many"),
        ("where", "prodution"),
        ("tga", "v1"),
    ];
    snapshot(
        "values-of-inputs",
        &shown(&load_with(text, &inputs, Mode::Run)),
    );
}
