//! The scripts as the runner starts them: what reaches shipgate, what is refused, who gets signals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Answer, Output, Runner, Sandbox, Service, Signal, wait_for};

/// Answers for shipgate where only its arguments matter: writes them down, a NUL after each.
const RECORDER: &str = r#"#!/bin/sh
if [ "$*" = --version ]; then echo "shipgate VERSION"; exit; fi
printf '%s\0' "$@" >>"${0%/*}/arguments"
env | grep -E '^(WITH|SHIPGATE)_' >>"${0%/*}/leaked"
exit 0
"#;

/// Values that break out of a script that is written carelessly.
const HOSTILE: [&str; 12] = [
    "it's \"quoted\"",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned; #",
    "${IFS}$HOME",
    "::set-output name=status::done",
    "::stop-commands::x",
    "%0A::error::injected",
    "*",
    " two  blanks ",
    "back\\slash\\n",
    "ünïcödé\t🚀",
];

#[test]
fn values_arrive_as_they_are() {
    for value in HOSTILE {
        let (sandbox, arguments) = recorded(&[
            ("inputs", &format!("a={value}\nb=--report=/\n")),
            ("only", value),
            ("lock", value),
            ("cache", value),
            ("report-dir", value),
            ("pipeline", value),
        ]);
        assert_eq!(
            arguments,
            [
                "run".to_owned(),
                "--color=auto".into(),
                format!("--cache={value}"),
                format!("--lock={value}"),
                format!("--only={value}"),
                format!("--input=a={value}"),
                "--input=b=--report=/".into(),
                format!("--report={value}"),
                value.into(),
            ]
        );
        assert!(!sandbox.path().join("pwned").exists(), "{value}");
    }
}

#[test]
fn a_value_that_begins_with_a_dash_is_no_flag() {
    let (_, arguments) = recorded(&[
        ("from", "--until=x"),
        ("until", "-q"),
        ("pipeline", "--help"),
        ("report-dir", "-"),
        ("color", "never"),
        ("log-level", "verbose"),
    ]);
    assert_eq!(
        arguments,
        [
            "run",
            "--color=never",
            "--verbose",
            "--from=--until=x",
            "--until=-q",
            "--report=-",
            "./--help"
        ]
    );
}

#[test]
fn line_breaks_in_a_value_make_no_commands_and_no_flags() {
    let (sandbox, arguments) = recorded(&[
        ("lock", "a\n::error::b\n--quiet"),
        ("from", "x\ny"),
        ("report-dir", "r"),
    ]);
    assert_eq!(
        arguments,
        [
            "run",
            "--color=auto",
            "--from=x\ny",
            "--lock=a\n::error::b\n--quiet",
            "--report=r",
            "pipeline.yml"
        ]
    );
    let said = Runner::new(&sandbox)
        .with(
            "sandbox",
            "maybe\n::set-output name=path::/bin/sh\r\n::warning::x",
        )
        .step("binary")
        .finish()
        .expect(2)
        .stdout;
    let commands: Vec<&str> = said.lines().filter(|line| line.starts_with("::")).collect();
    assert_eq!(
        commands,
        [
            "::error title=shipgate::the input `sandbox` is `maybe%0A::set-output name=path::/bin/sh%0D%0A::warning::x`; it can be: true false"
        ]
    );
}

#[test]
fn inputs_are_one_a_line() {
    let block =
        "tag=v1\r\n\n  # a comment\n\t name = with blanks \nempty=\nurl=https://x/?a=b=c#d\nlast=1";
    let (_, arguments) = recorded(&[("inputs", block), ("report-dir", "r")]);
    assert_eq!(
        arguments[2..7],
        [
            "--input=tag=v1",
            "--input=name = with blanks ",
            "--input=empty=",
            "--input=url=https://x/?a=b=c#d",
            "--input=last=1"
        ]
    );
}

#[test]
fn a_line_without_a_name_is_refused_and_not_shown() {
    let sandbox = Sandbox::new();
    let runner = Runner::new(&sandbox).with("inputs", "tag=v1\nSECRET-LINE");
    let output = runner.run().expect(2);
    assert!(output.stdout.contains("line 2 of the input `inputs`"));
    assert!(!(output.stdout + &output.stderr).contains("SECRET-LINE"));
    assert_eq!(runner.output("status"), "usage");
}

