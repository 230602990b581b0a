use super::*;

async fn open(registry: &Registry, repository: &str) -> String {
    let path = format!("/v2/{repository}/blobs/uploads/");
    let answer = registry.send("POST", &path, &[], "").await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("range"), "0-0");
    answer.header("location").to_owned()
}

#[tokio::test]
async fn a_blob_in_chunks() {
    let registry = start(|_| ()).await;
    let location = open(&registry, "a").await;
    let patch = async |range: &str, body: &'static str| {
        let headers = [("content-range", range)];
        registry.send("PATCH", &location, &headers, body).await
    };
    let answer = patch("0-4", "01234").await;
    assert_eq!((answer.status, answer.header("range")), (202, "0-4"));
    assert_eq!(answer.header("location"), location);

    for (range, body, status) in [
        ("0-4", "01234", 416),
        ("6-7", "67", 416),
        ("bytes 5-6/10", "56", 416),
        ("5-", "5", 416),
        ("7-5", "56", 416),
        ("5-+7", "567", 416),
        ("5-99999999999999999999", "5", 416),
        ("5-18446744073709551615", "5", 400),
        ("5-9", "56", 400),
    ] {
        let answer = patch(range, body).await;
        assert_eq!(answer.status, status, "{range}");
        if status == 416 {
            assert_eq!(answer.code(), "BLOB_UPLOAD_INVALID");
            assert_eq!(answer.header("range"), "0-4");
            assert_eq!(answer.header("location"), location);
        } else {
            assert_eq!(answer.code(), "SIZE_INVALID");
        }
    }

    let status = registry.get(&location).await;
    assert_eq!((status.status, status.header("range")), (204, "0-4"));

    let digest = Digest::of(b"0123456789");
    let path = format!("{location}?digest={digest}");
    let headers = [("content-range", "5-9")];
    let answer = registry.send("PUT", &path, &headers, "56789").await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("docker-content-digest"), digest.to_string());
    let blob = registry.get(answer.header("location")).await;
    assert_eq!((blob.status, &blob.body[..]), (200, &b"0123456789"[..]));
    assert_eq!(registry.get(&location).await.code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_chunk_that_breaks_its_promise_is_not_kept() {
    let registry = start(|_| ()).await;
    let location = open(&registry, "a").await;
    let request = format!(
        "PATCH {location} HTTP/1.1\r\nhost: a\r\ncontent-range: 0-9\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    let answer = send_raw(registry.address(), request.as_bytes()).await;
    assert_eq!(answer, "HTTP/1.1 400 Bad Request");
    assert_eq!(registry.get(&location).await.header("range"), "0-0");
    assert_eq!(registry.shared.store.used(), 0);
}

#[tokio::test]
async fn a_broken_upload_goes_on_from_where_it_broke() {
    let registry = start(|_| ()).await;
    let location = open(&registry, "a").await;
    let mut stream = tokio::net::TcpStream::connect(registry.address())
        .await
        .unwrap();
    let request =
        format!("PATCH {location} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    drop(stream);
    // The status waits for the request that holds the upload.
    let mut range = String::new();
    for _ in 0..1000 {
        range = registry.get(&location).await.header("range").to_owned();
        if range == "0-4" {
            break;
        }
    }
    assert_eq!(range, "0-4");
    let path = format!("{location}?digest={}", Digest::of(b"0123456789"));
    assert_eq!(registry.send("PUT", &path, &[], "56789").await.status, 201);
}

#[tokio::test]
async fn a_blob_at_once() {
    let registry = start(|_| ()).await;
    let digest = Digest::of(b"blob");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let answer = registry.send("POST", &path, &[], "blob").await;
    assert_eq!(answer.status, 201);
    assert_eq!(registry.get(answer.header("location")).await.body, "blob");

    let location = open(&registry, "b").await;
    let path = format!("{location}?digest={digest}");
    assert_eq!(registry.send("PUT", &path, &[], "blob").await.status, 201);
    assert_eq!(registry.send("PUT", &path, &[], "blob").await.status, 404);
}

#[tokio::test]
async fn bytes_that_are_not_the_digest() {
    let registry = start(|_| ()).await;
    let digest = Digest::of(b"other");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let answer = registry.send("POST", &path, &[], "blob").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "DIGEST_INVALID")
    );
    let message = answer.json()["errors"][0]["message"].to_string();
    assert!(message.contains(&Digest::of(b"blob").to_string()));

    let location = open(&registry, "a").await;
    for query in ["", "?digest=", "?digest=md5:00", "?digest=sha256:xyz"] {
        let path = format!("{location}{query}");
        let answer = registry.send("PUT", &path, &[], "blob").await;
        assert_eq!(answer.code(), "DIGEST_INVALID", "{query}");
    }
    let path = format!("{location}?digest={digest}");
    assert_eq!(registry.send("PUT", &path, &[], "blob").await.status, 400);
    assert_eq!(registry.get(&location).await.status, 404);
    assert_eq!(registry.shared.store.used(), 0);
}

#[tokio::test]
async fn mounting_and_its_refusal() {
    let registry = start(|_| ()).await;
    let digest = registry.put_blob("a", "blob").unwrap();
    let mount = async |query: String| {
        let path = format!("/v2/b/blobs/uploads/?{query}");
        registry.send("POST", &path, &[], "").await.status
    };
    assert_eq!(mount(format!("mount={digest}&from=c")).await, 202);
    assert_eq!(mount(format!("mount={digest}&from=../a")).await, 201);
    assert_eq!(mount("mount=nothing&from=a".into()).await, 400);
    assert_eq!(mount(format!("mount={digest}&from=a")).await, 201);
    let absent = Digest::of(b"absent");
    assert_eq!(mount(format!("mount={absent}")).await, 202);
    let path = format!("/v2/b/blobs/{digest}");
    assert_eq!(registry.get(&path).await.body, "blob");
    // Gone from where it came from, it stays where it was mounted.
    let other = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.send("DELETE", &other, &[], "").await.status, 202);
    assert_eq!(registry.send("DELETE", &other, &[], "").await.status, 404);
    assert_eq!(registry.get(&path).await.status, 200);
}

