//! The logs of GitHub and GitLab as the program prints them there, read as they read them.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use regex::Regex;

use crate::harness::{Answer, Project, Sandbox, Service, Signal, wait_for};

/// Runs `shipgate` with both outputs in pipes, as a runner does.
fn piped(sandbox: &Sandbox, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shipgate"))
        .args(arguments)
        .env_clear()
        .env("HOME", sandbox.home())
        .env("XDG_CACHE_HOME", sandbox.path().join("cache"))
        .envs(variables.iter().copied())
        .current_dir(sandbox.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The names of all workflow commands in a log, wherever the runner looks for them.
fn commands(log: &str) -> Vec<String> {
    let pattern = Regex::new(r"^\s*::([^ :]+)(?: [^:]*)?::|##\[([^\] ]+)[^\]]*\]").unwrap();
    log.split(['\n', '\r'])
        .filter_map(|line| pattern.captures(line))
        .map(|found| found.get(1).or(found.get(2)).unwrap().as_str().to_owned())
        .collect()
}

fn markers(log: &str) -> Vec<(String, String)> {
    let pattern = "section_(start|end):[0-9]+:([A-Za-z0-9_.-]+)(?:\\[[a-z=]+\\])?\r\x1b\\[0K";
    let found = Regex::new(pattern).unwrap();
    found
        .captures_iter(log)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect()
}

/// A gate on a service that answers with what it should not.
fn gate(sandbox: &Sandbox, service: &Service) {
    sandbox.write(
        "deploy/p.yml",
        format!(
            "version: 1\nname: web\nsecrets:\n  token: {{env: TOKEN}}\nsteps:\n  - id: live\n    gate:\n      within: 300ms\n      every: 50ms\n      probes:\n        page: {{http: {{url: \"{}\", status: 200, headers: {{authorization: \"Bearer ${{secret.token}}\"}}}}}}\n",
            service.url("/")
        ),
    );
}

const SECRET: &str = "hunter22%";

#[test]
fn github_gets_masks_groups_and_an_annotation_at_the_step() {
    let sandbox = Sandbox::new();
    let service = Service::constant(503, "\n::error::evil\n##[add-mask]evil\nhunter22");
    gate(&sandbox, &service);
    let root = sandbox.path().to_str().unwrap();
    let output = piped(
        &sandbox,
        &[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_WORKSPACE", root),
            ("TOKEN", SECRET),
        ],
        &["run", "deploy/p.yml"],
    );
    assert_eq!(output.status.code(), Some(50));
    let log = String::from_utf8(output.stderr).unwrap();
    let (masks, rest): (Vec<_>, Vec<_>) = log
        .lines()
        .partition(|line| line.starts_with("::add-mask::"));
    // As it is, and in base64.
    for mask in ["::add-mask::hunter22%25", "::add-mask::aHVudGVyMjIl"] {
        assert!(masks.contains(&mask), "{masks:?}");
    }
    assert!(log.starts_with("::add-mask::"), "before anything else");
    let rest = rest.join("\n");
    assert!(!rest.contains("hunter22"), "{rest}");
    assert_eq!(commands(&rest), ["group", "endgroup", "error"], "{rest}");
    assert!(
        rest.contains("::error file=deploy/p.yml,line=6,endLine=6,title=shipgate%3A live failed::"),
        "{rest}"
    );
}

#[test]
fn gitlab_gets_sections_of_their_own_in_two_calls() {
    let sandbox = Sandbox::new();
    let service = Service::constant(503, "");
    gate(&sandbox, &service);
    let variables = [("GITLAB_CI", "true"), ("TOKEN", "hunter22")];
    let mut log = String::new();
    for _ in 0..2 {
        let output = piped(&sandbox, &variables, &["run", "deploy/p.yml"]);
        log += &String::from_utf8(output.stderr).unwrap();
    }
    let found = markers(&log);
    assert_eq!(found.len(), 4, "{log:?}");
    assert!(found[0].1 == found[1].1 && found[2].1 == found[3].1 && found[0].1 != found[2].1);
    assert!(commands(&log).is_empty() && !log.contains("hunter22"));
}

#[test]
fn a_document_s_mistakes_are_annotations_of_its_file() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "deploy/p.yml",
        "version: 1\nsteps:\n  - chekc: {registry: ghcr.io}\n",
    );
    let root = sandbox.path().to_str().unwrap();
    let variables = [("GITHUB_ACTIONS", "true"), ("GITHUB_WORKSPACE", root)];
    for command in ["validate", "plan", "run"] {
        let output = piped(&sandbox, &variables, &[command, "deploy/../deploy/p.yml"]);
        assert_eq!(output.status.code(), Some(10), "{command}");
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(commands(&log), ["error"], "{log}");
        assert!(
            log.starts_with("::error file=deploy/p.yml,line=3,endLine=3,col=5,endColumn=9,title="),
            "{log}"
        );
    }
}

