//! AWS's Signature Version 4 in the `Authorization` header.
//!
//! Ours, since only two kinds of requests are ever signed: the crates for it bring twenty others, or read
//! the clock themselves. <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use ring::hmac;
use url::Url;

use super::super::credentials::Secret;
use super::super::digest::Digest;
use crate::net;

/// What signs requests to AWS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Keys {
    /// The access key's id.
    pub(super) id: String,
    /// The secret access key.
    pub(super) secret: Secret,
    /// The token of keys that were given for a time.
    pub(super) token: Option<Secret>,
    /// When they end, if they do.
    pub(super) expires: Option<Timestamp>,
}

/// Signs a request to a service of a region, with all headers that it has by now.
pub(super) fn sign(
    request: &mut net::Request,
    keys: &Keys,
    region: &str,
    service: &str,
    at: Timestamp,
) {
    let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = &time[..8];
    let headers = &mut request.headers;
    if let Ok(value) = HeaderValue::from_str(&time) {
        headers.insert(HeaderName::from_static("x-amz-date"), value);
    }
    let token = keys.token.as_ref().map(Secret::expose);
    if let Some(Ok(mut value)) = token.map(HeaderValue::from_str) {
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static("x-amz-security-token"), value);
    }

    let (names, canonical) = canonical(request);
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let hash = hex_of(canonical.as_bytes());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let first = format!("AWS4{}", keys.secret.expose());
    let key = [date, region, service, "aws4_request"]
        .into_iter()
        .fold(first.into_bytes(), |key, part| mac(&key, part));
    let signature = hex::encode(mac(&key, &text));
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        keys.id
    );
    if let Ok(mut value) = HeaderValue::from_str(&value) {
        value.set_sensitive(true);
        request.headers.insert(AUTHORIZATION, value);
    }
}

/// Returns the names of the signed headers, and the canonical request.
fn canonical(request: &net::Request) -> (String, String) {
    let mut headers: Vec<(String, String)> = request
        .headers
        .keys()
        .map(|name| {
            let values = request.headers.get_all(name).into_iter();
            let values = values.map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes());
                text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            });
            (
                name.as_str().to_owned(),
                values.collect::<Vec<_>>().join(","),
            )
        })
        .collect();
    headers.push((HOST.as_str().to_owned(), host(&request.url)));
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let mut lines = String::new();
    for (name, value) in &headers {
        lines.push_str(&format!("{name}:{value}\n"));
    }
    let mut pairs: Vec<(String, String)> = request
        .url
        .query_pairs()
        .map(|(name, value)| (encoded(&name, ""), encoded(&value, "")))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        // Encoded a second time: only S3 signs the path as it is sent.
        encoded(request.url.path(), "/"),
        pairs.join("&"),
        hex_of(&request.body),
    );
    (names, canonical)
}

/// Returns the `Host` header that the client sends.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn encoded(text: &str, kept: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let char = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-._~".contains(char) || kept.contains(char) {
            encoded.push(char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn hex_of(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    /// The keys, place and time of AWS's published test suite.
    fn signed(method: Method, url: &str, headers: &[(&'static str, &str)], body: &str) -> String {
        let mut request = net::Request::new(method, Url::parse(url).unwrap()).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), value.parse().unwrap());
        }
        let keys = Keys {
            id: "AKIDEXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            token: None,
            expires: None,
        };
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        sign(&mut request, &keys, "us-east-1", "service", at);
        let header = request.headers[AUTHORIZATION].to_str().unwrap();
        let head = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=";
        header.strip_prefix(head).unwrap().to_owned()
    }

    #[test]
    fn published_vectors() {
        let root = "https://example.amazonaws.com/";
        for (name, found, expected) in [
            (
                "get-vanilla",
                signed(Method::GET, root, &[], ""),
                "host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                signed(
                    Method::GET,
                    "https://example.amazonaws.com/?Param2=value2&Param1=value1",
                    &[],
                    "",
                ),
                "host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-vanilla",
                signed(Method::POST, root, &[], ""),
                "host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-x-www-form-urlencoded",
                signed(
                    Method::POST,
                    root,
                    &[("content-type", "application/x-www-form-urlencoded")],
                    "Param1=value1",
                ),
                "content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "get-header-value-trim",
                signed(
                    Method::GET,
                    root,
                    &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
                    "",
                ),
                "host;my-header1;my-header2;x-amz-date, Signature=acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
        ] {
            assert_eq!(found, expected, "{name}");
        }
    }
}
