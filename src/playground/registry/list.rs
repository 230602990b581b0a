//! Lists in pages: tags, repositories, referrers (distribution spec, "Content Discovery").

use http::header::LINK;
use http::request::Parts;
use http::{HeaderName, StatusCode};
use serde_json::{Value, json};

use super::Shared;
use super::manifest::INDEX;
use super::refusal::{Code, Refusal};
use crate::oci::Digest;
use crate::playground::http::{Reply, parameter};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Shared {
    pub(super) fn on_tags(&self, head: &Parts, name: &str) -> Result<Reply, Refusal> {
        let tags = self.store.tags(name)?;
        let page = self.page(head, tags, String::as_str)?;
        let reply = page.link(&format!("/v2/{name}/tags/list"), &[]);
        let body = json!({"name": name, "tags": page.items});
        Ok(reply.body("application/json", body.to_string().into()))
    }

    pub(super) fn on_catalog(&self, head: &Parts) -> Result<Reply, Refusal> {
        let page = self.page(head, self.store.repositories(), String::as_str)?;
        let reply = page.link("/v2/_catalog", &[]);
        let body = json!({"repositories": page.items});
        Ok(reply.body("application/json", body.to_string().into()))
    }

    pub(super) fn on_referrers(
        &self,
        head: &Parts,
        name: &str,
        digest: &Digest,
    ) -> Result<Reply, Refusal> {
        if !self.config.referrers_api {
            return Err(Refusal::not_found(
                Code::Unsupported,
                "this registry has no referrers API",
            ));
        }
        let filter = parameter(head, "artifactType").filter(|filter| !filter.is_empty());
        let referrers = self.store.referrers(name, digest, filter.as_deref());
        let page = self.page(head, referrers, |(digest, _)| digest)?;
        let extra: Vec<_> = filter
            .iter()
            .map(|filter| ("artifactType", filter.as_str()))
            .collect();
        let mut reply = page.link(&format!("/v2/{name}/referrers/{digest}"), &extra);
        if filter.is_some() {
            reply = reply.header(FILTERS_APPLIED, "artifactType");
        }
        let manifests: Vec<Value> = page.items.into_iter().map(|(_, item)| item).collect();
        let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        Ok(reply.body(INDEX, body.to_string().into()))
    }

    /// Cuts the page out of a sorted list that `n` and `last` ask for.
    fn page<T>(
        &self,
        head: &Parts,
        items: Vec<T>,
        key: impl Fn(&T) -> &str,
    ) -> Result<Page<T>, Refusal> {
        let number = parameter(head, "n")
            .map(|n| {
                n.parse::<usize>().map_err(|_| {
                    Refusal::bad_request(
                        Code::PaginationNumberInvalid,
                        "n is the number of entries wanted",
                    )
                })
            })
            .transpose()?;
        let size = number.unwrap_or(usize::MAX).min(self.config.page_size);
        let mut rest = items;
        if let Some(last) = parameter(head, "last") {
            // What comes after `last`, whether or not that is in the list.
            let skipped = rest.partition_point(|item| key(item) <= last.as_str());
            rest.drain(..skipped);
        }
        let more = rest.len() > size;
        rest.truncate(size);
        let next = rest
            .last()
            .filter(|_| more)
            .map(|item| key(item).to_owned());
        Ok(Page {
            items: rest,
            next,
            number,
        })
    }
}

struct Page<T> {
    items: Vec<T>,
    /// The last entry of this page, if there is another page.
    next: Option<String>,
    number: Option<usize>,
}

impl<T> Page<T> {
    /// Starts an answer, with a link to the next page (RFC 8288) if there is one.
    fn link(&self, path: &str, extra: &[(&str, &str)]) -> Reply {
        let reply = Reply::new(StatusCode::OK);
        let Some(next) = &self.next else {
            return reply;
        };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(extra);
        if let Some(number) = self.number {
            query.append_pair("n", &number.to_string());
        }
        query.append_pair("last", next);
        let query = query.finish();
        reply.header(LINK, format!("<{path}?{query}>; rel=\"next\""))
    }
}
