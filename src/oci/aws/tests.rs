//! The whole way from a registry's host to its login, against a stand-in for AWS on loopback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use serde_json::json;

use super::super::config::Config;
use super::super::credentials::{Credentials, HelperError, HelperOutput, NoHelpers, Source};
use super::super::fake::{Fake, Reply, Seen};
use super::super::transport::Transport;
use super::*;
use crate::failure::Explain as _;

const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
/// 2026-11-25 12:00:00 UTC.
const NOON: i64 = 1_795_608_000;

/// A machine with keys somewhere, whose every way leads to one stand-in.
struct Setup {
    settings: Settings,
    programs: Arc<dyn HelperRunner>,
    now: Arc<AtomicI64>,
    learned: Arc<Mutex<Vec<String>>>,
}

impl Setup {
    fn new(fake: &Fake, variables: &[(&'static str, &str)]) -> Self {
        let mut settings = Settings::default();
        settings
            .variables
            .insert("AWS_ENDPOINT_URL", format!("http://{}", fake.host()));
        for (name, value) in variables {
            settings.variables.insert(name, (*value).to_owned());
        }
        Self {
            settings,
            programs: Arc::new(NoHelpers),
            now: Arc::new(AtomicI64::new(NOON)),
            learned: Arc::default(),
        }
    }

    fn aws(&self) -> Aws {
        let http = net::Client::new(net::Config::default()).unwrap();
        let now = self.now.clone();
        let clock = Clock::new(move || {
            Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap_or_default()
        });
        let learned = self.learned.clone();
        let programs = self.programs.clone();
        let aws = Aws::new(
            self.settings.clone(),
            http,
            clock,
            programs,
            move |secret| learned.lock().unwrap().push(secret.expose().to_owned()),
        );
        aws.with(|inner| inner.caller.pause = Duration::from_millis(1))
    }

    fn learned(&self) -> Vec<String> {
        self.learned.lock().unwrap().clone()
    }
}

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "secret-of-environment"),
];

