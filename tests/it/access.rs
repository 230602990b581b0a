//! Whose login goes to which registry, and to no other.

mod aws;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{
    Answer, Authority, Image, Output, PASSWORD, Registry, Reply, Request, Sandbox, Service, Tool,
    USER, fetch,
};

/// A door to a registry that opens to some logins, each for repositories that begin so.
fn door(registry: &Registry, logins: &[(&str, &str, &str)]) -> Service {
    let upstream = registry.address().to_owned();
    let logins: Vec<(String, String)> = logins
        .iter()
        .map(|(user, password, below)| {
            let login = STANDARD.encode(format!("{user}:{password}"));
            (format!("Basic {login}"), format!("/v2/{below}"))
        })
        .collect();
    Service::start(move |request| {
        let sent = request.header("authorization").unwrap_or_default();
        let opens = |(login, below): &(String, String)| {
            login == sent && (request.target == "/v2/" || request.target.starts_with(below))
        };
        if !logins.iter().any(opens) {
            // As a registry with a loose tongue does.
            let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": format!("not with {sent}")}]});
            let ask = ("WWW-Authenticate".into(), "Basic realm=\"door\"".into());
            return Answer::Reply(401, vec![ask], body.to_string().into_bytes());
        }
        let accept = request.header("accept").unwrap_or("*/*");
        let reply: Reply = fetch(
            &request.method,
            &upstream,
            &request.target,
            &[("accept", accept)],
            b"",
        );
        Answer::Reply(reply.status, reply.headers, reply.body)
    })
}

fn pipeline(more: &str, references: &[&str]) -> String {
    let mut text = format!("version: 1\nname: access\n{more}\nimages:\n");
    let mut names = Vec::new();
    for (at, reference) in references.iter().enumerate() {
        text += &format!("  i{at}: \"{reference}\"\n");
        names.push(format!("i{at}"));
    }
    text + &format!("steps:\n  - preload: {{images: [{}]}}\n", names.join(", "))
}

#[track_caller]
fn shows(planned: &Output, text: &str) {
    assert!(
        planned.stdout.contains(text),
        "no {text:?} in\n{}",
        planned.stdout
    );
}

