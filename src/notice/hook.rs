//! The URL of a web hook, which is a password.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::net::redact_path;

/// The URL of a web hook. Whoever knows it can post, so that only its host is ever shown.
#[derive(Clone, Eq, PartialEq)]
pub struct HookUrl(Url);

impl HookUrl {
    /// Returns the whole URL, to be sent and not to be shown.
    pub(super) const fn secret(&self) -> &Url {
        &self.0
    }

    /// Returns the host and port that a delivery connects to.
    #[must_use]
    pub fn endpoint(&self) -> (String, u16) {
        let host = self.0.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (
            host.to_owned(),
            self.0.port_or_known_default().unwrap_or_default(),
        )
    }

    /// Blots out every part of the URL in what a receiver answered.
    pub(super) fn mask(&self, text: &str) -> String {
        let path = self.0.path();
        let query = self.0.query().unwrap_or_default();
        let parts = path.split('/').chain(query.split(['&', '=']));
        let whole = [path, query].into_iter();
        let secrets = whole
            .chain(parts)
            .filter(|part| part.len() >= SHORTEST_SECRET);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

impl FromStr for HookUrl {
    type Err = InvalidHook;

    fn from_str(text: &str) -> Result<Self, InvalidHook> {
        let url = Url::parse(text.trim()).map_err(|error| InvalidHook::Url {
            detail: error.to_string(),
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidHook::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidHook::UserInfo);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_path(&self.0))
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookUrl({self})")
    }
}

/// A refusal to take a secret for the URL of a web hook; it does not show the secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidHook {
    /// It is a URL of another kind.
    #[error("the web hook's URL begins with neither https:// nor http://")]
    Scheme,
    /// It is no URL.
    #[error("the web hook is not a URL: {detail}")]
    Url {
        /// The parser's own words, which do not quote the text.
        detail: String,
    },
    /// It has a user name or a password, which would not be sent.
    #[error("the web hook's URL has a user name or a password")]
    UserInfo,
}

impl InvalidHook {
    /// Returns the edit that helps.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Scheme | Self::Url { .. } => {
                "check the secret: it must be the whole URL as its maker showed it"
            }
            Self::UserInfo => "send them in an `Authorization` header instead",
        }
    }
}

/// Shorter parts, such as `services`' neighbours `v1` or `T0`, would blot out innocent words.
const SHORTEST_SECRET: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_is_shown() {
        let hook: HookUrl = " https://hooks.example/services/T0123456/B0/abcdefgh?sig=ijklmnop \n"
            .parse()
            .unwrap();
        assert_eq!(hook.to_string(), "https://hooks.example/…");
        assert_eq!(format!("{hook:?}"), "HookUrl(https://hooks.example/…)");
        assert_eq!(hook.endpoint(), ("hooks.example".to_owned(), 443));
        assert_eq!(
            hook.mask("no abcdefgh for /services/T0123456/B0/abcdefgh, ijklmnop"),
            "no *** for ***, ***"
        );
        let v6: HookUrl = "http://[::1]:9/x".parse().unwrap();
        assert_eq!(v6.endpoint(), ("::1".to_owned(), 9));
    }

    #[test]
    fn what_is_refused_is_not_shown() {
        for (text, said) in [
            (
                "abcdefgh",
                "the web hook is not a URL: relative URL without a base",
            ),
            ("", "the web hook is not a URL: relative URL without a base"),
            (
                "ftp://h/abcdefgh",
                "the web hook's URL begins with neither https:// nor http://",
            ),
            (
                "https://u:abcdefgh@h/",
                "the web hook's URL has a user name or a password",
            ),
            (
                "https://[abcdefgh/",
                "the web hook is not a URL: invalid IPv6 address",
            ),
        ] {
            let error = text.parse::<HookUrl>().unwrap_err();
            assert_eq!(error.to_string(), said);
            assert!(!error.hint().is_empty());
        }
    }
}
