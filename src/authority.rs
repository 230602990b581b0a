//! A host and its port as URLs have them (RFC 3986 section 3.2.2): an IPv6 address stands in brackets.

use std::borrow::Cow;

/// Returns a host and port as they are written together; the host may have its brackets already.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

/// Returns a host as it is written without a port.
#[must_use]
pub fn bracketed(host: &str) -> Cow<'_, str> {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]").into()
    } else {
        host.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_version_6_stand_in_brackets_once() {
        for (host, expected) in [
            ("a.example", "a.example:80"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("::1", "[::1]:80"),
            ("[::1]", "[::1]:80"),
        ] {
            assert_eq!(authority(host, 80), expected);
        }
        assert_eq!(bracketed("a.example"), "a.example");
    }
}