#[tokio::test]
async fn cancelling_an_upload() {
    let registry = start(|_| ()).await;
    let location = open(&registry, "a").await;
    registry.send("PATCH", &location, &[], "12345").await;
    assert_eq!(registry.shared.store.used(), 5);
    // It belongs to its repository.
    let elsewhere = location.replace("/v2/a/", "/v2/b/");
    let answer = registry.send("DELETE", &elsewhere, &[], "").await;
    assert_eq!(answer.code(), "BLOB_UPLOAD_UNKNOWN");
    let answer = registry.send("DELETE", &location, &[], "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(registry.get(&location).await.status, 404);
    assert_eq!(registry.shared.store.used(), 0);
}

#[tokio::test]
async fn a_manifest_by_tag_and_by_digest() {
    let registry = start(|_| ()).await;
    let manifest = manifest(&registry, "a", "application/x");
    let digest = Digest::of(manifest.to_string().as_bytes());
    let answer = registry
        .push(
            "/v2/a/manifests/v1",
            &format!("{MANIFEST}; charset=utf-8"),
            &manifest,
        )
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("docker-content-digest"), digest.to_string());
    assert_eq!(answer.header("oci-subject"), "");
    let got = registry.get(answer.header("location")).await;
    assert_eq!((got.status, got.header("content-type")), (200, MANIFEST));

    let by_digest = format!("/v2/a/manifests/{digest}");
    let answer = registry.push(&by_digest, MANIFEST, &manifest).await;
    assert_eq!(answer.status, 201);
    let wrong = format!("/v2/a/manifests/{}", Digest::of(b"wrong"));
    let answer = registry.push(&wrong, MANIFEST, &manifest).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "DIGEST_INVALID")
    );
}

#[tokio::test]
async fn deleting_a_tag_and_a_manifest() {
    let registry = start(|_| ()).await;
    let manifest = manifest(&registry, "a", "application/x");
    let digest = Digest::of(manifest.to_string().as_bytes());
    for tag in ["v1", "v2"] {
        let path = format!("/v2/a/manifests/{tag}");
        registry.push(&path, MANIFEST, &manifest).await;
    }
    let delete = async |reference: &str| {
        let path = format!("/v2/a/manifests/{reference}");
        registry.send("DELETE", &path, &[], "").await.status
    };
    assert_eq!(delete("v1").await, 202);
    assert_eq!(delete("v1").await, 404);
    let by_digest = format!("/v2/a/manifests/{digest}");
    assert_eq!(registry.get(&by_digest).await.status, 200);
    assert_eq!(delete(&digest.to_string()).await, 202);
    assert_eq!(delete(&digest.to_string()).await, 404);
    assert_eq!(registry.get("/v2/a/manifests/v2").await.status, 404);
    let tags = registry.get("/v2/a/tags/list").await.json();
    assert_eq!(tags, json!({"name": "a", "tags": []}));
}

#[tokio::test]
async fn manifests_that_are_refused() {
    let registry = start(|_| ()).await;
    let good = manifest(&registry, "a", "application/x");
    let push = async |content_type: &str, body: String| {
        let headers = [("content-type", content_type)];
        let answer = registry
            .send("PUT", "/v2/a/manifests/v1", &headers, body)
            .await;
        (answer.status, answer.code())
    };
    let invalid = (400, "MANIFEST_INVALID".to_owned());
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        r#"{"layers": 3}"#,
        r#"{"layers": [{}]}"#,
        r#"{"schemaVersion": 1}"#,
        r#"{"subject": {"digest": "sha256:zz"}}"#,
        r#"{"config": {"digest": "../../etc/passwd"}}"#,
        &"[".repeat(100_000),
        &format!("{{\"mediaType\": \"{INDEX}\"}}"),
    ] {
        assert_eq!(push(MANIFEST, body.into()).await, invalid, "{body:.40}");
    }
    // Neither header nor body says what it is.
    assert_eq!(push("", "{}".into()).await, invalid);
    assert_eq!(push(INDEX, good.to_string()).await, invalid);

    let absent = Digest::of(b"absent");
    let descriptor = json!({"mediaType": "application/x", "digest": absent, "size": 6});
    let unknown = (400, "MANIFEST_BLOB_UNKNOWN".to_owned());
    for (field, value) in [
        ("config", descriptor.clone()),
        ("layers", json!([descriptor])),
        ("manifests", json!([descriptor])),
    ] {
        let mut manifest = good.clone();
        manifest[field] = value;
        assert_eq!(push(MANIFEST, manifest.to_string()).await, unknown);
    }
    let mut foreign = good.clone();
    foreign["layers"] = json!([{
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": absent,
        "size": 6,
    }]);
    let answer = registry
        .push("/v2/a/manifests/v1", MANIFEST, &foreign)
        .await;
    assert_eq!(answer.status, 201);
    let answer = registry.push("/v2/a/manifests/-bad", MANIFEST, &good).await;
    assert_eq!(answer.code(), "MANIFEST_INVALID");
}
