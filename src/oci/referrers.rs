//! What a registry has that says something about an image (distribution spec, "Listing Referrers").

use http::header::LINK;
use http::{HeaderMap, HeaderValue, Method};
use oci_client::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE;
use url::Url;

use super::client::{Client, Selector};
use super::error::{Error, ErrorKind};
use super::manifest::{Descriptor, Document, LARGEST_MANIFEST, Manifest};
use super::mirror::Target;
use super::{Digest, Repository};

/// The referrers of an image, and where the list was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Referrers {
    /// Where.
    pub place: Place,
    /// The manifests.
    pub descriptors: Vec<Descriptor>,
}

/// Where a list of referrers was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// The referrers API.
    Api,
    /// An index under the tag `sha256-<hex>`, which clients keep where the API is missing.
    ///
    /// It is not filtered by artifact type, since clients write wrong ones there: look at the
    /// manifests themselves.
    FallbackTag,
    /// The registry has no such API, and no such tag.
    Neither,
}

impl Client {
    /// Lists the manifests that say something about a digest.
    ///
    /// # Errors
    ///
    /// The registry could not be asked, or has more than 1,000 of them. An empty list is no error.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Referrers, Error> {
        let target = Target::origin(&self.transport);
        let origin = async {
            let api = self.api_referrers(&target, repository, digest, artifact_type);
            match api.await {
                Ok(descriptors) => Ok(Referrers {
                    place: Place::Api,
                    descriptors,
                }),
                Err(error) if lacks_api(&error) => self.fallback(repository, digest).await,
                Err(error) => Err(error),
            }
        };
        let Some(sources) = self.sources(&repository.registry) else {
            return Box::pin(origin).await;
        };
        // A mirror's list is believed only as far as it goes: its signatures prove themselves.
        let one = |target: Target| async move {
            let api = self.api_referrers(&target, repository, digest, artifact_type);
            let (place, descriptors) = match api.await {
                Ok(descriptors) => (Place::Api, descriptors),
                Err(error) if lacks_api(&error) => {
                    let tag = Selector::Tag(fallback_tag(digest));
                    let manifest = self.manifest_from(&target, repository, &tag).await?;
                    (Place::FallbackTag, listed(manifest, repository, &tag)?)
                }
                Err(error) => return Err(error),
            };
            Ok((!descriptors.is_empty()).then_some(Referrers { place, descriptors }))
        };
        let what = format!("the referrers of {digest} in {}", repository.path);
        self.of_origin_first(&sources, repository, &what, origin, one)
            .await
    }

    async fn api_referrers(
        &self,
        target: &Target,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let accept = HeaderValue::from_static(OCI_IMAGE_INDEX_MEDIA_TYPE);
        let what = format!("the referrers of {digest} in {}", repository.path);
        let below = format!("referrers/{digest}");
        let mut call = self.call(target, Method::GET, repository, &below, Some(accept), what)?;
        if let Some(kind) = artifact_type {
            call.url.query_pairs_mut().append_pair("artifactType", kind);
        }
        let mut found = Vec::new();
        for _ in 0..MOST_PAGES {
            let (headers, bytes, host) = target.transport.read(&call, LARGEST_MANIFEST).await?;
            let malformed = |reason: String| ErrorKind::Malformed {
                host: host.clone(),
                url: crate::net::redact(&call.url),
                reason,
            };
            let page = Manifest::parse(bytes, Some(OCI_IMAGE_INDEX_MEDIA_TYPE))
                .map_err(|error| malformed(format!("the list of referrers: {error}")))?;
            let Document::Index(page) = page.document else {
                return Err(malformed("the list of referrers is no index".into()).into());
            };
            let filtered = filters_applied(&headers);
            found.extend(page.manifests.into_iter().filter(|entry| {
                filtered
                    || artifact_type.is_none()
                    || entry.artifact_type.as_deref() == artifact_type
            }));
            if found.len() > MOST_ENTRIES {
                break;
            }
            match next_page(&headers, &call.url) {
                None => return Ok(found),
                Some(Ok(next)) => call.url = next,
                Some(Err(reason)) => return Err(malformed(reason).into()),
            }
        }
        // A list that was cut could hide the one signature that counts.
        Err(ErrorKind::TooLarge {
            what: format!("the list of referrers of {digest}, in entries or pages,"),
            limit: MOST_ENTRIES as u64,
        }
        .into())
    }

    async fn fallback(&self, repository: &Repository, digest: &Digest) -> Result<Referrers, Error> {
        let selector = Selector::Tag(fallback_tag(digest));
        let Some(manifest) = self.manifest_if_exists(repository, &selector).await? else {
            return Ok(Referrers {
                place: Place::Neither,
                descriptors: Vec::new(),
            });
        };
        Ok(Referrers {
            place: Place::FallbackTag,
            descriptors: listed(manifest, repository, &selector)?,
        })
    }
}