#[test]
fn nothing_of_the_action_is_left_in_the_environment() {
    let (sandbox, _) = recorded(&[("inputs", "a=b")]);
    assert_eq!(
        fs::read_to_string(sandbox.path().join("leaked")).unwrap(),
        ""
    );
}

#[test]
fn functions_of_the_environment_are_not_taken_over() {
    let sandbox = Sandbox::new();
    let mut runner = recorder(&sandbox);
    for function in ["printf", "cd", "mktemp", "unset", "shift"] {
        runner = runner.env(
            &format!("BASH_FUNC_{function}%%"),
            &format!("() {{ echo {function} >>pwned; }}"),
        );
    }
    runner.run().expect(0);
    assert!(!sandbox.path().join("pwned").exists());
}

#[test]
fn text_of_several_lines_is_the_pipeline_itself() {
    let sandbox = Sandbox::new();
    let text = "version: 1\nname: inline\nsteps:\n  - prelaod: {images: []}";
    let runner = Runner::new(&sandbox).with("pipeline", text);
    let output = runner.run().expect(10);
    let folder = entries(&runner, "shipgate-inline.");
    let file = folder[0].join("pipeline.yml");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{text}\n"));
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&folder[0]), 0o700);
    output.says(&format!("{}:4:5", file.display()));

    // A path in a block is a path.
    sandbox.write(
        "one.yml",
        "version: 1\nname: one\nsteps:\n  - check: {registry: localhost}\n",
    );
    Runner::new(&sandbox)
        .with("pipeline", "one.yml\n\n")
        .with("command", "validate")
        .run()
        .expect(0)
        .says("one.yml is a valid pipeline");
}

#[test]
fn paths_are_relative_to_the_working_directory() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "-odd dir/p.yml",
        "version: 1\nname: there\nsteps:\n  - check: {registry: localhost}\n",
    );
    let validated = |folder: &str| {
        Runner::new(&sandbox)
            .with("command", "validate")
            .with("working-directory", folder)
            .with("pipeline", "p.yml")
            .run()
    };
    validated("-odd dir").expect(0);
    let output = validated("no such").expect(2);
    assert!(
        output.stdout.contains("`no such`, which is no folder"),
        "{}",
        output.stdout
    );
    // The folder before.
    validated("-").expect(2);
}

#[test]
fn each_word_that_is_none_is_refused_with_those_that_are() {
    for (input, words) in [
        ("command", "run plan validate finish"),
        ("sandbox", "true false"),
        ("summary", "true false"),
        ("color", "auto always never"),
        ("log-level", "quiet normal verbose"),
    ] {
        let sandbox = Sandbox::new();
        let runner = Runner::new(&sandbox).with(input, "TRUE");
        let output = runner.run().expect(2);
        let expected = format!("the input `{input}` is `TRUE`; it can be: {words}");
        assert!(output.stdout.contains(&expected), "{}", output.stdout);
        assert_eq!(runner.output("status"), "usage");
    }
}

#[test]
fn another_version_than_this_revision_is_is_refused() {
    let sandbox = Sandbox::new();
    let refused = |runner: Runner<'_>, words: [&str; 2]| {
        let output = runner.step("binary").finish().expect(2);
        for word in words {
            assert!(output.stdout.contains(word), "{}", output.stdout);
        }
        assert_eq!(runner.output("status"), "usage");
    };
    let own = env!("CARGO_PKG_VERSION");
    refused(
        Runner::new(&sandbox).with("version", "9.9.9"),
        ["9.9.9", own],
    );
    refused(
        Runner::new(&sandbox).with("version", "v9.9.9"),
        ["v9.9.9", own],
    );
    for same in [own.to_owned(), format!("v{own}")] {
        Runner::new(&sandbox)
            .with("version", &same)
            .step("binary")
            .finish()
            .expect(0);
    }
    let other = program(&sandbox, "other", "#!/bin/sh\necho shipgate 9.9.9\n");
    refused(Runner::new(&sandbox).with("binary", &other), ["9.9.9", own]);
    refused(
        Runner::new(&sandbox).with("binary", "/bin/false"),
        ["/bin/false --version", "shipgate"],
    );
    refused(
        Runner::new(&sandbox).with("binary", "./no-such"),
        ["no-such", "`binary`"],
    );
    refused(
        Runner::new(&sandbox).with("binary", "/bin"),
        ["/bin", "`binary`"],
    );
    refused(
        Runner::new(&sandbox).with("binary", "no-such"),
        ["PATH", "no-such"],
    );
    refused(
        Runner::new(&sandbox).with("binary", "./a\npath=/bin/sh"),
        ["more than one line", "%0Apath="],
    );
}

