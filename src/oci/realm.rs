//! Where a registry says that its tokens are.

use url::Url;

use super::transport::is_loopback;
use crate::net;

/// Takes the address of a token service, if credentials may go there.
///
/// Never in the clear, unless the registry itself is spoken to in the clear: an https registry
/// that names an http realm would undo what TLS is for, on whatever host.
pub(super) fn check_realm(realm: &str, registry: &Url) -> Result<Url, String> {
    let shown: String = realm.chars().take(200).collect();
    let url = Url::parse(realm).map_err(|_| format!("its token service `{shown}` is no URL"))?;
    let both_local = is_loopback(&url) && is_loopback(registry);
    match url.scheme() {
        _ if url.host_str().is_none() => Err(format!("its token service `{shown}` is no URL")),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("its token service's URL has a user in it".into())
        }
        "https" => Ok(url),
        "http" if registry.scheme() == "http" || both_local => Ok(url),
        "http" => Err(format!(
            "its token service {} is not https, so credentials would travel in the clear",
            net::redact(&url)
        )),
        other => Err(format!("its token service has the scheme `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_travel_in_the_clear_for_a_tls_registry() {
        let check = |realm: &str, registry: &str| {
            check_realm(realm, &Url::parse(registry).unwrap()).is_ok()
        };
        let tls = "https://r.example/v2/";
        assert!(check("https://auth.example/token", tls));
        assert!(!check("http://auth.example/token", tls));
        assert!(!check("http://r.example/token", tls));
        assert!(!check("http://127.0.0.1:9/token", tls));
        assert!(check(
            "http://127.0.0.1:9/token",
            "https://localhost:5000/v2/"
        ));
        assert!(check("http://auth.example/token", "http://r.example/v2/"));
        for odd in [
            "",
            "token",
            "ftp://a/",
            "https://me:pw@a/",
            "file:///etc/passwd",
            "data:x",
        ] {
            assert!(!check(odd, "http://r.example/v2/"), "{odd}");
        }
    }
}