/// What a workflow hands on from its trigger: names of files, inputs and flags.
#[test]
fn the_command_line_commands_nobody() {
    let sandbox = Sandbox::new();
    let evil = "x\n::set-output name=a::b\n##[add-mask]a\r::stop-commands::t";
    sandbox.write("p.yml", "version: 1\ninputs:\n  tag: {pattern: v1}\nname: \"${input.tag}\"\nsteps:\n  - check: {registry: ghcr.io}\n");
    let file = format!("{evil}.yml");
    let input = format!("tag={evil}");
    let calls: [&[&str]; 8] = [
        &["run", &file],
        &["validate", &file],
        &["run", "p.yml", "--input", &input],
        &["run", "p.yml", "--input", evil],
        &["run", "p.yml", "--only", evil],
        &["pull", evil],
        &["--format", evil],
        &[evil],
    ];
    for format in ["github", "gitlab", "plain"] {
        for call in calls {
            let mut arguments = vec!["--format", format];
            arguments.extend(call);
            let variables = [("GITHUB_ACTIONS", "true"), ("CI", "true")];
            let output = piped(&sandbox, &variables, &arguments);
            assert_ne!(output.status.code(), Some(0), "{call:?}");
            for log in [output.stdout, output.stderr] {
                let log = String::from_utf8(log).unwrap();
                let mut heard = commands(&log);
                heard.retain(|name| name != "error");
                assert!(heard.is_empty(), "{call:?}: {log}");
                assert!(markers(&log).is_empty(), "{call:?}: {log:?}");
            }
        }
    }
}

#[test]
fn signals_leave_no_group_open() {
    for (variable, signal) in [
        ("GITHUB_ACTIONS", Signal::Interrupt),
        ("GITHUB_ACTIONS", Signal::Terminate),
        ("GITLAB_CI", Signal::Terminate),
    ] {
        let mut sandbox = Sandbox::new();
        let silent = Service::start(|_| Answer::Silence);
        sandbox.write(
            "p.yml",
            format!(
                "version: 1\nname: web\nsteps:\n  - id: live\n    gate: {{within: 60s, every: 50ms, probes: {{page: {{http: {{url: \"{}\", status: 200}}}}}}}}\n",
                silent.url("/")
            ),
        );
        sandbox.set(variable, "true");
        let mut running = sandbox.start(["run", "p.yml"]);
        wait_for("the silent service to be asked", || {
            (!silent.requests().is_empty()).then_some(())
        });
        running.signal(signal);
        assert!(running.ends_within(Duration::from_secs(20)));
        let log = running.finish().expect(70).stderr;
        if variable == "GITLAB_CI" {
            let found: Vec<_> = markers(&log).into_iter().map(|(word, _)| word).collect();
            assert_eq!(found, ["start", "end"], "{log:?}");
        } else {
            assert_eq!(commands(&log), ["group", "endgroup"], "{log}");
        }
        assert!(
            log.trim_end().ends_with("exit code 70 (cancelled)"),
            "{log}"
        );
    }
}

/// The file that a careless `2>` makes of a log is no place for secrets.
#[test]
fn a_log_in_a_file_has_no_masks() {
    let mut sandbox = Sandbox::new();
    let service = Service::constant(200, "");
    gate(&sandbox, &service);
    sandbox.set("GITHUB_ACTIONS", "true");
    sandbox.set("TOKEN", SECRET);
    let log = sandbox.run(["run", "deploy/p.yml"]).expect(0).stderr;
    assert!(!log.contains("hunter22"), "{log}");
    assert_eq!(commands(&log), ["group", "endgroup"], "{log}");
}

/// What `act` does with the log is what a runner does: it masks what it is told, in later steps too.
#[test]
#[ignore = "needs real peers: tests/run"]
fn act_masks_what_it_is_told_in_later_steps_too() {
    let project = Project::new();
    let service = Service::constant(503, "");
    let sandbox = Sandbox::new();
    gate(&sandbox, &service);
    let document = std::fs::read_to_string(sandbox.path().join("deploy/p.yml")).unwrap();
    project.write("deploy/p.yml", document);
    let steps = "      - id: gate
        env:
          TOKEN: hunter22%
          EVIL: '::set-output name=evil::1'
        run: |
          BINARY run deploy/p.yml || true
          cp deploy/p.yml \"$EVIL\"
          BINARY validate \"$EVIL\"
      - run: echo 'hunter22% aHVudGVyMjIl end'
";
    let job = project.start(steps, &[]).finish().expect(0);
    let log = &job.log;
    assert!(log.contains("\n*** *** end\n"), "{log}");
    assert!(log.contains("::error file=deploy/p.yml,line=6,"), "{log}");
    assert!(
        log.contains("\\u{3a}:set-output name=evil::1 is a valid pipeline"),
        "{log}"
    );
    assert_eq!(job.outputs["evil"], serde_json::Value::Null);
    assert_eq!(job.output("status"), "done", "the last command's");
}
