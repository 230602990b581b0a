//! Uploads: whole, broken off, mounted, and to registries that want odd things.

use bytes::Bytes;

use super::*;
use crate::oci::fake::IMAGE;
use crate::oci::push::{Mount, in_memory};

/// Takes uploads as the distribution project does; the first `PATCH` keeps half of what it is sent and fails.
fn registry(breaks: bool) -> impl Fn(&Seen) -> Reply {
    let received: Mutex<Vec<u8>> = Mutex::default();
    let patches = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    move |seen| {
        let mut received = received.lock().unwrap();
        let place = "/v2/acme/web/blobs/uploads/one?_state=secret";
        match seen.method.as_str() {
            "HEAD" if done.load(Ordering::SeqCst) > 0 => Reply::new(200, ""),
            "HEAD" => Reply::new(404, ""),
            "POST" => {
                received.clear();
                Reply::new(202, "").header("location", place)
            }
            "GET" => Reply::new(204, "")
                .header("location", place)
                .header("range", format!("0-{}", received.len() - 1)),
            "PATCH" => {
                let first = patches.fetch_add(1, Ordering::SeqCst) == 0;
                let kept = if breaks && first {
                    seen.body.len() / 2
                } else {
                    seen.body.len()
                };
                received.extend(&seen.body[..kept]);
                if kept < seen.body.len() {
                    return Reply::error(503, "UNAVAILABLE");
                }
                Reply::new(202, "").header("location", place)
            }
            "PUT" => {
                received.extend(&seen.body);
                let found = Digest::of(&received);
                let said = seen
                    .target
                    .rsplit_once("digest=")
                    .unwrap()
                    .1
                    .replace("%3A", ":");
                if said != found.to_string() {
                    return Reply::error(400, "DIGEST_INVALID");
                }
                done.fetch_add(1, Ordering::SeqCst);
                Reply::new(201, "").header("location", "/v2/acme/web/blobs/x")
            }
            _ => Reply::new(405, ""),
        }
    }
}

fn blob(size: usize) -> (Bytes, Descriptor) {
    let bytes: Bytes = (0..size)
        .map(|at| (at % 251) as u8)
        .collect::<Vec<_>>()
        .into();
    let descriptor = Descriptor::new("x/y", Digest::of(&bytes), size as u64);
    (bytes, descriptor)
}

async fn push(fake: &Fake, size: usize) -> Result<(), Error> {
    let (bytes, blob) = blob(size);
    let repository = reference(fake, "").repository;
    client()
        .push_blob(&repository, &blob, None, &in_memory(bytes))
        .await
}

#[tokio::test]
async fn a_small_blob_takes_two_requests_and_a_large_one_three() {
    for (size, methods) in [
        (0, "POST PUT"),
        (1000, "POST PUT"),
        (3 << 20, "POST PATCH PUT"),
    ] {
        let fake = Fake::start(registry(false)).await;
        push(&fake, size).await.unwrap();
        let seen: Vec<String> = fake
            .seen()
            .iter()
            .map(|seen| seen.method.to_string())
            .collect();
        assert_eq!(seen.join(" "), methods, "{size}");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_goes_on_from_what_has_come() {
    let fake = Fake::start(registry(true)).await;
    push(&fake, 3 << 20).await.unwrap();
    let seen = fake.seen();
    let sent: Vec<usize> = seen
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.body.len())
        .collect();
    assert_eq!(sent, [3 << 20, 3 << 19]);
    let second = seen
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .nth(1)
        .unwrap();
    assert_eq!(second.header("content-range"), Some("1572864-3145727"));
    assert_eq!(seen.iter().filter(|seen| seen.method == "POST").count(), 1);
}

#[tokio::test]
async fn an_upload_is_sent_to_no_other_host() {
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(202, "").header(
            "location",
            "http://127.0.0.2:9/v2/acme/web/blobs/uploads/one",
        ),
        _ => Reply::new(404, ""),
    })
    .await;
    let error = push(&fake, 10).await.unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
}

#[tokio::test]
async fn a_mount_is_done_or_becomes_an_upload() {
    for status in [201, 202] {
        let fake = Fake::start(move |_| {
            Reply::new(status, "").header("location", "/v2/acme/live/blobs/uploads/one")
        })
        .await;
        let from = reference(&fake, "").repository;
        let to = Repository {
            path: "acme/live".into(),
            ..from.clone()
        };
        let (_, blob) = blob(10);
        let mount = client().mount(&to, &blob.digest, &from).await.unwrap();
        assert_eq!(mount == Mount::Done, status == 201);
        let asked = fake.lines().join("");
        assert!(
            asked.starts_with("POST /v2/acme/live/blobs/uploads/?mount=sha256%3A"),
            "{asked}"
        );
        assert!(asked.ends_with("&from=acme%2Fweb"), "{asked}");
    }
}

#[tokio::test]
async fn a_registry_that_alters_a_manifest_is_found_out() {
    let (store, _) = one_image();
    let manifest = {
        let fake = Fake::start(move |seen| store.reply(seen)).await;
        let repository = reference(&fake, "").repository;
        client()
            .manifest(&repository, &Selector::Tag("v1".into()))
            .await
            .unwrap()
    };
    for (said, lists) in [("", false), ("yes", true)] {
        let fake = Fake::start(move |seen| {
            assert_eq!(seen.header("content-type"), Some(IMAGE));
            let reply = Reply::new(201, "")
                .header("docker-content-digest", Digest::of(&seen.body).to_string());
            if said.is_empty() {
                reply
            } else {
                reply.header("oci-subject", said)
            }
        })
        .await;
        let repository = reference(&fake, "").repository;
        let tag = Selector::Tag("v1".into());
        let put = client()
            .push_manifest(&repository, &tag, &manifest)
            .await
            .unwrap();
        assert_eq!(put.lists_subject, lists);
    }
    let fake = Fake::start(|_| {
        Reply::new(201, "").header("docker-content-digest", Digest::of(b"other").to_string())
    })
    .await;
    let repository = reference(&fake, "").repository;
    let tag = Selector::Tag("v1".into());
    let error = client()
        .push_manifest(&repository, &tag, &manifest)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::DigestMismatch { .. }),
        "{error}"
    );
}