fn sent(requests: &[Request]) -> Vec<&str> {
    let sent = requests
        .iter()
        .filter_map(|one| one.header("authorization"));
    let mut sent: Vec<&str> = sent.collect();
    sent.sort_unstable();
    sent.dedup();
    sent
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn what_skopeo_logged_in_to_is_for_its_repositories() {
    let registry = Registry::start();
    let image = Image::new("podman", &[100]);
    for repository in ["acme/web", "acme/secret/api", "other/web"] {
        image.push(registry.address(), repository, "v1");
    }
    let door = door(
        &registry,
        &[
            ("team", "password-of-team", "acme/"),
            ("keeper", "password-of-keeper", "acme/secret/"),
            ("rest", "password-of-rest", "other/"),
        ],
    );
    let mut sandbox = Sandbox::new();
    let host = door.address();
    for (user, below) in [("team", "/acme"), ("keeper", "/acme/secret"), ("rest", "")] {
        Tool::new(&sandbox, "skopeo")
            .args([
                "login",
                "--tls-verify=false",
                "--authfile",
                "auth.json",
                "-u",
                user,
                "-p",
            ])
            .args([format!("password-of-{user}"), format!("{host}{below}")])
            .run();
    }
    sandbox.set("REGISTRY_AUTH_FILE", "auth.json");
    let references = [
        format!("{host}/acme/web:v1"),
        format!("{host}/acme/secret/api:v1"),
        format!("{host}/other/web:v1"),
    ];
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    sandbox.write("p.yml", pipeline("", &references));
    let planned = sandbox.run(["plan", "p.yml"]).expect(0);
    for user in ["team", "keeper", "rest"] {
        assert!(
            planned
                .stdout
                .contains(&format!("`{user}` from podman's auth.json (auths)")),
            "{}",
            planned.stdout
        );
    }
    assert!(planned.stdout.contains("auth.json"), "{}", planned.stdout);
    let done = sandbox.run(["p.yml", "--report", "report"]).expect(0);
    done.says("logged in as keeper from podman's auth.json (auths)");
    let report = std::fs::read_to_string(sandbox.path().join("report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["logins"].as_array().unwrap().len(), 3, "{report}");
    assert!(!report.to_string().contains("password-of"), "{report}");

    sandbox.write("none.yml", pipeline("credentials: []", &references[..1]));
    sandbox.run(["none.yml"]).says("no credentials were given");
    sandbox.set("REGISTRY_AUTH_FILE", "nowhere.json");
    let lost = sandbox.run(["p.yml"]);
    lost.says("REGISTRY_AUTH_FILE names nowhere.json, which is no file");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_job_token_goes_to_its_own_registry_alone_and_is_never_shown() {
    let registry = Registry::start();
    let image = Image::new("gitlab", &[100]);
    image.push(registry.address(), "acme/web", "v1");
    let own = door(&registry, &[("gitlab-ci-token", "token-of-job", "")]);
    let other = door(&registry, &[("nobody", "nothing", "")]);
    let mut sandbox = Sandbox::new();
    sandbox.set("GITLAB_CI", "true");
    sandbox.set("CI_REGISTRY", &own.address());
    sandbox.set("CI_JOB_TOKEN", "token-of-job");
    let own_image = format!("{}/acme/web:v1", own.address());
    let other_image = format!("{}/acme/web:v1", other.address());
    sandbox.write("p.yml", pipeline("", &[&own_image]));
    let planned = sandbox.run(["plan", "p.yml"]).expect(0);
    shows(&planned, "variable  CI_JOB_TOKEN");
    sandbox
        .run(["p.yml"])
        .expect(0)
        .says("logged in as gitlab-ci-token from CI_JOB_TOKEN");
    assert_eq!(
        sent(&own.requests()),
        [basic("gitlab-ci-token", "token-of-job")]
    );

    sandbox.write("other.yml", pipeline("", &[&other_image]));
    let planned = sandbox.run(["plan", "other.yml"]);
    assert!(
        !planned.stdout.contains("CI_JOB_TOKEN"),
        "{}",
        planned.stdout
    );
    sandbox.run(["other.yml"]).says("no credentials were given");
    assert!(sent(&other.requests()).is_empty());

    // A registry that repeats what it was sent.
    sandbox.set("CI_REGISTRY", &other.address());
    let refused = sandbox
        .run(["other.yml"])
        .says("`gitlab-ci-token` from CI_JOB_TOKEN was used");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("not with Basic ***"), "{said}");
    let login = basic("gitlab-ci-token", "token-of-job");
    assert!(
        !said.contains("token-of-job") && !said.contains(&login),
        "{said}"
    );

    sandbox.set("GITLAB_CI", "");
    let before = other.requests().len();
    sandbox.run(["other.yml"]).says("no credentials were given");
    assert!(sent(&other.requests()[before..]).is_empty());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_pull_secret_opens_what_it_is_for() {
    let registry = Registry::start();
    let image = Image::new("kubernetes", &[100]);
    image.push(registry.address(), "acme/web", "v1");
    let locked = registry.with_password();
    let host = locked.address();
    let sandbox = Sandbox::new();
    let config = json!({"auths": {host: {"auth": STANDARD.encode(format!("{USER}:{PASSWORD}"))}}});
    let encoded = STANDARD.encode(config.to_string());
    sandbox.write(
        "pull.yaml",
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: pull}}\ntype: kubernetes.io/dockerconfigjson\n\
             data:\n  .dockerconfigjson: {encoded}\n"
        ),
    );
    sandbox.write("mounted.json", config.to_string());
    let reference = format!("{host}/acme/web:v1");
    for file in ["pull.yaml", "mounted.json"] {
        let source = format!("credentials: [{{kubernetes-secret: {file}}}]");
        sandbox.write("p.yml", pipeline(&source, &[&reference]));
        let planned = sandbox.run(["plan", "p.yml"]).expect(0);
        shows(&planned, file);
        let _ = std::fs::remove_dir_all(sandbox.cache());
        let done = sandbox.run(["p.yml"]).expect(0);
        done.says(&format!(
            "logged in as {USER} from the pull secret {file} (auths)"
        ));
    }
    sandbox.write("pull.yaml", "kind: ConfigMap\ndata: {password: hunter2}\n");
    sandbox.write(
        "p.yml",
        pipeline(
            "credentials: [{kubernetes-secret: pull.yaml}]",
            &[&reference],
        ),
    );
    let refused = sandbox.run(["p.yml"]).expect(11);
    refused.says("it is a `ConfigMap`, not a Secret");
    sandbox.write("pull.yaml", "kind: [hunter2\n");
    let refused = sandbox
        .run(["p.yml"])
        .expect(11)
        .says("is neither JSON nor YAML");
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_token_of_a_login_is_masked_too() {
    let registry = Registry::start();
    let image = Image::new("tokens", &[100]);
    image.push(registry.address(), "acme/web", "v1");
    let (locked, tokens) = registry.with_tokens(&Authority::new());
    let upstream = locked.address().to_owned();
    // Forgets what it granted, and says what it was sent.
    let front = Service::lying(upstream, |request, reply| {
        if request.target.contains("/blobs/") && request.header("authorization").is_some() {
            let sent = request.header("authorization").unwrap_or_default();
            let body =
                json!({"errors": [{"code": "DENIED", "message": format!("not with {sent}")}]});
            reply.status = 403;
            reply.body = body.to_string().into_bytes();
        }
    });
    let sandbox = Sandbox::new();
    sandbox.docker_login(&front.address(), USER, PASSWORD);
    let reference = format!("{}/acme/web:v1", front.address());
    sandbox.write("p.yml", pipeline("", &[&reference]));
    let refused = sandbox.run(["p.yml", "--report", "report"]);
    let report = std::fs::read_to_string(sandbox.path().join("report/report.json")).unwrap();
    let said = format!("{}{}{report}", refused.stdout, refused.stderr);
    assert!(said.contains("not with Bearer ***"), "{said}");
    let requests = front.requests();
    let sent = sent(&requests);
    assert!(!sent.is_empty() && !tokens.requests().is_empty());
    for header in sent {
        let token = header.strip_prefix("Bearer ").unwrap();
        assert!(!said.contains(token), "{said}");
    }
}
