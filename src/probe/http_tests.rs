use http::Response;
use http::header::{CONTENT_ENCODING, LOCATION};
use regex::Regex;
use serde_json::json;

use super::*;
use crate::probe::json::Comparison;
use crate::probe::testing::{self, Server, answer, client};

fn probe(settings: HttpSettings) -> HttpProbe {
    HttpProbe::try_new(settings).unwrap()
}

fn contains(text: &str) -> BodyTest {
    BodyTest {
        contains: Some(text.to_owned()),
        matches: None,
    }
}

/// Returns what was found without the time that it took.
fn found(answer: &Answer) -> String {
    let time = Regex::new(r" in [0-9.]+ m?s").unwrap();
    format!(
        "{}: {}",
        answer.value.name(),
        time.replace(&answer.found, " in T")
    )
}

async fn ask(settings: HttpSettings) -> String {
    found(&probe(settings).ask(&client()).await)
}

fn redirect(to: &str) -> Response<http_body_util::Full<bytes::Bytes>> {
    let mut response = answer(302, "");
    response.headers_mut().insert(LOCATION, to.parse().unwrap());
    response
}

#[tokio::test]
async fn statuses_are_compared() {
    let server = Server::start(|heard| answer(heard.target[1..].parse().unwrap(), "")).await;
    let get = |code: &str, status: &str| HttpSettings {
        status: status.parse().unwrap(),
        ..HttpSettings::get(server.url(&format!("/{code}")))
    };
    assert_eq!(ask(get("200", "200")).await, "good: 200 OK in T");
    assert_eq!(ask(get("204", "2xx")).await, "good: 204 No Content in T");
    assert_eq!(
        ask(get("503", "200")).await,
        "bad: 503 Service Unavailable in T, expected 200"
    );
    assert_eq!(
        ask(get("599", "200-399")).await,
        "bad: 599 in T, expected 200-399"
    );
    let answer = probe(get("503", "200")).ask(&client()).await;
    assert_eq!(
        answer.value,
        Value::Bad("503 Service Unavailable, expected 200".to_owned())
    );
    assert!(
        answer
            .timing
            .is_some_and(|timing| timing.first_byte.is_some())
    );
}

#[tokio::test]
async fn method_and_headers_are_sent_and_each_question_has_its_own_connection() {
    let server = Server::start(|_| answer(200, "")).await;
    let mut settings = HttpSettings {
        method: Method::POST,
        ..HttpSettings::get(server.url("/a?b=c#d"))
    };
    settings
        .headers
        .insert("x-env", HeaderValue::from_static("prod"));
    settings.url.set_username("me+you").unwrap();
    settings.url.set_password(Some("p@s&s=w:rd")).unwrap();
    let probe = probe(settings);
    assert_eq!(
        probe.question(),
        format!("POST http://{}/a?b=…", server.address)
    );
    assert_eq!(
        probe.endpoint(),
        ("127.0.0.1".to_owned(), server.address.port())
    );
    assert!(!format!("{probe:?}").contains("p@s"));
    let client = client();
    for _ in 0..3 {
        assert_eq!(probe.ask(&client).await.value, Value::Good);
    }
    assert_eq!(server.connections(), 3);
    let heard = server.heard();
    assert_eq!(
        (heard[0].method.as_str(), heard[0].target.as_str()),
        ("POST", "/a?b=c")
    );
    assert_eq!(heard[0].headers["x-env"], "prod");
    let expected = format!("Basic {}", BASE64_STANDARD.encode("me+you:p@s&s=w:rd"));
    assert_eq!(heard[0].headers["authorization"], expected);
}