/// Returns the tag that lists referrers where the API is missing.
fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// Reads the list out of what stands under that tag.
fn listed(
    manifest: Manifest,
    repository: &Repository,
    tag: &Selector,
) -> Result<Vec<Descriptor>, Error> {
    match manifest.document {
        Document::Index(index) if index.manifests.len() <= MOST_ENTRIES => Ok(index.manifests),
        Document::Index(_) => Err(ErrorKind::TooLarge {
            what: format!("the list of referrers under tag {tag}, in entries,"),
            limit: MOST_ENTRIES as u64,
        }
        .into()),
        Document::Image(_) => Err(ErrorKind::Malformed {
            host: repository.registry.clone(),
            url: format!("tag {tag}"),
            reason: "the tag that should list referrers is no index".into(),
        }
        .into()),
    }
}

const MOST_PAGES: usize = 100;
const MOST_ENTRIES: usize = 1000;

/// Returns whether an error means that the registry does not know the API.
///
/// The spec says 404; routers that don't know the path say other things.
fn lacks_api(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::NotFound { .. } => true,
        ErrorKind::Refused { status, .. } => matches!(status, 400 | 405 | 406 | 501),
        _ => false,
    }
}

fn filters_applied(headers: &HeaderMap) -> bool {
    headers
        .get_all("oci-filters-applied")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("artifactType"))
}

/// Finds the next page in `Link` (RFC 8288); it must be on the same host.
fn next_page(headers: &HeaderMap, current: &Url) -> Option<Result<Url, String>> {
    let link = headers.get_all(LINK).iter().find_map(|value| {
        let text = value.to_str().ok()?;
        text.split(',').find_map(|link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let next = parameters.split(';').any(|parameter| {
                let lower = parameter.trim().to_ascii_lowercase();
                lower == "rel=next" || lower == "rel=\"next\""
            });
            next.then(|| target.to_owned())
        })
    })?;
    Some(match current.join(&link) {
        Ok(next) if next.origin() != current.origin() => {
            Err("the list of referrers goes on at another host".into())
        }
        Ok(next) if next == *current => Err("the list of referrers goes on at itself".into()),
        Ok(next) => Ok(next),
        Err(_) => Err("the list of referrers goes on at an unreadable address".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_on_the_same_host() {
        let current = Url::parse("https://r.example/v2/a/referrers/d").unwrap();
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, link.parse().unwrap());
            next_page(&headers, &current).map(|next| next.map(|url| url.to_string()))
        };
        assert_eq!(
            next("</v2/a/referrers/d?n=2>; rel=\"next\"")
                .unwrap()
                .unwrap(),
            "https://r.example/v2/a/referrers/d?n=2"
        );
        assert_eq!(
            next("</x>; rel=\"prev\", <?n=3>; rel=next")
                .unwrap()
                .unwrap(),
            "https://r.example/v2/a/referrers/d?n=3"
        );
        assert_eq!(next("</x>; rel=prev"), None);
        assert!(next("<https://evil.example/>; rel=next").unwrap().is_err());
        assert!(next("<>; rel=next").unwrap().is_err());
    }
}
