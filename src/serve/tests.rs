use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::net;
use crate::oci::Descriptor;

fn put(cache: &Cache, kind: &str, bytes: &[u8]) -> Descriptor {
    let blob = Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64);
    cache.put_bytes(&blob, bytes).unwrap();
    blob
}

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

async fn image(cache: &Cache, name: &str, subject: Option<&Descriptor>) -> Descriptor {
    let config = put(
        cache,
        "application/vnd.oci.image.config.v1+json",
        name.as_bytes(),
    );
    let layer = put(
        cache,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        &[7; 1000],
    );
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer],
    });
    if let Some(subject) = subject {
        manifest["subject"] = json!(subject);
        manifest["artifactType"] = "x/signature".into();
    }
    let manifest = put(cache, IMAGE, manifest.to_string().as_bytes());
    let when = Timestamp::from_second(1).unwrap();
    cache.record(name, &manifest, None, 1, when).await.unwrap();
    manifest
}

struct Reply {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

async fn ask(server: &CacheServer, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let client = net::Client::new(net::Config {
        system_roots: false,
        ..net::Config::default()
    });
    let url = format!("http://{}{path}", server.address())
        .parse()
        .unwrap();
    let mut request = net::Request::new(method.parse().unwrap(), url);
    for (name, value) in headers {
        request = request.header(name.parse().unwrap(), value.parse().unwrap());
    }
    let response = client.unwrap().send(request).await.unwrap();
    Reply {
        status: response.status.as_u16(),
        headers: response.headers,
        body: response.body.bytes(1 << 20).await.unwrap(),
    }
}

async fn start(cache: &Cache, scope: Scope) -> CacheServer {
    let any = "127.0.0.1:0".parse().unwrap();
    CacheServer::start(cache, any, scope).await.unwrap()
}

#[tokio::test]
async fn manifests_blobs_ranges_tags_and_referrers() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let web = image(&cache, "r.example:5000/acme/web:v1", None).await;
    let signature = image(&cache, "r.example:5000/acme/web:sig", Some(&web)).await;
    let server = start(&cache, Scope::All).await;
    assert_eq!(ask(&server, "GET", "/v2/", &[]).await.status, 200);
    for path in [
        "/v2/r.example_5000/acme/web/manifests/v1".to_owned(),
        "/v2/acme/web/manifests/v1".to_owned(),
        "/v2/acme/web/manifests/v1?ns=r.example:5000".to_owned(),
        format!("/v2/any/name/manifests/{}", web.digest),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = ask(&server, method, &path, &[]).await;
            assert_eq!(reply.status, 200, "{method} {path}");
            assert_eq!(
                reply.headers["docker-content-digest"],
                web.digest.to_string().as_str()
            );
            assert_eq!(reply.headers["content-type"], IMAGE);
            assert_eq!(
                reply.headers["content-length"],
                web.size.to_string().as_str()
            );
            assert_eq!(reply.body.is_empty(), method == "HEAD");
        }
    }
    let blob = format!("/v2/acme/web/blobs/{}", Digest::of(&[7; 1000]));
    assert_eq!(ask(&server, "GET", &blob, &[]).await.body, [7; 1000][..]);
    let part = ask(&server, "GET", &blob, &[("range", "bytes=990-")]).await;
    assert_eq!((part.status, part.body.len()), (206, 10));
    assert_eq!(part.headers["content-range"], "bytes 990-999/1000");
    let beyond = ask(&server, "GET", &blob, &[("range", "bytes=1000-")]).await;
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.headers["content-range"], "bytes */1000");
    let tags = ask(&server, "GET", "/v2/acme/web/tags/list", &[]).await;
    let tags: Value = serde_json::from_slice(&tags.body).unwrap();
    assert_eq!(tags["tags"], json!(["sig", "v1"]));
    let path = format!(
        "/v2/acme/web/referrers/{}?artifactType=x/signature",
        web.digest
    );
    let referrers = ask(&server, "GET", &path, &[]).await;
    assert_eq!(referrers.headers["oci-filters-applied"], "artifactType");
    let referrers: Value = serde_json::from_slice(&referrers.body).unwrap();
    assert_eq!(referrers["manifests"][0]["digest"], json!(signature.digest));
    assert!(server.requests() > 10);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_spec_s_words() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    image(&cache, "r.example/acme/web:v1", None).await;
    let server = start(&cache, Scope::All).await;
    let absent = Digest::of(b"absent");
    for (method, path, status, code) in [
        (
            "GET",
            "/v2/acme/web/manifests/v2".to_owned(),
            404,
            "MANIFEST_UNKNOWN",
        ),
        (
            "GET",
            format!("/v2/acme/web/manifests/{absent}"),
            404,
            "MANIFEST_UNKNOWN",
        ),
        // A layer is in the cache and no manifest.
        (
            "GET",
            format!("/v2/a/manifests/{}", Digest::of(&[7; 1000])),
            404,
            "MANIFEST_UNKNOWN",
        ),
        (
            "GET",
            format!("/v2/acme/web/blobs/{absent}"),
            404,
            "BLOB_UNKNOWN",
        ),
        (
            "GET",
            "/v2/acme/web/blobs/sha256:zz".to_owned(),
            400,
            "DIGEST_INVALID",
        ),
        ("GET", "/v2/other/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        (
            "POST",
            "/v2/acme/web/blobs/uploads/".to_owned(),
            405,
            "UNSUPPORTED",
        ),
        (
            "DELETE",
            "/v2/acme/web/manifests/v1".to_owned(),
            405,
            "UNSUPPORTED",
        ),
        ("GET", "/".to_owned(), 404, "NAME_UNKNOWN"),
        (
            "GET",
            "/v2/../../etc/passwd".to_owned(),
            404,
            "NAME_UNKNOWN",
        ),
    ] {
        let reply = ask(&server, method, &path, &[]).await;
        assert_eq!(reply.status, status, "{method} {path}");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["errors"][0]["code"], code, "{method} {path}");
    }
    let elsewhere = ask(&server, "GET", "/v2/", &[("host", "evil.example")]).await;
    assert_eq!(elsewhere.status, 421);
}

#[tokio::test]
async fn a_narrow_server_shows_what_it_was_told_and_only_below_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let web = image(&cache, "r.example/acme/web:v1", None).await;
    let other = image(&cache, "r.example/acme/other:v1", None).await;
    let scope = Scope::Only {
        prefix: "key".into(),
        digests: [web.digest].into(),
    };
    let server = start(&cache, scope).await;
    let status = async |path: String| ask(&server, "GET", &path, &[]).await.status;
    assert_eq!(
        status(format!("/v2/key/acme/web/manifests/{}", web.digest)).await,
        200
    );
    assert_eq!(
        status(format!("/v2/acme/web/manifests/{}", web.digest)).await,
        404
    );
    assert_eq!(
        status(format!("/v2/key/acme/other/manifests/{}", other.digest)).await,
        404
    );
    assert_eq!(status("/v2/key/acme/other/tags/list".into()).await, 404);
    assert_eq!(
        status(format!("/v2/key/a/blobs/{}", Digest::of(&[7; 1000]))).await,
        404
    );
}

#[tokio::test]
async fn nobody_else_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let refused = CacheServer::start(&cache, everywhere, Scope::All)
        .await
        .unwrap_err();
    assert!(matches!(refused, StartError::NotLoopback { .. }));
}