#[tokio::test]
async fn bodies_are_searched() {
    let server =
        Server::start(|_| answer(200, "\n  starting…\u{1b}[2J\r\nwait s3cret-token\n")).await;
    let get = || HttpSettings::get(server.url("/"));
    let body = |body| HttpSettings { body, ..get() };
    assert_eq!(ask(body(contains("starting"))).await, "good: 200 OK in T");
    let mut settings = body(contains("ready"));
    let mut token = HeaderValue::from_static("Bearer s3cret-token");
    token.set_sensitive(true);
    settings.headers.insert(AUTHORIZATION, token);
    assert_eq!(
        ask(settings).await,
        "bad: 200 OK in T, body lacks \"ready\", begins with \"starting…\\u{1b}[2J\\r\\nwait ***\""
    );
    let matches = |pattern: &str| BodyTest {
        contains: None,
        matches: Some(Regex::new(pattern).unwrap()),
    };
    assert_eq!(ask(body(matches("wait s3.*"))).await, "good: 200 OK in T");
    assert_eq!(
        ask(body(matches("^ready$"))).await,
        "bad: 200 OK in T, body does not match \"^ready$\", begins with \"starting…\\u{1b}[2J\\r\\nwait s3cret-token\""
    );
    let server = Server::start(|_| answer(200, " \n")).await;
    let empty = HttpSettings {
        body: contains("x"),
        ..HttpSettings::get(server.url("/"))
    };
    assert_eq!(
        ask(empty).await,
        "bad: 200 OK in T, body lacks \"x\", is empty"
    );
}

