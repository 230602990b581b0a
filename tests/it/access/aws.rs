//! Logins of ECR by moto, which checks signatures with botocore's own code.

use serde_json::Value;

use super::{basic, door, pipeline, sent};
use crate::harness::{Image, Process, Registry, Sandbox, fetch, tool};

/// The password that moto gives for its one account.
const ECR_PASSWORD: &str = "123456789012-auth-token";

/// A running stand-in for AWS, with a user who may pull and take roles: one that may pull too, and one that may not.
struct Aws {
    process: Process,
    address: String,
    id: String,
    secret: String,
}

impl Aws {
    fn start(sandbox: &Sandbox) -> Self {
        let log = sandbox.path().join("moto.log");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let mut command = std::process::Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(tool("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            // From the seventh request on, everyone has to prove who they are.
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "6");
        let mut process = Process::start(&mut command, &log);
        process.wait_for("the stand-in for AWS", |log| {
            log.contains("Running on").then_some(())
        });

        let iam = |action: &str| {
            let headers = [
                ("content-type", "application/x-www-form-urlencoded"),
                (
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=x/20261125/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=x",
                ),
            ];
            let body = format!("Version=2010-05-08&Action={action}");
            let reply = fetch("POST", &address, "/", &headers, body.as_bytes());
            let text = String::from_utf8(reply.body).unwrap();
            assert_eq!(reply.status, 200, "{text}");
            text
        };
        iam("CreateUser&UserName=ci");
        let keys = iam("CreateAccessKey&UserName=ci");
        iam(
            "PutUserPolicy&UserName=ci&PolicyName=p&PolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%5B%22ecr%3AGetAuthorizationToken%22%2C%22sts%3AAssumeRole%22%5D%2C%22Resource%22%3A%22%2A%22%7D%5D%7D",
        );
        for role in ["powerless", "puller"] {
            iam(&format!(
                "CreateRole&RoleName={role}&AssumeRolePolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22AWS%22%3A%22%2A%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D"
            ));
        }
        iam(
            "PutRolePolicy&RoleName=puller&PolicyName=p&PolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22ecr%3AGetAuthorizationToken%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D",
        );
        let between = |name: &str| {
            let (_, rest) = keys.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        Self {
            id: between("AccessKeyId"),
            secret: between("SecretAccessKey"),
            process,
            address,
        }
    }

    fn log(&self) -> String {
        self.process.log()
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_login_of_ecr_opens_the_registry() {
    let registry = Registry::start();
    let image = Image::new("ecr", &[100]);
    image.push(registry.address(), "acme/web", "v1");
    let door = door(&registry, &[("AWS", ECR_PASSWORD, "")]);
    let mut sandbox = Sandbox::new();
    let aws = Aws::start(&sandbox);
    let reference = format!("{}/acme/web:v1", door.address());
    let more = format!("registries: {{\"{}\": {{auth: ecr}}}}", door.address());
    sandbox.write("p.yml", pipeline(&more, &[&reference]));

    // Nothing is known of AWS, but that there is no instance to ask.
    sandbox.set("AWS_EC2_METADATA_DISABLED", "true");
    sandbox.run(["p.yml"]).says("the region is missing");
    sandbox.set("AWS_REGION", "eu-central-1");
    sandbox
        .run(["p.yml"])
        .says("give keys by AWS_ACCESS_KEY_ID");

    sandbox.set("AWS_ENDPOINT_URL", &format!("http://{}", aws.address));
    sandbox.set("AWS_ACCESS_KEY_ID", &aws.id);
    sandbox.set("AWS_SECRET_ACCESS_KEY", &format!("{}x", aws.secret));
    let refused = sandbox.run(["p.yml"]);
    refused
        .says("SignatureDoesNotMatch")
        .says("check the secret access key");

    sandbox.set("AWS_SECRET_ACCESS_KEY", &aws.secret);
    let planned = sandbox.run(["plan", "p.yml"]).expect(0);
    assert!(
        planned.stdout.contains("`AWS` from AWS (the environment)"),
        "{}",
        planned.stdout
    );
    assert!(
        planned.stdout.contains("AWS_SECRET_ACCESS_KEY"),
        "{}",
        planned.stdout
    );
    assert!(planned.stdout.contains(&aws.address), "{}", planned.stdout);
    let done = sandbox.run(["p.yml", "--report", "report"]).expect(0);
    let done = done.says("logged in as AWS from AWS (the environment)");
    assert_eq!(sent(&door.requests()), [basic("AWS", ECR_PASSWORD)]);
    let report = std::fs::read_to_string(sandbox.path().join("report/report.json")).unwrap();
    let said = format!("{}{}{}{report}", planned.stdout, done.stdout, done.stderr);
    for secret in [aws.secret.as_str(), ECR_PASSWORD] {
        assert!(!said.contains(secret), "{said}");
    }
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["logins"][0]["origin"], "AWS (the environment)");
    assert!(aws.log().contains("\"POST / HTTP/1.1\" 200"));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_role_is_taken_with_the_keys_of_a_profile_and_may_be_too_weak() {
    let registry = Registry::start();
    Image::new("role", &[100]).push(registry.address(), "acme/web", "v1");
    let door = door(&registry, &[("AWS", ECR_PASSWORD, "")]);
    let mut sandbox = Sandbox::new();
    let aws = Aws::start(&sandbox);
    let more = format!("registries: {{\"{}\": {{auth: ecr}}}}", door.address());
    let reference = format!("{}/acme/web:v1", door.address());
    sandbox.write("p.yml", pipeline(&more, &[&reference]));
    sandbox.write(
        "home/.aws/credentials",
        format!(
            "[base]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            aws.id, aws.secret
        ),
    );
    sandbox.write(
        "home/.aws/config",
        "[profile base]\nregion = eu-central-1\n[profile role]\nregion = eu-central-1\n\
         role_arn = arn:aws:iam::123456789012:role/powerless\nsource_profile = base\n\
         [profile puller]\nregion = eu-central-1\n\
         role_arn = arn:aws:iam::123456789012:role/puller\nsource_profile = base\n\
         [profile sso]\nregion = eu-central-1\nsso_session = corp\n",
    );
    sandbox.set("AWS_ENDPOINT_URL", &format!("http://{}", aws.address));
    sandbox.set("AWS_PROFILE", "base");
    sandbox
        .run(["p.yml"])
        .expect(0)
        .says("logged in as AWS from AWS (the profile `base`)");
    let _ = std::fs::remove_dir_all(sandbox.cache());
    sandbox.set("AWS_PROFILE", "puller");
    sandbox
        .run(["p.yml"])
        .expect(0)
        .says("logged in as AWS from AWS (the profile `puller`)");
    let _ = std::fs::remove_dir_all(sandbox.cache());
    sandbox.set("AWS_PROFILE", "role");
    // Taken with a signature that was found good; what the role itself may not do is refused.
    let refused = sandbox.run(["p.yml"]);
    refused
        .says("the profile `role`")
        .says("AccessDenied")
        .says("allow `ecr:GetAuthorizationToken` to these keys");
    sandbox.set("AWS_PROFILE", "sso");
    sandbox
        .run(["p.yml"])
        .says("single sign-on (`sso_session`) is not supported");
}
