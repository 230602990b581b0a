//! What a request asks for.

use http::StatusCode;

use super::answer::Reply;
use crate::oci::Digest;
use crate::oci::reference::is_tag;

/// What a path asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Route {
    Base,
    Blob { digest: Digest },
    Manifest { name: String, selector: Selector },
    Referrers { digest: Digest },
    Tags { name: String },
}

/// What names a manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Selector {
    Digest(Digest),
    Tag(String),
}

impl Route {
    /// Reads a path below the prefix, if there is one. Names of repositories hold slashes themselves, so that
    /// the end of a path tells what it is.
    pub(super) fn parse(path: &str, prefix: Option<&str>) -> Result<Self, Reply> {
        let nothing = || {
            Reply::error(
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                "there is nothing here",
            )
        };
        let rest = path.strip_prefix("/v2").ok_or_else(nothing)?;
        if rest.is_empty() || rest == "/" {
            return Ok(Self::Base);
        }
        let rest = rest.strip_prefix('/').ok_or_else(nothing)?;
        let rest = match prefix {
            Some(prefix) => rest
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('/'))
                .ok_or_else(nothing)?,
            None => rest,
        };
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags { name: name.into() });
        }
        let (before, last) = rest.rsplit_once('/').ok_or_else(nothing)?;
        let (name, kind) = before.rsplit_once('/').ok_or_else(nothing)?;
        let digest = || {
            last.parse::<Digest>().map_err(|_| {
                let message = "digests are sha256: and 64 hexadecimal digits";
                Reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
            })
        };
        match kind {
            "blobs" => Ok(Self::Blob { digest: digest()? }),
            "referrers" => Ok(Self::Referrers { digest: digest()? }),
            "manifests" => {
                let selector = if last.contains(':') {
                    Selector::Digest(digest()?)
                } else if is_tag(last) {
                    Selector::Tag(last.to_owned())
                } else {
                    let message = "it is no tag";
                    return Err(Reply::error(
                        StatusCode::BAD_REQUEST,
                        "TAG_INVALID",
                        message,
                    ));
                };
                Ok(Self::Manifest {
                    name: name.to_owned(),
                    selector,
                })
            }
            _ => Err(nothing()),
        }
    }
}

/// Reads a `Range` of one part; what is none, or of several, is as if it was not there.
///
/// Returns the first byte and the number of bytes, or nothing in it if no byte of the file is meant.
pub(super) fn range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let count = number(last)?.min(size);
        return Some((count > 0).then_some((size - count, count)));
    }
    let first = number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number(last)?
    };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(None);
    }
    Some(Some((first, last.min(size - 1) - first + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(range("bytes=0-0", 10), Some(Some((0, 1))));
        assert_eq!(range("bytes=3-", 10), Some(Some((3, 7))));
        assert_eq!(range("bytes=3-99", 10), Some(Some((3, 7))));
        assert_eq!(range("bytes=-4", 10), Some(Some((6, 4))));
        assert_eq!(range("bytes=-40", 10), Some(Some((0, 10))));
        assert_eq!(range("bytes=10-", 10), Some(None));
        assert_eq!(range("bytes=-0", 10), Some(None));
        assert_eq!(range("bytes=0-", 0), Some(None));
        assert_eq!(range("bytes=99999999999999999999-", 10), Some(None));
        for odd in [
            "bytes=5-3",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=-",
            "bytes=+1-2",
            "",
        ] {
            assert_eq!(range(odd, 10), None, "{odd}");
        }
    }

    #[test]
    fn paths_that_are_none_are_refused() {
        let digest = Digest::of(b"x");
        let good = format!("/v2/a/b/blobs/{digest}");
        assert_eq!(Route::parse(&good, None).ok(), Some(Route::Blob { digest }));
        let below = format!("/v2/key/a/blobs/{digest}");
        assert_eq!(
            Route::parse(&below, Some("key")).ok(),
            Some(Route::Blob { digest })
        );
        assert!(Route::parse(&good, Some("key")).is_err());
        for odd in [
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2/a/blobs/sha256:xyz",
            "/v2/a/manifests/..",
            "/v2/_catalog",
        ] {
            assert!(Route::parse(odd, None).is_err(), "{odd}");
        }
    }
}