#[test]
fn without_cargo_and_without_a_binary_it_says_what_to_do() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path().join("bin")).unwrap();
    std::os::unix::fs::symlink("/bin/bash", sandbox.path().join("bin/bash")).unwrap();
    let path = sandbox.path().join("bin");
    let runner = Runner::new(&sandbox)
        .with("binary", "")
        .env("PATH", path.to_str().unwrap());
    let output = runner.step("binary").finish().expect(1);
    for word in [
        "cargo is not on this runner's PATH",
        "https://rustup.rs",
        "`binary`",
    ] {
        assert!(output.stdout.contains(word), "{}", output.stdout);
    }
    assert_eq!(runner.output("status"), "unexpected");
}

#[test]
fn the_build_is_of_this_revision_and_sees_no_secrets() {
    let sandbox = Sandbox::new();
    let runner = Runner::new(&sandbox);
    let target = runner.temporary().join("shipgate-build");
    // Stands for cargo: its arguments, its folder and its variables are what matters here.
    let path = with_cargo(
        &sandbox,
        &format!(
            "#!/bin/bash\n{{ pwd; printf '%s\\n' \"$@\"; env; }} >'{0}/seen'\nmkdir -p '{1}/debug'\ncp {2} '{1}/debug/'\n",
            sandbox.path().display(),
            target.display(),
            env!("CARGO_BIN_EXE_shipgate"),
        ),
    );
    let mut runner = runner.with("binary", "").env("PATH", &path);
    for name in [
        "GHCR_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "RUSTFLAGS",
    ] {
        runner = runner.env(name, "s3cret");
    }
    runner = runner
        .env("HTTPS_PROXY", "http://proxy")
        .env("CARGO_NET_RETRY", "5");
    let said = runner.step("binary").finish().expect(0).stdout;
    let seen = fs::read_to_string(sandbox.path().join("seen")).unwrap();
    let call = format!(
        "{}\nbuild\n--locked\n--target-dir\n{}\n--package\nshipgate\n--bin\nshipgate\n",
        env!("CARGO_MANIFEST_DIR"),
        target.display()
    );
    assert!(seen.starts_with(&call), "{seen}");
    assert!(!seen.contains("s3cret"), "{seen}");
    for kept in [
        "HTTPS_PROXY=http://proxy",
        "CARGO_NET_RETRY=5",
        "HOME=",
        "PATH=",
    ] {
        assert!(seen.contains(kept), "{kept} in {seen}");
    }
    assert_eq!(runner.output("status"), "");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..2],
        [
            concat!("::group::Building shipgate ", env!("CARGO_PKG_VERSION")),
            "::endgroup::"
        ]
    );
}

#[test]
fn the_launcher_and_the_component_are_built_beside_it_for_the_sandbox() {
    let sandbox = Sandbox::new();
    let runner = Runner::new(&sandbox);
    let target = runner.temporary().join("shipgate-build");
    // Stands for cargo, as above: only what is asked for, and where it has to be.
    let path = with_cargo(
        &sandbox,
        &format!(
            "#!/bin/bash\necho \"$*\" >>'{0}/seen'\nmkdir -p '{1}/debug' '{1}/wasm32-wasip2/release'\ncp {2} '{1}/debug/'\necho component >'{1}/wasm32-wasip2/release/shipgate-hosted.wasm'\n",
            sandbox.path().display(),
            target.display(),
            env!("CARGO_BIN_EXE_shipgate"),
        ),
    );
    let runner = runner
        .with("binary", "")
        .with("sandbox", "true")
        .env("PATH", &path);
    for tool in ["clang", "llvm-ar"] {
        program(&sandbox, &format!("bin/{tool}"), "#!/bin/sh\n");
    }
    runner.step("binary").finish().expect(0);
    let target = target.display();
    assert_eq!(
        fs::read_to_string(sandbox.path().join("seen")).unwrap(),
        format!(
            "build --locked --target-dir {target} --package shipgate --bin shipgate\nbuild --locked --target-dir {target} --package shipgate-wasm\nbuild --locked --release --target wasm32-wasip2 --target-dir {target} --package shipgate --features hosted --bin shipgate-hosted\n"
        )
    );
    let component = fs::read_to_string(format!("{target}/debug/shipgate-hosted.wasm")).unwrap();
    assert_eq!(component, "component\n");
}

