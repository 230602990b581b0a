use super::content::MAX_MANIFEST;
use super::*;

#[tokio::test]
async fn paths_that_try_to_leave() {
    let registry = start(|_| ()).await;
    for path in [
        "/v2/../../etc/passwd/manifests/v1",
        "/v2/a/../b/manifests/v1",
        "/v2/%2e%2e/%2e%2e/manifests/v1",
        "/v2/a%2f..%2fb/tags/list",
        "/v2/a%00b/tags/list",
        "/v2/a%ffb/tags/list",
        "/v2/a%zz/tags/list",
        "/v2/A/tags/list",
        "/v2//tags/list",
        "/v2/./tags/list",
    ] {
        let answer = registry.get(path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "NAME_INVALID"),
            "{path}"
        );
    }
    for digest in [
        "sha256:..",
        "sha256:",
        "sha256:ABCDEF",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "nothing",
        "%2e%2e",
    ] {
        for kind in ["blobs", "referrers"] {
            let answer = registry.get(&format!("/v2/a/{kind}/{digest}")).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, "DIGEST_INVALID"),
                "{kind}/{digest}"
            );
        }
    }
    // An escaped slash is a slash, as in every registry written in Go.
    registry.put_blob("a/b", "x").unwrap();
    assert_eq!(registry.get("/v2/a%2Fb/tags/list").await.status, 200);
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let registry = start(|_| ()).await;
    let long = "a".repeat(300_000);
    for (request, answer) in [
        (
            format!("GET /v2/{long}/tags/list HTTP/1.1\r\nhost: a\r\n\r\n"),
            &["HTTP/1.1 414", "HTTP/1.1 431"][..],
        ),
        (
            format!("GET /v2/ HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
            &["HTTP/1.1 431"],
        ),
        (
            format!("GET /v2/ HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000)),
            &["HTTP/1.1 431"],
        ),
        (
            "GET /v2/ HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n".into(),
            &["HTTP/1.1 400"],
        ),
        ("nonsense\r\n\r\n".into(), &["HTTP/1.1 400"]),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            &["HTTP/1.1 400", "HTTP/1.1 505"],
        ),
        (
            "GET * HTTP/1.1\r\nhost: a\r\n\r\n".into(),
            &["HTTP/1.1 404"],
        ),
    ] {
        let line = send_raw(registry.address(), request.as_bytes()).await;
        // A connection that is closed without a word is an answer too, if nothing else is known of the request.
        let known = line.is_empty() || answer.iter().any(|answer| line.starts_with(answer));
        assert!(known, "{request:.40} -> {line}");
    }
    // And it still serves.
    assert_eq!(registry.get("/v2/").await.status, 200);
}

#[tokio::test]
async fn a_manifest_has_a_largest_size() {
    let registry = start(|_| ()).await;
    let base = json!({"mediaType": MANIFEST, "annotations": {"x": ""}});
    let room = MAX_MANIFEST - base.to_string().len();
    let sized = |length: usize| {
        let mut manifest = base.clone();
        manifest["annotations"]["x"] = "x".repeat(length).into();
        manifest
    };
    let largest = registry
        .push("/v2/a/manifests/v1", MANIFEST, &sized(room))
        .await;
    assert_eq!(largest.status, 201);
    let larger = registry
        .push("/v2/a/manifests/v2", MANIFEST, &sized(room + 1))
        .await;
    assert_eq!(
        (larger.status, larger.code().as_str()),
        (413, "MANIFEST_INVALID")
    );
}

#[tokio::test]
async fn a_blob_has_a_largest_size() {
    let registry = start(|config| config.max_blob = 10).await;
    let upload = async |body: &'static str| {
        let digest = Digest::of(body.as_bytes());
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        registry.send("POST", &path, &[], body).await
    };
    assert_eq!(upload("0123456789").await.status, 201);
    let answer = upload("0123456789a").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "SIZE_INVALID")
    );

    let started = registry.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
    let location = started.header("location");
    assert_eq!(
        registry
            .send("PATCH", location, &[], "01234567")
            .await
            .status,
        202
    );
    let answer = registry.send("PATCH", location, &[], "89a").await;
    assert_eq!(answer.status, 413);
    // It could never be finished, so its memory is free again.
    assert_eq!(registry.get(location).await.status, 404);
}

#[tokio::test]
async fn everything_together_has_a_limit() {
    let registry = start(|config| config.max_total = 2000).await;
    registry.put_blob("a", vec![1; 1500]).unwrap();
    let refusal = registry.put_blob("a", vec![2; 500]).unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code),
        (StatusCode::FORBIDDEN, Code::Denied)
    );
    let used = registry.shared.store.used();

    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&[3; 500]));
    let answer = registry.send("POST", &path, &[], vec![3; 500]).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"));
    let started = registry.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
    let answer = registry
        .send("PATCH", started.header("location"), &[], vec![3; 500])
        .await;
    assert_eq!(answer.status, 403);
    assert_eq!(registry.shared.store.used(), used);

    // The same bytes again cost nothing, in another repository neither but for its name.
    registry.put_blob("a", "small").unwrap();
    let before = registry.shared.store.used();
    registry.put_blob("a", "small").unwrap();
    assert_eq!(registry.shared.store.used(), before);

    let path = format!("/v2/a/blobs/{}", Digest::of(&[1; 1500]));
    registry.send("DELETE", &path, &[], "").await;
    registry.put_blob("a", vec![2; 500]).unwrap();
}

#[tokio::test]
async fn uploads_that_nobody_finishes_have_a_limit() {
    let registry = start(|_| ()).await;
    for number in 0..1000 {
        registry
            .shared
            .store
            .open_upload("a", &number.to_string())
            .unwrap();
    }
    let answer = registry.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (429, "TOOMANYREQUESTS")
    );
}

#[tokio::test]
async fn names_are_checked_without_requests_too() {
    let registry = start(|_| ()).await;
    let refusal = registry.put_blob("../a", "x").unwrap_err();
    assert_eq!(refusal.code, Code::NameInvalid);
    let refusal = registry
        .put_manifest("a", Some(".."), MANIFEST, "{}")
        .unwrap_err();
    assert_eq!(refusal.code, Code::ManifestInvalid);
}
