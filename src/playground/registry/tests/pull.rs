use super::*;

#[tokio::test]
async fn the_base_says_that_it_is_a_registry() {
    let registry = start(|_| ()).await;
    for (method, path) in [("GET", "/v2/"), ("HEAD", "/v2/"), ("GET", "/v2")] {
        let answer = registry.send(method, path, &[], "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            "registry/2.0"
        );
    }
}

#[tokio::test]
async fn manifests_come_as_they_were_put() {
    let registry = start(|_| ()).await;
    let manifest = manifest(&registry, "acme/web", "application/x").to_string();
    let digest = registry
        .put_manifest("acme/web", Some("v1"), MANIFEST, manifest.clone())
        .unwrap();
    for reference in ["v1", &digest.to_string()] {
        let path = format!("/v2/acme/web/manifests/{reference}");
        let answer = registry.get(&path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, manifest);
        assert_eq!(answer.header("content-type"), MANIFEST);
        assert_eq!(answer.header("docker-content-digest"), digest.to_string());

        let head = registry.send("HEAD", &path, &[], "").await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), manifest.len().to_string());
        assert_eq!(head.header("content-type"), MANIFEST);
        assert!(head.body.is_empty());
    }
    let bytes: Vec<_> = registry.exchanges().iter().map(|got| got.bytes).collect();
    let length = manifest.len() as u64;
    assert_eq!(bytes, [length, 0, length, 0]);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let registry = start(|_| ()).await;
    registry.put_blob("acme/web", "x").unwrap();
    let absent = Digest::of(b"absent");
    for (path, code) in [
        ("/v2/acme/web/manifests/v1".into(), "MANIFEST_UNKNOWN"),
        ("/v2/acme/web/manifests/.bad".into(), "MANIFEST_UNKNOWN"),
        (
            format!("/v2/acme/web/manifests/{absent}"),
            "MANIFEST_UNKNOWN",
        ),
        ("/v2/acme/other/manifests/v1".into(), "NAME_UNKNOWN"),
        ("/v2/acme/other/tags/list".into(), "NAME_UNKNOWN"),
        (format!("/v2/acme/web/blobs/{absent}"), "BLOB_UNKNOWN"),
        (format!("/v2/acme/other/blobs/{absent}"), "BLOB_UNKNOWN"),
        (
            "/v2/acme/web/blobs/uploads/00".into(),
            "BLOB_UPLOAD_UNKNOWN",
        ),
        ("/v2/acme/web/nothing".into(), "UNSUPPORTED"),
        ("/token".into(), "UNSUPPORTED"),
    ] {
        let answer = registry.get(&path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, code),
            "{path}"
        );
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn methods_that_an_endpoint_lacks_are_listed() {
    let registry = start(|_| ()).await;
    let blob = format!("/v2/a/blobs/{}", Digest::of(b""));
    for (method, path, allow) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("HEAD", "/v2/_catalog", "GET"),
        ("PUT", "/v2/a/tags/list", "GET"),
        ("PATCH", "/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE"),
        ("PUT", &blob, "GET, HEAD, DELETE"),
        ("GET", "/v2/a/blobs/uploads/", "POST"),
        ("POST", "/v2/a/blobs/uploads/1", "GET, PATCH, PUT, DELETE"),
        ("BREW", "/v2/a/tags/list", "GET"),
    ] {
        let answer = registry.send(method, path, &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, allow));
        assert!(method == "HEAD" || answer.code() == "UNSUPPORTED");
    }
}

#[tokio::test]
async fn ranges_of_a_blob() {
    let registry = start(|_| ()).await;
    let digest = registry.put_blob("a", "0123456789").unwrap();
    let path = format!("/v2/a/blobs/{digest}");
    for (range, status, body, content_range) in [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=7-100", 206, "789", "bytes 7-9/10"),
        ("bytes=9-9", 206, "9", "bytes 9-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-100", 206, "0123456789", "bytes 0-9/10"),
        (
            "bytes=5-99999999999999999999999",
            206,
            "56789",
            "bytes 5-9/10",
        ),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=99999999999999999999999-", 416, "", "bytes */10"),
        ("bytes=-0", 416, "", "bytes */10"),
        ("bytes=3-1", 200, "0123456789", ""),
        ("bytes=0-1,4-5", 200, "0123456789", ""),
        ("bytes=a-b", 200, "0123456789", ""),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let answer = registry.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(answer.status, status, "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
        if status != 416 {
            assert_eq!(answer.body, body, "{range}");
            assert_eq!(answer.header("accept-ranges"), "bytes");
        }
    }
    let etag = registry.get(&path).await.header("etag").to_owned();
    for (if_range, status) in [(etag.as_str(), 206), ("\"other\"", 200)] {
        let headers = [("range", "bytes=1-"), ("if-range", if_range)];
        let answer = registry.send("GET", &path, &headers, "").await;
        assert_eq!(answer.status, status);
    }
    let head = registry
        .send("HEAD", &path, &[("range", "bytes=1-")], "")
        .await;
    assert_eq!((head.status, head.header("content-length")), (200, "10"));
}

#[tokio::test]
async fn an_empty_blob_has_no_ranges() {
    let registry = start(|_| ()).await;
    let digest = registry.put_blob("a", "").unwrap();
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.get(&path).await.status, 200);
    for range in ["bytes=0-", "bytes=-1"] {
        let answer = registry.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(answer.status, 416);
    }
}