#[test]
fn what_the_sandbox_needs_is_named() {
    let sandbox = Sandbox::new();
    for program in ["bash", "mktemp"] {
        let link = sandbox.path().join("bin").join(program);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), link).unwrap();
    }
    let path = sandbox.path().join("bin");
    let runner = Runner::new(&sandbox)
        .with("binary", "")
        .with("sandbox", "true")
        .env("PATH", path.to_str().unwrap());
    let output = runner.step("binary").finish().expect(1);
    assert!(
        output.stdout.contains("clang is not on this runner's PATH"),
        "{}",
        output.stdout
    );
}

#[test]
fn a_sandboxed_run_is_asked_for_by_a_flag() {
    let (_, arguments) = recorded(&[("sandbox", "true"), ("report-dir", "r")]);
    assert_eq!(
        arguments,
        [
            "run",
            "--color=auto",
            "--report=r",
            "--sandbox",
            "pipeline.yml"
        ]
    );
}

#[test]
fn a_policy_caps_a_sandboxed_run_and_no_other() {
    let (_, arguments) = recorded(&[
        ("sandbox", "true"),
        ("sandbox-policy", "-p.yml"),
        ("report-dir", "r"),
    ]);
    assert_eq!(arguments[3..5], ["--sandbox", "--policy=-p.yml"]);
    for (input, value) in [("sandbox-policy", "p.yml"), ("sandbox-policy-ref", "main")] {
        let sandbox = Sandbox::new();
        let runner = recorder(&sandbox).with(input, value);
        let output = runner.run();
        assert_eq!(output.status.code(), Some(2), "{}", output.stdout);
        assert!(output.stdout.contains("::error"), "{}", output.stdout);
    }
}

/// The policy of the base branch holds, whatever the workspace made of the file, and of a branch of that name.
#[test]
#[ignore = "needs real peers: tests/run"]
fn a_policy_is_taken_from_a_ref_that_the_workspace_does_not_decide() {
    let sandbox = Sandbox::new();
    let git = |folder: &str, words: &[&str]| {
        let done = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
            .args(words)
            .current_dir(sandbox.path().join(folder))
            .output()
            .unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
    };
    sandbox.write("upstream/ci/policy.yml", "version: 1\n# of the base\n");
    git("upstream", &["init", "--quiet", "--initial-branch=main"]);
    git("upstream", &["add", "."]);
    git("upstream", &["commit", "--quiet", "--message=policy"]);
    git(".", &["init", "--quiet", "--initial-branch=main"]);
    git(".", &["remote", "add", "origin", "upstream"]);
    sandbox.write("ci/policy.yml", "version: 1\n# of the pull request\n");
    git(".", &["add", "ci"]);
    git(".", &["commit", "--quiet", "--message=other"]);

    let asked = |path: &str, reference: &str| {
        recorder(&sandbox)
            .with("sandbox", "true")
            .with("sandbox-policy", path)
            .with("sandbox-policy-ref", reference)
    };
    let runner = asked("ci/policy.yml", "main");
    ran(&runner);
    let written = fs::read_to_string(sandbox.path().join("arguments")).unwrap();
    let policy = written
        .split('\0')
        .find_map(|word| word.strip_prefix("--policy="))
        .unwrap();
    assert!(policy.starts_with(runner.temporary().to_str().unwrap()));
    assert!(fs::read_to_string(policy).unwrap().contains("of the base"));

    let refused = [
        ("ci/policy.yml", "gone", "can't fetch `gone`"),
        ("ci/gone.yml", "main", "can't take the policy `ci/gone.yml`"),
        ("ci/policy.yml", "--upload-pack=x", "no name of a branch"),
        ("ci/policy.yml", "main:main", "no name of a branch"),
        ("", "main", "of no use without"),
    ];
    for (path, reference, reason) in refused {
        let output = asked(path, reference).run();
        assert_eq!(output.status.code(), Some(2), "{}", output.stdout);
        assert!(output.stdout.contains(reason), "{}", output.stdout);
    }
}

