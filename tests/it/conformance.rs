//! The quirks of `tests/conformance`, each against the program as a user calls it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness as fault;
use crate::harness::Sandbox;

#[path = "../conformance/quirk.rs"]
mod quirk;

use self::quirk::{LOGIN, Quirk, REGISTRY, files};

#[test]
fn every_quirk_is_met_as_a_sound_client_does() {
    let files = files();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    // Most of their time is spent waiting.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let quirk = Quirk::read(path);
                    let name = quirk.name.clone();
                    for failure in meet(quirk) {
                        failures.lock().unwrap().push(format!("{name}: {failure}"));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn each_quirk_says_what_it_is_and_where_it_was_seen() {
    let files = files();
    assert!(files.len() >= 40, "{} quirks", files.len());
    for path in files {
        let quirk = Quirk::read(&path);
        let (name, file) = (&quirk.name, &quirk.file);
        for key in ["title", "sound"] {
            assert!(
                file[key].as_str().is_some_and(|text| text.len() > 10),
                "{name}: {key}"
            );
        }
        let seen = file["seen"].as_array().filter(|seen| !seen.is_empty());
        for seen in seen.unwrap_or_else(|| panic!("{name}: seen nowhere")) {
            assert!(
                seen["who"].is_string() && seen["source"].is_string(),
                "{name}"
            );
        }
        let outcome = file["expect"]["outcome"].as_str();
        assert!(
            matches!(outcome, Some("whole" | "refused")),
            "{name}: {outcome:?}"
        );
        let known = [
            "title",
            "seen",
            "sound",
            "client",
            "blobs",
            "manifests",
            "pad-to",
            "absent",
            "copies-at",
            "tokens-at",
            "tokens-good-for",
            "without-digest",
            "without-type",
            "answers",
            "faults",
            "expect",
            "shipgate",
        ];
        for key in file.as_object().unwrap().keys() {
            assert!(
                known.contains(&key.as_str()),
                "{name}: the key {key} has no effect"
            );
        }
        if outcome == Some("refused") {
            let words = file["shipgate"]["says"].as_array();
            assert!(
                words.is_some_and(|words| !words.is_empty()),
                "{name}: says nothing"
            );
        }
    }
}

/// Pulls, and returns what was not as it should be.
fn meet(quirk: Quirk) -> Vec<String> {
    let served = quirk.serve();
    let quirk = served.quirk();
    let mut sandbox = Sandbox::new();
    sandbox.set("HTTP_PROXY", &format!("http://{}", served.proxy.address()));
    if quirk.has_login() {
        let (user, password) = LOGIN;
        sandbox.docker_login(REGISTRY, user, password);
    }
    let reference = quirk.reference();
    let mut arguments = vec!["pull", "--plain-http", &reference];
    if let Some(platform) = quirk.file["client"]["platform"].as_str() {
        arguments.extend(["--platform", platform]);
    }
    let output = sandbox.run(arguments);
    let mut found = served.faults_of_the_client();
    // Where shipgate does less than a sound client does, its file says so.
    let own = &quirk.file["shipgate"]["outcome"];
    let is_refused = *own == "refused" || quirk.file["expect"]["outcome"] == "refused";
    let exit = quirk.file["shipgate"]["exit"].as_i64();
    let expected = exit.unwrap_or(if is_refused { 20 } else { 0 });
    if output.status.code().map(i64::from) != Some(expected) {
        found.push(format!(
            "exit code {:?}, not {expected}: {}",
            output.status.code(),
            output.stderr
        ));
    }
    for words in quirk.file["shipgate"]["says"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let words = quirk.filled(words.as_str().unwrap());
        if !output.stderr.contains(&words) {
            found.push(format!("it does not say `{words}`: {}", output.stderr));
        }
    }
    let (_, password) = LOGIN;
    if output.stderr.contains(password) {
        found.push("it shows the password".to_owned());
    }
    if !is_refused {
        for (digest, bytes) in quirk.wanted() {
            let path = sandbox.cache().join("blobs").join(digest.replace(':', "/"));
            match std::fs::read(&path) {
                Ok(read) if read == bytes => {}
                Ok(_) => found.push(format!("{digest} is not what it should be")),
                Err(error) => found.push(format!("{digest}: {error}")),
            }
        }
    }
    if !found.is_empty() {
        let lines = served.proxy.exchanges();
        let lines: Vec<_> = lines
            .iter()
            .map(|it| format!("    {} -> {:?}", it.line(), it.status))
            .collect();
        found.push(format!("it asked\n{}", lines.join("\n")));
    }
    found
}
