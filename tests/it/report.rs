//! What a command leaves: the files of `--report`, and what GitHub and GitLab read. Here is the wiring;
//! what the files say is tested beside their writers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Answer, DIFFERS, Sandbox, Service, Signal, comparable, wait_for};

/// A sandbox that looks like a step of a job in GitHub.
fn github() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let at = |name: &str| sandbox.path().join(name).display().to_string();
    let (output, summary, workspace) = (at("github-output"), at("github-summary"), at(""));
    sandbox.set("GITHUB_ACTIONS", "true");
    sandbox.set("GITHUB_OUTPUT", &output);
    sandbox.set("GITHUB_STEP_SUMMARY", &summary);
    sandbox.set("GITHUB_WORKSPACE", &workspace);
    sandbox.write("github-output", "");
    sandbox.write("github-summary", "");
    sandbox
}

/// A sandbox that looks like a job in GitLab.
fn gitlab() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let project = sandbox.path().display().to_string();
    sandbox.set("GITLAB_CI", "true");
    sandbox.set("CI_PROJECT_DIR", &project);
    sandbox.set("CI_JOB_URL", "https://gitlab.example/acme/web/-/jobs/7");
    sandbox
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(sandbox: &Sandbox, name: &str) -> String {
    let path = sandbox.path().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn report(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_str(&text(sandbox, name)).unwrap()
}

/// Reads the outputs of a step, each `NAME<<DELIMITER`, and empties the file.
fn outputs(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let text = text(sandbox, "github-output");
    sandbox.write("github-output", "");
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (name, delimiter) = line
            .split_once("<<")
            .unwrap_or_else(|| panic!("{line:?} in\n{text}"));
        let value: Vec<_> = lines
            .by_ref()
            .take_while(|line| *line != delimiter)
            .collect();
        outputs.insert(name.to_owned(), value.join("\n"));
    }
    outputs
}

#[test]
fn a_run_in_github_leaves_outputs_a_page_and_files() {
    let sandbox = github();
    sandbox.write("github-summary", "what an earlier command wrote");
    let pipeline = shipped("pipeline.yml");
    let arguments = [pipeline.to_str().unwrap(), "--report", "out"];
    sandbox.run(arguments).expect(0);
    let first = outputs(&sandbox);
    assert_eq!(first["status"], "done");
    assert_eq!(first["rolled-back"], "false");
    assert_eq!(first["cache-hit"], "false");
    assert_eq!(first["lock"], "");
    assert!(Path::new(&first["report"]).is_absolute());
    let report: Value = serde_json::from_slice(&fs::read(&first["report"]).unwrap()).unwrap();
    let digests: BTreeMap<String, String> = serde_json::from_str(&first["digests"]).unwrap();
    assert_eq!(digests["web"], report["images"][0]["digest"]);
    let page = text(&sandbox, "github-summary");
    let page = page
        .strip_prefix("what an earlier command wrote\n")
        .unwrap();
    assert_eq!(page, text(&sandbox, "out/summary.md"));
    assert!(page.starts_with("## ✅ `playground`: done\n"), "{page}");
    for name in ["junit.xml", "code-quality.json"] {
        assert!(!text(&sandbox, &format!("out/{name}")).is_empty());
    }
    assert!(!sandbox.path().join("out/gitlab.env").exists());

    sandbox.run([arguments[0]]).expect(0);
    let second = outputs(&sandbox);
    assert_eq!(second["cache-hit"], "true");
    assert_eq!(second["report"], "", "none was asked for");
    assert_eq!(second["digests"], first["digests"]);
}