#[tokio::test]
async fn json_is_looked_into() {
    let server = Server::start(|_| answer(200, r#"{"status": "starting", "queue": 7}"#)).await;
    let get = |path: &str, comparison| HttpSettings {
        json: vec![JsonTest::try_new(path, vec![comparison]).unwrap()],
        ..HttpSettings::get(server.url("/"))
    };
    assert_eq!(
        ask(get("$.queue", Comparison::Below(8.0))).await,
        "good: 200 OK in T"
    );
    assert_eq!(
        ask(get("$.status", Comparison::Equals(json!("ok")))).await,
        "bad: 200 OK in T, $.status is \"starting\", expected \"ok\""
    );
}

#[tokio::test]
async fn what_may_be_in_an_unread_rest_is_unknown() {
    let server = Server::start(|heard| {
        let mut response = answer(200, format!("ready {}", "x".repeat(200_000)));
        if heard.target == "/gzip" {
            response
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    })
    .await;
    let get = |path: &str, body| HttpSettings {
        body,
        ..HttpSettings::get(server.url(path))
    };
    assert_eq!(ask(get("/", contains("ready"))).await, "good: 200 OK in T");
    assert_eq!(
        ask(get("/", contains("done"))).await,
        "unknown: 200 OK in T, body lacks \"done\" in its first 65536 bytes: raise `max-body`"
    );
    let json = vec![JsonTest::try_new("$.a", vec![Comparison::Exists(true)]).unwrap()];
    assert_eq!(
        ask(HttpSettings {
            json,
            ..get("/", BodyTest::default())
        })
        .await,
        "unknown: 200 OK in T, no JSON ends in its first 65536 bytes: raise `max-body`"
    );
    assert_eq!(
        ask(get("/gzip", contains("ready"))).await,
        "unknown: 200 OK in T, but the body is encoded as `gzip`, which can't be read"
    );
    // A body of which nothing is asked is not waited for.
    assert_eq!(
        ask(get("/gzip", BodyTest::default())).await,
        "good: 200 OK in T"
    );
}

#[tokio::test]
async fn redirects_are_followed_without_secrets_or_refused() {
    let other = Server::start(|_| answer(200, "")).await;
    let to = other.url("/there").to_string();
    let server = Server::start(move |heard| match heard.target.as_str() {
        "/away" => redirect(&to),
        "/loop" => redirect("/loop"),
        "/ftp" => redirect("ftp://h/?sig=s3cret"),
        "/hop" => redirect("/end"),
        "/nowhere" => answer(302, ""),
        _ => answer(200, ""),
    })
    .await;
    let get = |path: &str| {
        let mut settings = HttpSettings::get(server.url(path));
        let mut key = HeaderValue::from_static("s3cret");
        key.set_sensitive(true);
        settings.headers.insert("x-api-key", key);
        settings
    };
    assert_eq!(ask(get("/hop")).await, "good: 200 OK after 1 redirect in T");
    assert_eq!(
        server.heard().last().unwrap().headers["x-api-key"],
        "s3cret"
    );
    assert_eq!(
        ask(get("/away")).await,
        "good: 200 OK after 1 redirect in T"
    );
    assert!(!other.heard()[0].headers.contains_key("x-api-key"));
    assert_eq!(
        ask(get("/loop")).await,
        format!(
            "bad: 302 Found after 5 redirects in T, more than 5 redirects, the last to {}",
            server.url("/loop")
        )
    );
    assert_eq!(
        ask(get("/ftp")).await,
        "bad: 302 Found in T, redirects to `ftp://h/?sig=…`, which is not http or https"
    );
    assert_eq!(
        ask(get("/nowhere")).await,
        "bad: 302 Found in T, expected 2xx"
    );
    let refuse = HttpSettings {
        redirects: Redirects::Refuse,
        ..get("/hop")
    };
    assert_eq!(
        ask(refuse.clone()).await,
        "bad: 302 Found in T, expected 2xx"
    );
    let as_wanted = HttpSettings {
        status: "302".parse().unwrap(),
        ..refuse
    };
    assert_eq!(ask(as_wanted).await, "good: 302 Found in T");
}

#[tokio::test]
async fn a_redirect_to_where_no_grant_leads_is_unknown() {
    let server = Server::start(|_| redirect("http://127.0.0.2:1/")).await;
    let grants =
        net::Grants::only([net::Grant::try_new("127.0.0.1", server.address.port()).unwrap()]);
    let config = net::Config {
        grants,
        system_roots: false,
        ..net::Config::default()
    };
    let client = net::Client::new(config).unwrap();
    let answer = probe(HttpSettings::get(server.url("/"))).ask(&client).await;
    assert_eq!(
        answer.value,
        Value::Unknown("no grant for 127.0.0.2:1".to_owned())
    );
}

#[tokio::test]
async fn services_that_do_not_answer_are_bad() {
    let get = |address: std::net::SocketAddr| {
        HttpSettings::get(format!("http://{address}/").parse().unwrap())
    };
    let closed = testing::closed().await;
    assert_eq!(
        ask(get(closed)).await,
        format!("bad: {closed} refused the connection")
    );
    let mute = testing::raw(b"", false).await;
    assert!(ask(get(mute)).await.starts_with(&format!(
        "bad: {mute} closed the connection before the first byte"
    )));
    let nonsense = testing::raw(b"SSH-2.0-x\r\n", false).await;
    assert!(
        ask(get(nonsense))
            .await
            .starts_with(&format!("bad: {nonsense} sent no valid HTTP/1.1 answer"))
    );
    let torn = testing::raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nready",
        false,
    )
    .await;
    let settings = HttpSettings {
        body: contains("steady"),
        ..get(torn)
    };
    assert!(ask(settings).await.starts_with("bad: the body of "));
}

#[tokio::test]
async fn a_slow_service_is_bad_when_its_time_is_over() {
    let short = Duration::from_millis(40);
    let get = |address: std::net::SocketAddr| HttpSettings {
        timeout: short,
        ..HttpSettings::get(format!("http://{address}/").parse().unwrap())
    };
    let silent = testing::listening().await;
    let found = ask(get(silent)).await;
    assert!(
        found.starts_with("bad: ") && found.contains("before the first byte"),
        "{found}"
    );
    let stalled = testing::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nready", true).await;
    let settings = HttpSettings {
        body: contains("steady"),
        ..get(stalled)
    };
    let found = ask(settings).await;
    assert!(found.starts_with("bad: "), "{found}");
}

#[test]
fn probes_that_could_never_be_good_are_refused() {
    let get = |url: &str| HttpSettings::get(url.parse().unwrap());
    let refused = |settings| {
        let error = HttpProbe::try_new(settings).unwrap_err();
        assert!(!error.hint().is_empty());
        error.to_string()
    };
    assert_eq!(refused(get("ftp://h/")), "`ftp` is not http or https");
    assert_eq!(refused(get("data:x")), "`data` is not http or https");
    let zero = HttpSettings {
        timeout: Duration::ZERO,
        ..get("http://h/")
    };
    assert_eq!(refused(zero), "`timeout` is nought");
    let head = HttpSettings {
        method: Method::HEAD,
        body: contains("x"),
        ..get("http://h/")
    };
    assert_eq!(refused(head), "the answer to HEAD has no body to test");
    let none = HttpSettings {
        max_body: 0,
        body: contains("x"),
        ..get("http://h/")
    };
    assert_eq!(refused(none), "`max-body` is 0, but the body is tested");
    let v6 = HttpProbe::try_new(get("http://[::1]:8/")).unwrap();
    assert_eq!(v6.endpoint(), ("::1".to_owned(), 8));
}