/// Answers as AWS does to who signs with the keys of this id, and as its near services do.
fn aws(seen: &Seen, id: &str) -> Reply {
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    let signed = seen.header("authorization").unwrap_or_default();
    let target = seen.header("x-amz-target").unwrap_or_default();
    if target.ends_with(".GetAuthorizationToken") {
        assert_eq!(body, "{}");
        assert_eq!(
            seen.header("content-type"),
            Some("application/x-amz-json-1.1")
        );
        let begin = format!("AWS4-HMAC-SHA256 Credential={id}/20261125/");
        assert!(signed.starts_with(&begin), "{signed}");
        let data = json!({
            "authorizationToken": STANDARD.encode("AWS:password-of-ecr"),
            "expiresAt": 1_795_651_200.5,
        });
        return if target.starts_with("SpencerFrontendService") {
            assert!(
                signed.contains("/us-east-1/ecr-public/aws4_request"),
                "{signed}"
            );
            Reply::json(200, &json!({"authorizationData": data}))
        } else {
            assert!(
                signed.contains("/eu-central-1/ecr/aws4_request"),
                "{signed}"
            );
            Reply::json(200, &json!({"authorizationData": [data]}))
        };
    }
    if body.starts_with("Action=AssumeRole") {
        let begins = body.starts_with("Action=AssumeRole&");
        assert_eq!(begins, signed.contains("/sts/aws4_request"), "{signed}");
        return Reply::new(
            200,
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
             <SecretAccessKey>secret-of-role</SecretAccessKey><SessionToken>token-of-role</SessionToken>\
             <Expiration>2026-11-25T13:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        );
    }
    let near = json!({
        "Code": "Success", "AccessKeyId": "ASIANEAR", "SecretAccessKey": "secret-of-near",
        "Token": "token-of-near", "Expiration": "2026-11-25T18:00:00Z",
    });
    let session = seen.header("x-aws-ec2-metadata-token");
    match (seen.method.as_str(), seen.target.as_str()) {
        ("PUT", "/latest/api/token") => {
            assert_eq!(
                seen.header("x-aws-ec2-metadata-token-ttl-seconds"),
                Some("21600")
            );
            Reply::new(200, "session-of-instance")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") if session.is_some() => {
            Reply::new(200, "my-role\n")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/my-role")
            if session == Some("session-of-instance") =>
        {
            Reply::json(200, &near)
        }
        ("GET", "/v1/credentials") if signed == "token-of-container" => Reply::json(200, &near),
        _ => Reply::new(401, ""),
    }
}

async fn stand_in(id: &'static str) -> Fake {
    Fake::start(move |seen| aws(seen, id)).await
}

async fn password(aws: &Aws, host: &str) -> Result<(String, String), String> {
    let lookup = aws.lookup(host).await;
    if let Some(refusal) = lookup.refusal {
        return Err(format!("{}\nhint: {}", refusal.reason, refusal.hint));
    }
    let found = lookup.found.unwrap();
    match found.credential {
        Credential::Basic { username, password } => {
            assert_eq!(username, "AWS");
            Ok((password.expose().to_owned(), found.origin))
        }
        other => panic!("{other:?}"),
    }
}

async fn assert_login(aws: &Aws, origin: &str) {
    let expected = ("password-of-ecr".to_owned(), origin.to_owned());
    assert_eq!(password(aws, HOST).await, Ok(expected));
}

#[tokio::test]
async fn keys_of_the_environment_and_one_login_for_all_registries_of_a_region() {
    let fake = stand_in("AKIAEXAMPLE").await;
    let mut variables = KEYS.to_vec();
    variables.push(("AWS_SESSION_TOKEN", "token-of-environment"));
    let setup = Setup::new(&fake, &variables);
    let aws = setup.aws();
    assert_login(&aws, "AWS (the environment)").await;
    let other = "999999999999.dkr.ecr.eu-central-1.amazonaws.com";
    let (first, second) = tokio::join!(password(&aws, other), password(&aws, HOST));
    assert_eq!(first, second);
    assert_eq!(fake.lines(), ["POST /"]);
    assert_eq!(
        fake.seen()[0].header("x-amz-security-token"),
        Some("token-of-environment")
    );
    assert_eq!(
        setup.learned(),
        [
            "secret-of-environment",
            "token-of-environment",
            "password-of-ecr"
        ]
    );

    // Valid for twelve hours from noon.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11 * 3600)).await;
    tokio::time::resume();
    assert_login(&aws, "AWS (the environment)").await;
    assert_eq!(fake.lines().len(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::resume();
    assert_login(&aws, "AWS (the environment)").await;
    assert_eq!(fake.lines().len(), 2);
}

#[tokio::test]
async fn the_public_registry_is_asked_for_by_name_only() {
    let fake = stand_in("AKIAEXAMPLE").await;
    let setup = Setup::new(&fake, &KEYS);
    assert_eq!(
        setup.aws().lookup("public.ecr.aws").await,
        Lookup::default()
    );
    assert!(fake.lines().is_empty());
    let named = setup.aws().for_hosts(["public.ecr.aws".to_owned()]);
    assert!(password(&named, "public.ecr.aws").await.is_ok());
    assert_eq!(named.lookup(HOST).await, Lookup::default());
}

#[tokio::test]
async fn other_hosts_are_of_ecr_if_the_document_says_so() {
    let fake = stand_in("AKIAEXAMPLE").await;
    let mut setup = Setup::new(&fake, &KEYS);
    let host = "registry.corp.example";
    assert_eq!(setup.aws().lookup(host).await, Lookup::default());
    let named = setup.aws().for_hosts([host.to_owned()]);
    insta::assert_snapshot!(password(&named, host).await.unwrap_err(), @r#"
        AWS gives no login with keys of this machine: the region is missing
        hint: set AWS_REGION to the region of the registry
        "#);
    setup
        .settings
        .variables
        .insert("AWS_REGION", "eu-central-1".into());
    let named = setup.aws().for_hosts([host.to_owned()]);
    assert!(password(&named, host).await.is_ok());
    let except = setup.aws().not_for([HOST.to_owned()]);
    assert_eq!(except.lookup(HOST).await, Lookup::default());
}

#[tokio::test]
async fn a_web_identity_is_shown_to_the_service_for_roles() {
    let fake = stand_in("ASIAROLE").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "header.claims+/=.signature\n").unwrap();
    let setup = Setup::new(
        &fake,
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pull"),
            ("AWS_ROLE_SESSION_NAME", "job-7"),
        ],
    );
    let aws = setup.aws();
    assert_login(&aws, "AWS (a web identity)").await;
    let seen = fake.seen();
    assert_eq!(
        String::from_utf8_lossy(&seen[0].body),
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15\
         &RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpull&RoleSessionName=job-7\
         &WebIdentityToken=header.claims%2B%2F%3D.signature"
    );
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(
        seen[1].header("x-amz-security-token"),
        Some("token-of-role")
    );
    assert_eq!(
        setup.learned(),
        ["secret-of-role", "token-of-role", "password-of-ecr"]
    );
}

fn files(folder: &Path, config: &str, credentials: &str, settings: &mut Settings) {
    for (name, text) in [("config", config), ("credentials", credentials)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    settings.config = Some(folder.join("config"));
    settings.credentials = Some(folder.join("credentials"));
}

#[tokio::test]
async fn a_profile_takes_a_role_with_the_keys_of_another() {
    let fake = stand_in("ASIAROLE").await;
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&fake, &[("AWS_PROFILE", "prod")]);
    files(
        folder.path(),
        "[profile prod]\nrole_arn = arn:r\nsource_profile = base\nexternal_id = ext/1\nregion = eu-west-3\n",
        "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret-of-base\n",
        &mut setup.settings,
    );
    let aws = setup.aws();
    assert_login(&aws, "AWS (the profile `prod`)").await;
    let seen = fake.seen();
    let body = String::from_utf8_lossy(&seen[0].body);
    assert!(
        body.ends_with(&format!(
            "&RoleSessionName=shipgate-{NOON}&ExternalId=ext%2F1"
        )),
        "{body}"
    );
    let signed = seen[0].header("authorization").unwrap();
    assert!(
        signed.contains("Credential=AKIABASE/20261125/eu-west-3/sts/"),
        "{signed}"
    );
}

/// Prints keys, and remembers how it was called.
struct Program(Mutex<Vec<Vec<String>>>, AtomicUsize);

impl HelperRunner for Program {
    fn run<'a>(
        &'a self,
        _helper: &'a str,
        _server: &'a str,
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>> {
        Box::pin(async { Err(HelperError::Unsupported) })
    }

    fn program<'a>(
        &'a self,
        words: &'a [String],
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>> {
        self.0.lock().unwrap().push(words.to_vec());
        let version = self.1.load(Ordering::Relaxed);
        let keys = json!({
            "Version": version, "AccessKeyId": "AKIAPROGRAM", "SecretAccessKey": "secret-of-program",
        });
        Box::pin(async move {
            Ok(HelperOutput {
                success: true,
                stdout: keys.to_string().into_bytes(),
            })
        })
    }
}

#[tokio::test]
async fn a_profile_runs_a_program() {
    let fake = stand_in("AKIAPROGRAM").await;
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&fake, &[]);
    files(
        folder.path(),
        "[default]\ncredential_process = \"/opt/my keys\" --for ci\n",
        "",
        &mut setup.settings,
    );
    let program = Arc::new(Program(Mutex::default(), AtomicUsize::new(1)));
    setup.programs = program.clone();
    assert_login(&setup.aws(), "AWS (the profile `default`)").await;
    assert_eq!(
        *program.0.lock().unwrap(),
        [["/opt/my keys", "--for", "ci"]]
    );

    program.1.store(2, Ordering::Relaxed);
    insta::assert_snapshot!(password(&setup.aws(), HOST).await.unwrap_err(), @r#"
        AWS gives no login with keys of the profile `default`: `/opt/my keys` gave none: it speaks version 2 of the protocol, not 1
        hint: run `/opt/my keys` by hand to see what it says
        "#);
    setup.programs = Arc::new(NoHelpers);
    insta::assert_snapshot!(password(&setup.aws(), HOST).await.unwrap_err(), @r#"
        AWS gives no login with keys of the profile `default`: `/opt/my keys` gave none: programs can't be run inside the sandbox
        hint: run `/opt/my keys` by hand to see what it says
        "#);
}

#[tokio::test]
async fn containers_and_instances_ask_next_door() {
    let fake = stand_in("ASIANEAR").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "token-of-container\n").unwrap();
    let url = format!("http://{}/v1/credentials", fake.host());
    let container = Setup::new(
        &fake,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
            (
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                file.to_str().unwrap(),
            ),
        ],
    );
    assert_login(&container.aws(), "AWS (the container's role)").await;
    assert_eq!(fake.lines(), ["GET /v1/credentials", "POST /"]);

    let base = format!("http://{}", fake.host());
    let instance = Setup::new(&fake, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &base)]);
    assert_login(&instance.aws(), "AWS (the instance's role)").await;
    assert_eq!(
        fake.lines()[2..],
        [
            "PUT /latest/api/token",
            "GET /latest/meta-data/iam/security-credentials/",
            "GET /latest/meta-data/iam/security-credentials/my-role",
            "POST /",
        ]
    );
}

