//! Blob uploads (distribution spec, "Pushing blobs").

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use hyper::body::Incoming;

use super::content::CONTENT_DIGEST;
use super::refusal::{Code, Refusal};
use super::route::{is_repository, parse_digest};
use super::store::Upload;
use super::{Shared, random};
use crate::oci::Digest;
use crate::playground::http::{BodyError, Reply, chunk, parameter};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Shared {
    /// Starts an upload, mounts a blob, or takes a whole blob at once.
    pub(super) async fn on_uploads(
        &self,
        head: &Parts,
        body: &mut Incoming,
        name: &str,
    ) -> Result<Reply, Refusal> {
        if let Some(digest) = parameter(head, "mount") {
            let digest = parse_digest(&digest)?;
            let from = parameter(head, "from").filter(|from| is_repository(from));
            if self.guard.may_pull(head, from.as_deref())
                && self.store.mount(name, &digest, from.as_deref())?
            {
                return Ok(created(name, &digest));
            }
        } else if let Some(digest) = parameter(head, "digest") {
            let digest = parse_digest(&digest)?;
            let mut upload = Upload {
                data: Vec::new(),
                size: self.store.reserve(0)?,
            };
            self.receive(head, body, &mut upload).await?;
            return self.finish(name, &digest, upload);
        }
        let id = upload_id(random()?);
        self.store.open_upload(name, &id)?;
        Ok(progress(StatusCode::ACCEPTED, name, &id, 0))
    }

    /// Continues, finishes, shows or cancels an upload.
    pub(super) async fn on_upload(
        &self,
        head: &Parts,
        body: &mut Incoming,
        name: &str,
        id: &str,
    ) -> Result<Reply, Refusal> {
        if head.method == Method::DELETE {
            self.store.close_upload(name, id)?;
            return Ok(Reply::new(StatusCode::NO_CONTENT));
        }
        let shared = self.store.upload(name, id)?;
        let mut upload = shared.lock().await;
        if head.method == Method::GET {
            return Ok(progress(
                StatusCode::NO_CONTENT,
                name,
                id,
                upload.data.len(),
            ));
        }
        let digest = if head.method == Method::PUT {
            let digest = parameter(head, "digest").ok_or_else(|| {
                Refusal::bad_request(Code::DigestInvalid, "the digest of the blob is missing")
            })?;
            Some(parse_digest(&digest)?)
        } else {
            None
        };
        let received = self.receive(head, body, &mut upload).await;
        match (received, digest) {
            (Ok(()), None) => Ok(progress(StatusCode::ACCEPTED, name, id, upload.data.len())),
            (Ok(()), Some(digest)) => {
                // Two requests may finish at once: the one that closes the session has the bytes.
                self.store.close_upload(name, id)?;
                let upload = Upload {
                    data: std::mem::take(&mut upload.data),
                    size: std::mem::replace(&mut upload.size, self.store.reserve(0)?),
                };
                self.finish(name, &digest, upload)
            }
            (Err(refusal), _) => {
                if refusal.status == StatusCode::RANGE_NOT_SATISFIABLE {
                    return Err(refusal
                        .header(LOCATION, location(name, id))
                        .header(RANGE, range(upload.data.len())));
                }
                if matches!(
                    refusal.status,
                    StatusCode::FORBIDDEN | StatusCode::PAYLOAD_TOO_LARGE
                ) {
                    // It can't ever be finished, and holds memory that others need.
                    let _ = self.store.close_upload(name, id);
                }
                Err(refusal)
            }
        }
    }

    /// Adds a body to an upload. What came before a connection broke is kept, so that the client can go on from
    /// there; what is not the range that was announced is not.
    async fn receive(
        &self,
        head: &Parts,
        body: &mut Incoming,
        upload: &mut Upload,
    ) -> Result<(), Refusal> {
        let start = upload.data.len();
        let length = declared_length(head);
        let announced = announced_range(head, start)?;
        if let (Some(announced), Some(length)) = (announced, length)
            && announced != length
        {
            return Err(wrong_length(announced, length));
        }
        let too_large = || {
            Refusal::too_large(
                Code::SizeInvalid,
                format!("a blob has at most {} bytes here", self.config.max_blob),
            )
        };
        let limit = self.config.max_blob.saturating_sub(start as u64);
        if length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut received = 0;
        while let Some(bytes) = chunk(body).await.map_err(broken)? {
            received += bytes.len() as u64;
            if received > limit {
                return Err(too_large());
            }
            upload.size.grow(bytes.len())?;
            upload.data.extend_from_slice(&bytes);
        }
        if let Some(announced) = announced
            && announced != received
        {
            upload.data.truncate(start);
            upload.size.shrink_to(start);
            return Err(wrong_length(announced, received));
        }
        Ok(())
    }

    fn finish(&self, name: &str, digest: &Digest, upload: Upload) -> Result<Reply, Refusal> {
        let Upload { mut data, size } = upload;
        // Growing by doubling leaves up to as much unused, which nobody has accounted for.
        data.shrink_to_fit();
        self.store.put_blob(name, digest, Bytes::from(data), size)?;
        Ok(created(name, digest))
    }
}

/// Reads `Content-Range: FIRST-LAST`, which must go on where the upload is, and returns how long it is.
fn announced_range(head: &Parts, start: usize) -> Result<Option<u64>, Refusal> {
    let Some(value) = head.headers.get(CONTENT_RANGE) else {
        return Ok(None);
    };
    let number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<u64>().ok())
            .flatten()
    };
    let range = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once('-'))
        .and_then(|(first, last)| Some((number(first)?, number(last)?)));
    match range {
        Some((first, last)) if first == start as u64 && last >= first => {
            // The length of 0-18446744073709551615 is one more than fits.
            Ok(Some((last - first).saturating_add(1)))
        }
        _ => Err(Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            Code::BlobUploadInvalid,
            format!("Content-Range must have the form FIRST-LAST and begin at {start}"),
        )),
    }
}

fn declared_length(head: &Parts) -> Option<u64> {
    head.headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn wrong_length(announced: u64, actual: u64) -> Refusal {
    Refusal::bad_request(
        Code::SizeInvalid,
        format!("Content-Range announces {announced} bytes, but {actual} are sent"),
    )
}

fn broken(error: BodyError) -> Refusal {
    let message = match error {
        BodyError::Broken => "the body ended early",
        BodyError::TooLarge => "the body is too large",
    };
    Refusal::bad_request(Code::BlobUploadInvalid, message)
}

fn created(name: &str, digest: &Digest) -> Reply {
    Reply::new(StatusCode::CREATED)
        .header(LOCATION, format!("/v2/{name}/blobs/{digest}"))
        .header(CONTENT_DIGEST, digest.to_string())
}

fn progress(status: StatusCode, name: &str, id: &str, length: usize) -> Reply {
    Reply::new(status)
        .header(LOCATION, location(name, id))
        .header(RANGE, range(length))
        .header(UPLOAD_ID, id)
}

/// Locations are relative, so that they also hold behind a proxy.
fn location(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// An empty upload has no last byte; `0-0` is what Docker's registry says then, and what clients know.
fn range(length: usize) -> String {
    format!("0-{}", length.saturating_sub(1))
}

/// Writes random bytes as a UUID of version 4, which the spec asks for.
fn upload_id(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ]
    .join("-")
}