#[test]
fn a_build_that_fails_closes_its_group_and_says_so() {
    let sandbox = Sandbox::new();
    let path = with_cargo(&sandbox, "#!/bin/sh\necho 'error: no' >&2\nexit 101\n");
    let runner = Runner::new(&sandbox).with("binary", "").env("PATH", &path);
    let output = runner.step("binary").finish().expect(1).says("error: no");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        lines[1..],
        [
            "::endgroup::",
            "::error title=shipgate::shipgate could not be built; what cargo said stands in the log above"
        ]
    );
    assert_eq!(runner.output("status"), "unexpected");
}

#[test]
fn what_a_command_does_not_use_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.yml",
        "version: 1\nname: p\nsteps:\n  - check: {registry: localhost}\n",
    );
    let output = Runner::new(&sandbox)
        .with("command", "validate")
        .with("pipeline", "p.yml")
        .with("inputs", "a=b")
        .with("lock", "l")
        .run()
        .expect(0);
    assert!(
        output
            .stdout
            .contains("validate looks at the document alone; not used: inputs lock\n"),
        "{}",
        output.stdout
    );
}

#[test]
fn the_process_that_the_runner_signals_is_shipgate() {
    let silent = Service::start(|_| Answer::Silence);
    let sandbox = Sandbox::new();
    sandbox.write(
        "pipeline.yml",
        format!(
            "version: 1\nname: stuck\nsteps:\n  - check: {{registry: \"{}\"}}\n",
            silent.address()
        ),
    );
    let runner = Runner::new(&sandbox);
    runner.step("binary").finish().expect(0);
    let mut running = runner.step("run");
    wait_for("the silent service to be asked", || {
        (!silent.requests().is_empty()).then_some(())
    });
    let program = fs::read_link(format!("/proc/{}/exe", running.id())).unwrap();
    assert_eq!(
        program,
        fs::canonicalize(env!("CARGO_BIN_EXE_shipgate")).unwrap()
    );
    running.signal(Signal::Interrupt);
    if !running.ends_within(Duration::from_millis(100)) {
        running.signal(Signal::Terminate);
    }
    running.finish().expect(70);
}

/// Runs the action with a recorder in place of shipgate, and returns what it was called with.
fn recorded(with: &[(&str, &str)]) -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::new();
    let mut runner = recorder(&sandbox);
    for (input, value) in with {
        runner = runner.with(input, value);
    }
    ran(&runner);
    let written = fs::read_to_string(sandbox.path().join("arguments")).unwrap();
    let mut arguments: Vec<String> = written.split('\0').map(str::to_owned).collect();
    assert_eq!(arguments.pop().as_deref(), Some(""));
    drop(runner);
    (sandbox, arguments)
}

fn ran(runner: &Runner<'_>) -> Output {
    runner.step("binary").finish().expect(0);
    runner.step("run").finish().expect(0)
}

fn recorder(sandbox: &Sandbox) -> Runner<'_> {
    let script = RECORDER.replace("VERSION", env!("CARGO_PKG_VERSION"));
    let path = program(sandbox, "recorder", &script);
    Runner::new(sandbox).with("binary", &path)
}

/// Puts a cargo in front of the machine's own, and returns the search path that finds it.
fn with_cargo(sandbox: &Sandbox, script: &str) -> String {
    program(sandbox, "bin/cargo", script);
    format!("{}/bin:/usr/bin:/bin", sandbox.path().display())
}

fn program(sandbox: &Sandbox, name: &str, script: &str) -> String {
    let path = sandbox.write(name, script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn entries(runner: &Runner<'_>, prefix: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(runner.temporary()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        })
        .collect()
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