/// Returns what is said if the service answers so, and how often it was asked.
async fn refusal(reply: Reply) -> (String, usize) {
    let fake = Fake::start(move |_| reply.clone()).await;
    let aws = Setup::new(&fake, &KEYS).aws();
    let said = password(&aws, HOST).await.unwrap_err();
    // A second look-up does not ask again at once.
    assert_eq!(password(&aws, HOST).await.unwrap_err(), said);
    (said.replace(&fake.host(), "HOST"), fake.lines().len())
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let refused =
        |kind: &str, message: &str| Reply::json(400, &json!({"__type": kind, "message": message}));
    let at = |time: &'static str, reply: Reply| reply.header("date", time.to_owned());
    let mut all = String::new();
    for reply in [
        at(
            "Wed, 25 Nov 2026 12:00:30 GMT",
            refused(
                "AccessDeniedException",
                "User: u is not authorized to perform: ecr:GetAuthorizationToken",
            ),
        ),
        at(
            "Wed, 25 Nov 2026 12:12:00 GMT",
            refused(
                "InvalidSignatureException",
                "Signature expired: 1 is now earlier than 2",
            ),
        ),
        at(
            "Wed, 25 Nov 2026 12:00:01 GMT",
            refused(
                "InvalidSignatureException",
                "The request signature we calculated does not match",
            ),
        ),
        at(
            "Wed, 25 Nov 2026 12:00:01 GMT",
            refused(
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
        ),
        refused(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        refused("ThrottlingException", "Rate exceeded"),
        Reply::new(503, "<html>try later</html>"),
        Reply::json(
            200,
            &json!({"authorizationData": [{"authorizationToken": "!"}]}),
        ),
        Reply::new(200, "secret-of-answer"),
        Reply::new(302, "").header("location", "http://127.0.0.1:1/".to_owned()),
    ] {
        let (said, asked) = refusal(reply).await;
        all.push_str(&format!("{said}\n{asked}\n\n"));
    }
    insta::assert_snapshot!(all, @r#"
        AWS gives no login with keys of the environment: HOST answered 400 to ecr:GetAuthorizationToken: AccessDeniedException (User: u is not authorized to perform: ecr:GetAuthorizationToken)
        hint: allow `ecr:GetAuthorizationToken` to these keys; for roles, check the trust policy
        1

        AWS gives no login with keys of the environment: HOST answered 400 to ecr:GetAuthorizationToken: InvalidSignatureException (Signature expired: 1 is now earlier than 2); this machine's clock is 720 s behind that of AWS
        hint: set this machine's clock: signatures are valid for five minutes
        1

        AWS gives no login with keys of the environment: HOST answered 400 to ecr:GetAuthorizationToken: InvalidSignatureException (The request signature we calculated does not match)
        hint: check the secret access key: it is not the one of this access key id
        1

        AWS gives no login with keys of the environment: HOST answered 400 to ecr:GetAuthorizationToken: ExpiredTokenException (The security token included in the request is expired)
        hint: get new temporary keys: these have ended
        1

        AWS gives no login with keys of the environment: HOST answered 400 to ecr:GetAuthorizationToken: UnrecognizedClientException (The security token included in the request is invalid.)
        hint: check the access key id, the session token, and that the account may use this region
        1

        AWS gives no login with keys of the environment: HOST answered 400 to ecr:GetAuthorizationToken: ThrottlingException (Rate exceeded)
        hint: run again later: the service is busy
        3

        AWS gives no login with keys of the environment: HOST answered 503 to ecr:GetAuthorizationToken: no reason given
        hint: run again later: the service is busy
        3

        AWS gives no login with keys of the environment: HOST sent something else than a login
        hint: look at what answers for HOST: a proxy may stand in for the service
        1

        AWS gives no login with keys of the environment: HOST sent something else than a login
        hint: look at what answers for HOST: a proxy may stand in for the service
        1

        AWS gives no login with keys of the environment: HOST answered 302 to ecr:GetAuthorizationToken: no reason given
        hint: look at what answers for HOST: a proxy may stand in for the service
        1
        "#);
}

#[tokio::test]
async fn the_registrys_error_carries_the_reason_and_the_hint() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/" => Reply::json(400, &json!({"__type": "AccessDeniedException"})),
        _ => Reply::new(401, "").header("www-authenticate", "Basic realm=\"r\"".to_owned()),
    })
    .await;
    let setup = Setup::new(&fake, &[KEYS[0], KEYS[1], ("AWS_REGION", "eu-central-1")]);
    let aws = setup.aws().for_hosts([fake.host()]);
    let http = net::Client::new(net::Config::default()).unwrap();
    let transport = Transport::new(Config {
        credentials: Credentials::new([], vec![Source::Aws(aws)]),
        ..Config::new(http, Clock::fixed(Timestamp::UNIX_EPOCH))
    });
    let client = super::super::Client { transport };
    let repository = super::super::Repository {
        registry: fake.host(),
        path: "acme/web".into(),
    };
    let selector = super::super::Selector::Tag("v1".into());
    let error = client.manifest(&repository, &selector).await.unwrap_err();
    let said = format!("{error}\nhint: {}", error.hint().unwrap());
    insta::assert_snapshot!(said.replace(&fake.host(), "HOST"), @r#"
        HOST needs a login: AWS gives no login with keys of the environment: HOST answered 400 to ecr:GetAuthorizationToken: AccessDeniedException
        hint: allow `ecr:GetAuthorizationToken` to these keys; for roles, check the trust policy
        "#);
}

#[tokio::test]
async fn passwords_come_over_tls_or_from_this_machine() {
    let fake = stand_in("AKIAEXAMPLE").await;
    for (variable, url) in [
        ("AWS_ENDPOINT_URL", "http://ecr.corp.example"),
        ("AWS_ENDPOINT_URL_ECR", "ftp://127.0.0.1"),
        ("AWS_ENDPOINT_URL_ECR", "ecr"),
    ] {
        let setup = Setup::new(&fake, &[KEYS[0], KEYS[1], (variable, url)]);
        let said = password(&setup.aws(), HOST).await.unwrap_err();
        assert!(
            said.contains(&format!("{variable} can't be used")),
            "{said}"
        );
    }
    assert!(fake.lines().is_empty());
}

#[tokio::test]
async fn what_a_look_up_touches_is_known_before() {
    let fake = stand_in("AKIAEXAMPLE").await;
    let folder = tempfile::tempdir().unwrap();
    let needs = |variables: &[(&'static str, &str)], config: &str| {
        let mut setup = Setup::new(&fake, variables);
        setup.settings.variables.remove("AWS_ENDPOINT_URL");
        files(folder.path(), config, "", &mut setup.settings);
        let credentials = Credentials::new([], vec![Source::Aws(setup.aws())]);
        assert_eq!(credentials.needs("ghcr.io"), []);
        let mut lines: BTreeMap<String, ()> = BTreeMap::new();
        for need in credentials.needs(HOST) {
            let line = match need {
                Need::File(path) => format!("file {}", path.file_name().unwrap().display()),
                Need::Host { host, port } => format!("host {host}:{port}"),
                Need::Helper { name, .. } => format!("helper {name}"),
                Need::Program(program) => format!("program {program}"),
                Need::Variable(name) => format!("variable {name}"),
            };
            lines.insert(line, ());
        }
        let lines: Vec<String> = lines.into_keys().collect();
        lines.join(", ")
    };
    let all = [
        needs(&KEYS, ""),
        needs(
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t/token"),
                ("AWS_ROLE_ARN", "r"),
                ("AWS_REGION", "eu-west-1"),
            ],
            "",
        ),
        needs(
            &[("AWS_PROFILE", "p")],
            "[profile p]\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n",
        ),
        needs(&[], "[default]\ncredential_process = keys --x\n"),
        needs(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")], ""),
        needs(&[("AWS_EC2_METADATA_DISABLED", "true")], ""),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
        file config, file credentials, host api.ecr.eu-central-1.amazonaws.com:443, variable AWS_ACCESS_KEY_ID, variable AWS_SECRET_ACCESS_KEY
        file config, file credentials, file token, host api.ecr.eu-central-1.amazonaws.com:443, host sts.eu-west-1.amazonaws.com:443, variable AWS_REGION, variable AWS_ROLE_ARN, variable AWS_WEB_IDENTITY_TOKEN_FILE
        file config, file credentials, host 169.254.169.254:80, host api.ecr.eu-central-1.amazonaws.com:443, host sts.eu-central-1.amazonaws.com:443, variable AWS_PROFILE
        file config, file credentials, host api.ecr.eu-central-1.amazonaws.com:443, program keys
        file config, file credentials, host 169.254.170.2:80, host api.ecr.eu-central-1.amazonaws.com:443, variable AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
        file config, file credentials, host api.ecr.eu-central-1.amazonaws.com:443, variable AWS_EC2_METADATA_DISABLED
        "#);
}
