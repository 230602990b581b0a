use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn login() -> Login {
    Login {
        username: "ci".into(),
        password: "open: sesame".into(),
    }
}

fn basic(login: &str) -> String {
    format!("Basic {}", STANDARD.encode(login))
}

fn tokens(anonymous_pull: bool, lifetime: Duration) -> Auth {
    Auth::Token {
        login: login(),
        lifetime,
        anonymous_pull,
    }
}

async fn token(registry: &Registry, scope: &str, authorization: Option<&str>) -> Answer {
    let path = format!("/token?service=playground&scope={scope}");
    let headers: Vec<_> = authorization
        .iter()
        .map(|value| ("authorization", *value))
        .collect();
    registry.send("GET", &path, &headers, "").await
}

async fn bearer(registry: &Registry, scope: &str, authorization: Option<&str>) -> String {
    let answer = token(registry, scope, authorization).await.json();
    assert_eq!(answer["token"], answer["access_token"]);
    format!("Bearer {}", answer["token"].as_str().unwrap())
}

#[tokio::test]
async fn a_password_with_every_request() {
    let registry = start(|config| config.auth = Auth::Basic(login())).await;
    for (authorization, status) in [
        ("", 401),
        (basic("ci:open: sesame").as_str(), 200),
        (&basic("ci:open: sesam"), 401),
        (&basic("ci"), 401),
        ("Basic ???", 401),
        ("Bearer x", 401),
        ("Basic", 401),
    ] {
        let headers = [("authorization", authorization)];
        let answer = registry.send("GET", "/v2/", &headers, "").await;
        assert_eq!(answer.status, status, "{authorization}");
        if status == 401 {
            assert_eq!(answer.code(), "UNAUTHORIZED");
            assert_eq!(
                answer.header("www-authenticate"),
                "Basic realm=\"playground\""
            );
        }
    }
}

#[tokio::test]
async fn tokens_allow_what_they_were_issued_for() {
    let registry = start(|config| {
        config.auth = tokens(true, Duration::from_secs(60));
    })
    .await;
    registry.put_blob("a", "x").unwrap();
    let login = basic("ci:open: sesame");

    let answer = registry.get("/v2/a/tags/list").await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("www-authenticate"),
        format!(
            r#"Bearer realm="http://{}/token",service="playground",scope="repository:a:pull""#,
            registry.address()
        )
    );
    let answer = registry.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains("repository:a:pull,push"), "{challenge}");

    let anonymous = bearer(&registry, "repository:a:pull,push", None).await;
    let trusted = bearer(&registry, "repository:a:pull,push", Some(&login)).await;
    let two = bearer(
        &registry,
        "repository:a:pull%20repository:b:pull&scope=registry:catalog:*",
        Some(&login),
    )
    .await;
    for (token, method, path, status) in [
        (&anonymous, "GET", "/v2/", 200),
        (&anonymous, "GET", "/v2/a/tags/list", 200),
        (&anonymous, "GET", "/v2/b/tags/list", 401),
        (&anonymous, "POST", "/v2/a/blobs/uploads/", 401),
        (&anonymous, "GET", "/v2/_catalog", 401),
        (&trusted, "POST", "/v2/a/blobs/uploads/", 202),
        (&trusted, "DELETE", "/v2/a/manifests/v1", 401),
        (&two, "GET", "/v2/a/tags/list", 200),
        (&two, "GET", "/v2/b/tags/list", 404),
        (&two, "GET", "/v2/_catalog", 200),
    ] {
        let headers = [("authorization", token.as_str())];
        let answer = registry.send(method, path, &headers, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        if status == 401 {
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("error=\"insufficient_scope\""));
        }
    }

    let wrong = basic("ci:wrong");
    assert_eq!(
        token(&registry, "repository:a:pull", Some(&wrong))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn nobody_gets_a_token_where_a_login_is_wanted() {
    let registry = start(|config| {
        config.auth = tokens(false, Duration::from_secs(60));
    })
    .await;
    let answer = token(&registry, "repository:a:pull", None).await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("www-authenticate"),
        "Basic realm=\"playground\""
    );
}

#[tokio::test]
async fn mounting_needs_the_right_to_pull_from_there() {
    let registry = start(|config| {
        config.auth = tokens(false, Duration::from_secs(60));
    })
    .await;
    let digest = registry.put_blob("a", "x").unwrap();
    let login = basic("ci:open: sesame");
    let only_b = bearer(&registry, "repository:b:pull,push", Some(&login)).await;
    let both = bearer(
        &registry,
        "repository:b:pull,push&scope=repository:a:pull",
        Some(&login),
    )
    .await;
    let path = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    let anywhere = format!("/v2/b/blobs/uploads/?mount={digest}");
    for (token, path, status) in [
        (&only_b, &path, 202),
        (&only_b, &anywhere, 202),
        (&both, &path, 201),
    ] {
        let headers = [("authorization", token.as_str())];
        let answer = registry.send("POST", path, &headers, "").await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn tokens_expire() {
    let registry = start(|config| {
        config.auth = tokens(true, Duration::ZERO);
    })
    .await;
    let token = bearer(&registry, "repository:a:pull", None).await;
    let headers = [("authorization", token.as_str())];
    let answer = registry.send("GET", "/v2/a/tags/list", &headers, "").await;
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[test]
fn passwords_are_not_shown() {
    let config = Config {
        auth: Auth::Basic(login()),
        ..Config::default()
    };
    let shown = format!("{config:?} {:?}", login());
    assert!(!shown.contains("sesame"), "{shown}");
}

#[tokio::test]
async fn answers_can_be_held_back() {
    let registry = start(|config| config.delay = Duration::from_millis(30)).await;
    let before = tokio::time::Instant::now();
    registry.get("/v2/").await;
    assert!(before.elapsed() >= Duration::from_millis(30));
}