#[test]
fn a_run_in_gitlab_leaves_variables_and_links() {
    let sandbox = gitlab();
    fs::copy(shipped("pipeline.yml"), sandbox.path().join("pipeline.yml")).unwrap();
    sandbox
        .run(["pipeline.yml", "--report", "a b/out"])
        .expect(0);
    let report = report(&sandbox, "a b/out/report.json");
    let variables = text(&sandbox, "a b/out/gitlab.env");
    let variables: BTreeMap<_, _> = variables
        .lines()
        .map(|line| line.split_once('=').unwrap())
        .collect();
    assert_eq!(variables["SHIPGATE_STATUS"], "done");
    assert_eq!(variables["SHIPGATE_EXIT_CODE"], "0");
    assert_eq!(variables["SHIPGATE_CACHE_HIT"], "false");
    assert_eq!(variables["SHIPGATE_ROLLED_BACK"], "false");
    assert_eq!(variables["SHIPGATE_REPORT"], "a b/out/report.json");
    assert_eq!(
        variables["SHIPGATE_DIGEST_WEB"],
        report["images"][0]["digest"].as_str().unwrap()
    );
    let links = text(&sandbox, "a b/out/gitlab-annotations.json");
    let links: Value = serde_json::from_str(&links).unwrap();
    assert_eq!(
        links["shipgate"][0]["external_link"]["url"],
        "https://gitlab.example/acme/web/-/jobs/7/artifacts/file/a%20b/out/summary.md"
    );
    assert!(text(&sandbox, "a b/out/junit.xml").contains(r#"file="pipeline.yml" line="26""#));
}

#[test]
fn a_run_that_fails_or_is_refused_says_so_everywhere() {
    for (example, code, status) in [
        ("examples/failing.yml", 50, "gate-failed"),
        ("examples/refused.yml", 31, "wrong-signer"),
    ] {
        let sandbox = github();
        let pipeline = shipped(example);
        sandbox
            .run([pipeline.to_str().unwrap(), "--report", "out"])
            .expect(code);
        assert_eq!(outputs(&sandbox)["status"], status);
        let report = report(&sandbox, "out/report.json");
        assert_eq!(report["exit"]["name"], status);
        let page = text(&sandbox, "github-summary");
        let hint = report["steps"].as_array().unwrap().iter();
        let hint = hint
            .filter_map(|step| step["failure"]["hint"].as_str())
            .next();
        let first = hint.unwrap().lines().next().unwrap();
        assert!(page.contains(first), "{first} in\n{page}");
        assert!(text(&sandbox, "out/junit.xml").contains("<failure"));
        let issues: Value = serde_json::from_str(&text(&sandbox, "out/code-quality.json")).unwrap();
        assert!(issues[0]["location"]["lines"]["begin"].as_u64().unwrap() > 1);
    }
}

#[test]
fn an_invalid_document_and_a_missing_input_leave_a_report_too() {
    let sandbox = github();
    sandbox.write(
        "bad.yml",
        "version: 1\nname: bad\nsteps:\n  - prelaod: {images: [web]}\n",
    );
    sandbox.write(
        "needs.yml",
        "version: 1\nname: needs\ninputs:\n  tag: {type: string}\nimages:\n  web: \"127.0.0.1:9/web:${input.tag}\"\nsteps:\n  - preload: {images: [web]}\n",
    );
    for (file, code, status, line) in [
        ("bad.yml", 10, "pipeline-invalid", 4),
        ("needs.yml", 11, "input-invalid", 4),
    ] {
        for command in ["run", "plan"] {
            sandbox.run([command, file, "--report", "out"]).expect(code);
            let outputs = outputs(&sandbox);
            assert_eq!(outputs["status"], status);
            assert_eq!(outputs["digests"], "{}");
            let report = report(&sandbox, "out/report.json");
            assert_eq!(report["command"], command);
            assert_eq!(report["exit"]["code"], code);
            let found = &report["diagnostics"][0];
            assert_eq!(report["reason"], found["message"]);
            assert_eq!(found["place"]["line"], line, "{found:#}");
            let issues: Value =
                serde_json::from_str(&text(&sandbox, "out/code-quality.json")).unwrap();
            assert_eq!(issues[0]["location"]["path"], file);
            assert_eq!(issues[0]["location"]["lines"]["begin"], line);
            let junit = text(&sandbox, "out/junit.xml");
            assert!(
                junit.contains(&format!(r#"file="{file}" line="{line}""#)),
                "{junit}"
            );
        }
    }
    assert!(text(&sandbox, "github-summary").contains("did you mean `preload`?"));
}

#[test]
fn what_keeps_a_run_from_beginning_is_in_its_report() {
    let sandbox = github();
    sandbox.write("lock", "not a lock");
    sandbox.write(
        "p.yml",
        "version: 1\nname: locked\nsteps:\n  - gate: {within: 1s, every: 100ms, probes: {up: {tcp: \"127.0.0.1:9\"}}}\n",
    );
    sandbox
        .run(["p.yml", "--lock", "lock", "--report", "out"])
        .expect(12);
    assert_eq!(outputs(&sandbox)["status"], "lock-mismatch");
    let locked = report(&sandbox, "out/report.json");
    assert_eq!(locked["pipeline"], "locked");
    assert_eq!(locked["failure"]["exit"], "lock-mismatch");
    assert!(text(&sandbox, "github-summary").contains("### The run could not begin"));

    sandbox.run(["gone.yml", "--report", "out"]).expect(10);
    assert_eq!(outputs(&sandbox)["status"], "pipeline-invalid");
    let gone = report(&sandbox, "out/report.json");
    assert_eq!(gone["diagnostics"][0]["kind"], "unreadable");

    sandbox
        .run(["p.yml", "--only", "nothing", "--report", "out"])
        .expect(2);
    assert_eq!(outputs(&sandbox)["status"], "usage");
}

#[test]
fn a_command_line_that_is_refused_writes_nothing() {
    let sandbox = github();
    sandbox.run(["run", "p.yml", "--reprot", "out"]).expect(2);
    assert_eq!(text(&sandbox, "github-output"), "");
    assert_eq!(text(&sandbox, "github-summary"), "");
    assert!(!sandbox.path().join("out").exists());
}

#[test]
fn a_cancelled_run_says_so() {
    let sandbox = github();
    let silent = Service::start(|_| Answer::Silence);
    sandbox.write(
        "p.yml",
        format!(
            "version: 1\nname: stuck\nsteps:\n  - id: live\n    gate: {{within: 60s, every: 50ms, probes: {{page: {{http: {{url: \"{}\", status: 200}}}}}}}}\n",
            silent.url("/")
        ),
    );
    let running = sandbox.start(["p.yml", "--report", "out"]);
    wait_for("the service to be asked", || {
        (!silent.requests().is_empty()).then_some(())
    });
    running.signal(Signal::Terminate);
    running.finish().expect(70);
    assert_eq!(outputs(&sandbox)["status"], "cancelled");
    assert!(text(&sandbox, "github-summary").starts_with("## ⏹️ `stuck`: cancelled"));
    let junit = text(&sandbox, "out/junit.xml");
    assert!(junit.contains(r#"<error message="#), "{junit}");
}

#[test]
fn a_plan_leaves_what_would_be() {
    let sandbox = github();
    let pipeline = shipped("pipeline.yml");
    let planned = sandbox
        .run(["plan", pipeline.to_str().unwrap(), "--report", "out"])
        .expect(0);
    let outputs = outputs(&sandbox);
    assert_eq!(
        outputs.keys().collect::<Vec<_>>(),
        ["digests", "report", "status"]
    );
    let report = report(&sandbox, "out/report.json");
    let digests: Value = serde_json::from_str(&outputs["digests"]).unwrap();
    assert_eq!(digests["web"], report["images"][0]["digest"]);
    assert_eq!(report["images"][0]["fetched"], Value::Null);
    let page = text(&sandbox, "github-summary");
    assert!(page.contains("✅ would pass"), "{page}");
    assert!(
        page.contains("outputs of the job"),
        "what it may touch is in the plan:\n{page}"
    );
    assert!(
        page.contains(planned.stdout.lines().next().unwrap()),
        "{page}"
    );
}

#[test]
fn a_validation_has_a_test_for_every_file_and_finding() {
    let sandbox = github();
    sandbox.write("bad.yml", "version: 1\nstep: []\n");
    let good = shipped("pipeline.yml");
    sandbox
        .run([
            "validate",
            good.to_str().unwrap(),
            "bad.yml",
            "--report",
            "out",
        ])
        .expect(10);
    let outputs = outputs(&sandbox);
    assert_eq!(outputs.keys().collect::<Vec<_>>(), ["report", "status"]);
    assert_eq!(outputs["status"], "pipeline-invalid");
    let junit = text(&sandbox, "out/junit.xml");
    assert_eq!(junit.matches("<testsuite ").count(), 2, "{junit}");
    assert_eq!(junit.matches("the document is valid").count(), 1, "{junit}");
    sandbox.run(["validate", good.to_str().unwrap()]).expect(0);
    let pages = text(&sandbox, "github-summary");
    assert!(pages.contains("## ✅ `playground`: valid"), "{pages}");
}

#[test]
fn a_report_that_cannot_be_written_fails_the_run_in_words() {
    let sandbox = github();
    sandbox.write("out", "a file in the way");
    let pipeline = shipped("pipeline.yml");
    sandbox
        .run([pipeline.to_str().unwrap(), "--report", "out"])
        .expect(1)
        .says("a file of the report is missing")
        .says("name a folder with --report")
        .says("exit code 1 (unexpected)");
    let outputs = outputs(&sandbox);
    assert_eq!(outputs["status"], "unexpected");
    assert_eq!(
        outputs["report"], "",
        "nobody is sent to a file that is not there"
    );
}

#[test]
fn what_github_reads_never_changes_the_exit_code() {
    let mut sandbox = github();
    let folder = sandbox.path().display().to_string();
    sandbox.set("GITHUB_OUTPUT", &folder);
    sandbox.write("github-summary", "x".repeat(1024 * 1024 - 1_000));
    let pipeline = shipped("pipeline.yml");
    sandbox
        .run([pipeline.to_str().unwrap(), "--color", "never"])
        .expect(0)
        .says("warning: the outputs of this step are missing")
        .says("warning: the summary of this step is missing");
    assert_eq!(text(&sandbox, "github-summary").len(), 1024 * 1024 - 1_000);
}

#[test]
fn no_file_holds_a_secret() {
    let mut sandbox = github();
    sandbox.set("GITLAB_CI", "true");
    sandbox.set("HOOK", "http://127.0.0.1:9/s3cret-path-of-the-hook");
    sandbox.set("PASSWORD", "s3cret-word");
    sandbox.write(
        "p.yml",
        "version: 1\nname: secrets\nsecrets:\n  hook: {env: HOOK}\n  word: {env: PASSWORD}\nregistries:\n  \"127.0.0.1:9\": {auth: {username: ci, password: \"${secret.word}\"}}\nimages:\n  web: \"127.0.0.1:9/acme/web:v1\"\nsteps:\n  - preload: {images: [web]}\nfinally:\n  - notify: {webhook: {url: \"${secret.hook}\"}, on: [failure], required: true}\n",
    );
    sandbox.run(["p.yml", "--report", "s3cret-word"]).expect(20);
    let mut files: Vec<_> = fs::read_dir(sandbox.path().join("s3cret-word"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 6, "{files:?}");
    files.extend(["github-output", "github-summary"].map(|name| sandbox.path().join(name)));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("s3cret"), "{}\n{text}", file.display());
    }
}

#[test]
fn two_runs_of_a_pipeline_leave_the_same_report() {
    for example in [
        "pipeline.yml",
        "examples/refused.yml",
        "examples/failing.yml",
    ] {
        let [first, second] = [(); 2].map(|()| {
            let sandbox = Sandbox::new();
            let pipeline = shipped(example);
            sandbox.run([pipeline.to_str().unwrap(), "--report", "out"]);
            comparable(&report(&sandbox, "out/report.json"))
        });
        assert_eq!(
            serde_json::to_string_pretty(&first).unwrap(),
            serde_json::to_string_pretty(&second).unwrap(),
            "{example}"
        );
    }
}

#[test]
fn the_page_about_reports_lists_what_differs() {
    let page = fs::read_to_string(shipped("docs/reports.md")).unwrap();
    for (field, how) in DIFFERS {
        let row = format!("| `{field}` | {how} |");
        assert!(page.contains(&row), "docs/reports.md lacks\n{row}");
    }
}
