//! Which redirects an HTTP probe follows, and what goes along.

use http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::phrase::bare;
use crate::net::redact;

/// How many redirects one question follows.
pub(super) const MOST: usize = 5;

/// What an HTTP probe does with a redirect.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Redirects {
    /// Goes where it leads, five times at most.
    #[default]
    Follow,
    /// Takes its status as the answer.
    Refuse,
}

/// Where a request goes, and with what.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

impl Hop {
    /// Returns the request that follows this answer, or nothing if the answer is no redirect.
    ///
    /// As curl does: 303 becomes a `GET`, 301 and 302 too unless the method was `HEAD`; 307 and
    /// 308 stay as they are. Whatever may be secret does not go to another scheme, host or port,
    /// and does not come back when the chain returns: its way was chosen by a stranger then.
    pub(super) fn next(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Result<Self, String>> {
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = headers.get(LOCATION)?;
        Some(self.to(status, &String::from_utf8_lossy(location.as_bytes())))
    }

    fn to(&self, status: StatusCode, location: &str) -> Result<Self, String> {
        let mut url = self
            .url
            .join(location)
            .map_err(|error| format!("to `{}`, which is no URL: {error}", bare(location)))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "to `{}`, which is not http or https",
                bare(&redact(&url))
            ));
        }
        // A fragment stays with the browser, and user info is a stranger's choice here.
        url.set_fragment(None);
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let method = match status.as_u16() {
            301..=303 if self.method != Method::HEAD => Method::GET,
            _ => self.method.clone(),
        };
        let mut headers = self.headers.clone();
        if url.origin() != self.url.origin() {
            headers = headers
                .iter()
                .filter(|(name, value)| {
                    !value.is_sensitive()
                        && ![AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION].contains(name)
                })
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
        }
        Ok(Self {
            method,
            url,
            headers,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn hop(method: Method) -> Hop {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let mut secret = HeaderValue::from_static("s3cret");
        secret.set_sensitive(true);
        headers.insert("x-api-key", secret);
        headers.insert(HOST, HeaderValue::from_static("virtual.example"));
        Hop {
            method,
            url: Url::parse("https://a.example/x/y?q=1").unwrap(),
            headers,
        }
    }

    fn follow(hop: &Hop, code: u16, location: &str) -> Option<Result<Hop, String>> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(location).unwrap());
        hop.next(StatusCode::from_u16(code).unwrap(), &headers)
    }

    #[test]
    fn secrets_stay_with_the_origin() {
        let start = hop(Method::GET);
        let names = |hop: &Hop| {
            let mut names: Vec<String> = hop.headers.keys().map(ToString::to_string).collect();
            names.sort();
            names.join(" ")
        };
        let everything = "accept authorization host x-api-key";
        for (location, url, sent) in [
            ("/z", "https://a.example/z", everything),
            ("z?p#f", "https://a.example/x/z?p", everything),
            ("https://a.example:443/z", "https://a.example/z", everything),
            ("//b.example/z", "https://b.example/z", "accept"),
            (
                "https://a.example:8443/",
                "https://a.example:8443/",
                "accept",
            ),
            ("http://a.example/", "http://a.example/", "accept"),
            ("https://sub.a.example/", "https://sub.a.example/", "accept"),
            ("https://u:p@b.example/", "https://b.example/", "accept"),
        ] {
            let next = follow(&start, 302, location).unwrap().unwrap();
            assert_eq!(
                (next.url.as_str(), names(&next).as_str()),
                (url, sent),
                "{location}"
            );
        }
        let away = follow(&start, 302, "https://b.example/").unwrap().unwrap();
        let back = follow(&away, 302, "https://a.example/").unwrap().unwrap();
        assert_eq!(names(&back), "accept");
    }

    #[test]
    fn methods_change_as_with_curl() {
        for (method, code, next) in [
            (Method::GET, 301, Method::GET),
            (Method::POST, 301, Method::GET),
            (Method::POST, 302, Method::GET),
            (Method::PUT, 303, Method::GET),
            (Method::HEAD, 303, Method::HEAD),
            (Method::POST, 307, Method::POST),
            (Method::PUT, 308, Method::PUT),
        ] {
            assert_eq!(
                follow(&hop(method), code, "/").unwrap().unwrap().method,
                next
            );
        }
    }

    #[test]
    fn what_is_no_redirect_is_an_answer() {
        for code in [200, 300, 304, 305, 404] {
            assert!(follow(&hop(Method::GET), code, "/").is_none());
        }
        assert!(
            hop(Method::GET)
                .next(StatusCode::FOUND, &HeaderMap::new())
                .is_none()
        );
    }

    #[test]
    fn redirects_that_lead_nowhere_are_refused_without_their_secrets() {
        let refused = |location| {
            follow(&hop(Method::GET), 302, location)
                .unwrap()
                .unwrap_err()
        };
        assert_eq!(
            refused("ftp://u:p@h/x?sig=1"),
            "to `ftp://h/x?sig=…`, which is not http or https"
        );
        assert_eq!(
            refused("javascript:alert(1)"),
            "to `javascript://alert(1)`, which is not http or https"
        );
        assert_eq!(
            refused("http://["),
            "to `http://[`, which is no URL: invalid IPv6 address"
        );
    }
}
