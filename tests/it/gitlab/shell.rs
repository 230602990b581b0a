//! The script of the jobs in plain shells: what becomes an argument, and that nothing becomes shell text.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::rules::{HOSTILE, scripts};
use super::template::Template;
use crate::harness::{Output, Sandbox, tool};

/// Stands in for the program: writes its arguments, each ended by a NUL.
const ECHO: &str = "#!/bin/sh\nprintf '%s\\0' \"$@\" >arguments\n";

/// Runs the script of the jobs with these variables in a shell.
fn run_script(shell: &str, variables: &[(&str, &str)]) -> (Sandbox, Output) {
    run_part("script", shell, variables)
}

fn run_part(part: &str, shell: &str, variables: &[(&str, &str)]) -> (Sandbox, Output) {
    let mut sandbox = Sandbox::new();
    let program = sandbox.write("bin/echo", ECHO);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, value) in [
        ("BINARY", "bin/echo"),
        ("CACHE", ""),
        ("FROM", ""),
        ("INPUTS", ""),
        ("LOCK", ""),
        ("PINNED", "false"),
        ("ONLY", ""),
        ("PIPELINE", "pipeline.yml"),
        ("REPORT", "report"),
        ("UNTIL", ""),
        ("VERBOSITY", "normal"),
    ]
    .iter()
    .chain(variables)
    {
        sandbox.set(&format!("SHIPGATE_INPUT_{name}"), value);
    }
    let parts = scripts(&Template::read("run"));
    let (_, script) = parts.iter().find(|(name, _)| *name == part).unwrap();
    let mut command = Command::new(shell);
    // As the runner does: any failed command ends the job.
    command.args(["-e", "-c", script]);
    let output = sandbox.start_command(command).finish();
    (sandbox, output)
}

fn arguments(sandbox: &Sandbox) -> Vec<String> {
    let written = fs::read_to_string(sandbox.path().join("arguments")).unwrap();
    written.split_terminator('\0').map(str::to_owned).collect()
}

fn for_each_shell(test: impl Fn(&str)) {
    for shell in ["sh", "bash"] {
        test(shell);
    }
}

/// The shell of small images, which knows less.
#[test]
#[ignore = "needs real peers: tests/run"]
fn busybox_understands_the_script_too() {
    let shell = Sandbox::new();
    let sh = shell.path().join("sh");
    std::os::unix::fs::symlink(fs::canonicalize(tool("busybox")).unwrap(), &sh).unwrap();
    let sh = sh.to_str().unwrap();
    everything_becomes_a_flag(sh);
    hostile_values_arrive(sh);
    a_missing_program_is_named(sh);
}

#[test]
fn only_what_was_asked_for_becomes_a_flag() {
    for_each_shell(|shell| {
        let (sandbox, output) = run_script(shell, &[]);
        output.expect(0);
        assert_eq!(
            arguments(&sandbox),
            ["run", "--report=report", "--", "pipeline.yml"]
        );
    });
}

#[test]
fn everything_that_was_asked_for_becomes_a_flag() {
    for_each_shell(everything_becomes_a_flag);
}

fn everything_becomes_a_flag(shell: &str) {
    let (sandbox, output) = run_script(
        shell,
        &[
            ("CACHE", "a cache"),
            ("FROM", "check"),
            ("INPUTS", "tag=v1.2.0\n\nnote=two words = one value\n"),
            ("LOCK", "shipgate.lock"),
            ("ONLY", "a,b"),
            ("PIPELINE", "-odd name.yml"),
            ("UNTIL", "verify"),
            ("VERBOSITY", "verbose"),
        ],
    );
    output.expect(0);
    assert_eq!(
        arguments(&sandbox),
        [
            "run",
            "--input=tag=v1.2.0",
            "--input=note=two words = one value",
            "--only=a,b",
            "--from=check",
            "--until=verify",
            "--cache=a cache",
            "--verbose",
            "--lock=shipgate.lock",
            "--report=report",
            "--",
            "-odd name.yml",
        ]
    );
}

#[test]
fn hostile_values_arrive_as_they_are() {
    for_each_shell(hostile_values_arrive);
}

fn hostile_values_arrive(shell: &str) {
    for value in HOSTILE {
        for name in [
            "CACHE", "FROM", "LOCK", "ONLY", "PIPELINE", "REPORT", "UNTIL",
        ] {
            let (sandbox, output) = run_script(shell, &[(name, value)]);
            output.expect(0);
            let found = arguments(&sandbox)
                .iter()
                .any(|a| a == value || a.ends_with(&format!("={value}")));
            assert!(
                found,
                "{shell}: {name}: {value:?} in {:?}",
                arguments(&sandbox)
            );
            assert!(
                !sandbox.path().join("owned").exists(),
                "{shell}: {name}: {value}"
            );
        }
        let (sandbox, output) = run_script(shell, &[("INPUTS", &format!("note={value}"))]);
        output.expect(0);
        let expected: Vec<_> = format!("note={value}")
            .lines()
            .map(|line| format!("--input={line}"))
            .collect();
        // `lines` also ends a line at a carriage return before the line feed; there is none here.
        let inputs: Vec<_> = arguments(&sandbox)
            .into_iter()
            .filter(|a| a.starts_with("--input="))
            .collect();
        assert_eq!(
            inputs,
            expected
                .into_iter()
                .filter(|a| a != "--input=")
                .collect::<Vec<_>>(),
            "{shell}"
        );
        assert!(!sandbox.path().join("owned").exists(), "{shell}: {value}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named_with_a_hint() {
    for_each_shell(a_missing_program_is_named);
}

fn a_missing_program_is_named(shell: &str) {
    for name in ["that-nobody-has", "bin/not-there", "$(touch owned)"] {
        let (sandbox, output) = run_script(shell, &[("BINARY", name)]);
        output
            .expect(127)
            .says(&format!("error: {name} is not here"))
            .says("hint: give the input \"image\"");
        assert!(!sandbox.path().join("owned").exists());
    }
}

#[test]
fn a_gate_without_the_lock_file_of_the_verification_is_refused() {
    for_each_shell(|shell| {
        let variables = [("LOCK", "shipgate.lock"), ("PINNED", "true")];
        let (_, output) = run_script(shell, &variables);
        output
            .expect(12)
            .says("there is no lock file shipgate.lock")
            .says("hint: ");
    });
}

#[test]
fn what_a_killed_run_left_is_finished_afterwards() {
    for_each_shell(|shell| {
        let (sandbox, output) = run_part("after_script", shell, &[]);
        output.expect(0);
        assert_eq!(arguments(&sandbox), ["finish"]);
        let hostile = "a cache; $(touch owned)";
        let (sandbox, output) = run_part("after_script", shell, &[("CACHE", hostile)]);
        output.expect(0);
        assert_eq!(
            arguments(&sandbox),
            ["finish", &format!("--cache={hostile}")]
        );
        // The job has said already that there is no such program.
        let (_, output) = run_part("after_script", shell, &[("BINARY", "that-nobody-has")]);
        assert_eq!(output.expect(0).stderr, "");
    });
}
