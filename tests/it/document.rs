//! Bad documents at the command line. What each error says is tested beside the document's types;
//! here is the wiring: the code, the place, the caret, and a clean stdout.

use crate::harness::{Output, Sandbox};

#[test]
fn every_error_of_a_file_comes_with_its_place_and_a_caret() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "bad.yml",
        "version: 1\nname: bad\nimages:\n  web: \"127.0.0.1:5000/acme/web:v1\"\nsteps:\n  - preload: {imagez: [web]}\n  - preload: {images: [wob]}\n",
    );
    insta::assert_snapshot!(refused(&sandbox, "bad.yml").normal());
}

#[test]
fn a_key_of_a_later_version_is_refused_by_name() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "later.yml",
        "version: 1\nname: later\nclusters:\n  prod: {context: prod}\nsteps: []\n",
    );
    refused(&sandbox, "later.yml")
        .says("later.yml:3:1")
        .says("clusters");
}

#[test]
fn what_is_no_document_is_refused_in_words() {
    let sandbox = Sandbox::new();
    sandbox.write("empty.yml", "");
    sandbox.write("invalid.yml", b"version: 1\nname: \xff\xfe\xfa\n");
    let utf16: Vec<u8> = "\u{feff}version: 1\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    sandbox.write("utf16.yml", utf16);
    std::fs::create_dir(sandbox.path().join("folder.yml")).unwrap();
    for (name, word) in [
        ("empty.yml", "empty"),
        ("invalid.yml", "UTF-8"),
        ("utf16.yml", "UTF-16"),
        ("folder.yml", "folder"),
        ("missing.yml", "missing.yml"),
    ] {
        refused(&sandbox, name).says(word);
    }
}

#[test]
fn a_huge_file_is_refused_by_its_size() {
    let sandbox = Sandbox::new();
    let line = "# a comment that goes on and on and says nothing at all, sixty-four\n";
    sandbox.write("huge.yml", line.repeat(10 * 1024 * 1024 / line.len() + 1));
    let output = refused(&sandbox, "huge.yml");
    assert!(output.stderr.len() < 4096, "the file is not repeated");
}

#[test]
fn an_alias_bomb_is_refused_at_once() {
    let sandbox = Sandbox::new();
    let mut bomb = String::from("version: 1\nname: bomb\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            [previous.as_str(); 9].join(", ")
        ));
    }
    sandbox.write("bomb.yml", bomb);
    refused(&sandbox, "bomb.yml");
}

fn refused(sandbox: &Sandbox, name: &str) -> Output {
    let validated = sandbox.run(["validate", name]).expect(10);
    assert_eq!(validated.stdout, "");
    let run = sandbox.run([name]).expect(10);
    assert_eq!(run.stdout, "", "a run says it in the same place");
    assert!(run.stderr.contains(name), "{}", run.stderr);
    validated
}
