//! URLs as they may be shown.

use url::Url;

/// Returns the URL without what may be secret in it: user info, the fragment, and every value of
/// the query (a name without a value counts as a value).
#[must_use]
pub fn redact(url: &Url) -> String {
    let mut shown = origin(url);
    shown.push_str(url.path());
    if let Some(query) = url.query() {
        shown.push('?');
        let pairs: Vec<_> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) => format!("{name}=…"),
                None => "…".to_owned(),
            })
            .collect();
        shown.push_str(&pairs.join("&"));
    }
    shown
}

/// Returns scheme, host and port alone, for URLs whose path is a secret too (web hooks).
#[must_use]
pub fn redact_path(url: &Url) -> String {
    format!("{}/…", origin(url))
}

fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_left() {
        let url =
            Url::parse("https://me:pa55@h.example:8443/v2/a?X-Sig=s3cret&flag&b=#frag").unwrap();
        assert_eq!(redact(&url), "https://h.example:8443/v2/a?X-Sig=…&…&b=…");
        assert_eq!(redact_path(&url), "https://h.example:8443/…");
        let plain = Url::parse("http://[::1]/").unwrap();
        assert_eq!(redact(&plain), "http://[::1]/");
    }

    proptest::proptest! {
        #[test]
        fn a_secret_never_survives(secret in "S[a-zA-Z0-9]{7,20}X", place in 0usize..5) {
            let text = match place {
                0 => format!("https://{secret}@host.example/p"),
                1 => format!("https://u:{secret}@host.example/p"),
                2 => format!("https://host.example/p?a=1&sig={secret}"),
                3 => format!("https://host.example/p?{secret}"),
                _ => format!("https://host.example/p#{secret}"),
            };
            proptest::prop_assert!(!redact(&Url::parse(&text).unwrap()).contains(&secret));
        }
    }
}
