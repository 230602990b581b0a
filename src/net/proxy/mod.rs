//! Proxies: which requests go through one, what it is sent, and what its refusals mean.

mod bypass;
mod fault;
mod tunnel;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::authority::authority;

pub use self::bypass::{Bypass, InvalidRule, Rule};
pub use self::fault::ProxyFault;
pub(super) use self::tunnel::{refusal, tunnel};

/// The proxies of all requests: one for each scheme, and the hosts that are asked without.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<Proxy>,
    /// For `https` URLs.
    pub https: Option<Proxy>,
    /// Who is reached without.
    pub bypass: Bypass,
}

impl Proxies {
    /// The variables that are read, in pairs: of two that are set, the first counts.
    pub const VARIABLES: [[&'static str; 2]; 4] = [
        ["http_proxy", "HTTP_PROXY"],
        ["https_proxy", "HTTPS_PROXY"],
        ["all_proxy", "ALL_PROXY"],
        ["no_proxy", "NO_PROXY"],
    ];

    /// Reads what the variables say that every other tool minds too.
    ///
    /// # Errors
    /// One of them is no proxy that can be spoken to.
    pub fn of_variables(read: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidProxy> {
        let filled = |name: &str| read(name).filter(|value| !value.trim().is_empty());
        let [http, https, all, none] = Self::VARIABLES;
        // A web server's scripts get a client's `Proxy:` header under this name.
        let is_script = read("REQUEST_METHOD").is_some();
        let first = |names: [&'static str; 2]| {
            let usable = |name: &&str| !(is_script && *name == "HTTP_PROXY");
            let mut names = names.into_iter().filter(usable);
            names.find_map(|name| Some((name, filled(name)?)))
        };
        let proxy = |names| {
            let found = first(names).or_else(|| first(all));
            found
                .map(|(name, value)| Proxy::parse(&value, name))
                .transpose()
        };
        let list = first(none).map(|(_, list)| list).unwrap_or_default();
        Ok(Self {
            http: proxy(http)?,
            https: proxy(https)?,
            bypass: Bypass::lenient(&list),
        })
    }

    /// Returns the proxy that a host is asked through, if there is one.
    #[must_use]
    pub fn of(&self, secure: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if secure { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.bypass.covers(host, port))
    }

    /// Returns each proxy with the schemes that it is for.
    #[must_use]
    pub fn all(&self) -> Vec<(&Proxy, &'static str)> {
        match (&self.http, &self.https) {
            (Some(http), Some(https)) if http == https => vec![(http, "http and https")],
            (http, https) => {
                let http = http.iter().map(|proxy| (proxy, "http"));
                http.chain(https.iter().map(|proxy| (proxy, "https")))
                    .collect()
            }
        }
    }
}

/// A proxy that speaks HTTP/1.1, with or without TLS.
#[derive(Clone, Eq, PartialEq)]
pub struct Proxy {
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    origin: String,
    login: Option<(String, String)>,
}

impl Proxy {
    /// Reads a URL, or a host and port; a user and a password in it are the login. `origin` says where it
    /// stands: a variable's name, or a key of the document.
    ///
    /// # Errors
    /// It is no address, or its scheme is another than `http` and `https`.
    pub fn parse(text: &str, origin: &str) -> Result<Self, InvalidProxy> {
        let invalid = |reason: String| InvalidProxy {
            origin: origin.to_owned(),
            reason,
        };
        let text = text.trim();
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&text).map_err(|error| invalid(format!("it is no URL: {error}")))?;
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            other => {
                let other: String = other.chars().take(20).collect();
                return Err(invalid(format!(
                    "`{other}` is no kind of proxy that is spoken to: only http and https are"
                )));
            }
        };
        let host = url.host_str().unwrap_or_default();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("it has a path, which no proxy has".to_owned()));
        }
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let login = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let password = url.password().unwrap_or_default();
            (decoded(url.username()), decoded(password))
        });
        Ok(Self {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or(80),
            origin: origin.to_owned(),
            login,
        })
    }

    /// Returns the same proxy with a login for it.
    #[must_use]
    pub fn with_login(mut self, username: &str, password: &str) -> Self {
        self.login = Some((username.to_owned(), password.to_owned()));
        self
    }

    /// Returns the same proxy, written down elsewhere.
    #[must_use]
    pub fn written_at(mut self, origin: &str) -> Self {
        origin.clone_into(&mut self.origin);
        self
    }

    /// Returns the user and the password that it is sent, to be masked.
    #[must_use]
    pub fn login(&self) -> Option<(&str, &str)> {
        let (username, password) = self.login.as_ref()?;
        Some((username, password))
    }

    /// Returns its host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns where it stands: a variable's name, or a key of the document.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the value of `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let (username, password) = self.login.as_ref()?;
        let encoded = STANDARD.encode(format!("{username}:{password}"));
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let Self {
            host, port, origin, ..
        } = self;
        write!(f, "{scheme}://{} ({origin})", authority(host, *port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// What is said of a proxy that can't be one. The text itself is not shown: there may be a password in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidProxy {
    /// Where it stands.
    pub origin: String,
    /// What is wrong with it.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Proxies, InvalidProxy> {
        let set: Vec<_> = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Proxies::of_variables(|name| {
            let found = set.iter().find(|(set, _)| set == name);
            found.map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn variables_in_both_cases() {
        let shown = |set: &[(&str, &str)]| {
            let proxies = read(set).unwrap();
            let one = |secure| proxies.of(secure, "a.example", 1).map(ToString::to_string);
            (one(false), one(true))
        };
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(shown(&[]), (None, None));
        assert_eq!(
            shown(&[("HTTP_PROXY", "p:3128"), ("https_proxy", "https://q")]),
            (
                said("http://p:3128 (HTTP_PROXY)"),
                said("https://q:443 (https_proxy)")
            )
        );
        assert_eq!(
            shown(&[("HTTPS_PROXY", "http://u"), ("https_proxy", "http://l")]),
            (None, said("http://l:80 (https_proxy)"))
        );
        assert_eq!(
            shown(&[("ALL_PROXY", "[2001:db8::1]:8080"), ("HTTPS_PROXY", " ")]),
            (
                said("http://[2001:db8::1]:8080 (ALL_PROXY)"),
                said("http://[2001:db8::1]:8080 (ALL_PROXY)")
            )
        );
        assert_eq!(
            shown(&[("ALL_PROXY", "p"), ("NO_PROXY", "b.example,a.example")]),
            (None, None)
        );
        let script = [("HTTP_PROXY", "http://evil"), ("REQUEST_METHOD", "GET")];
        assert_eq!(shown(&script), (None, None));
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        for odd in [
            "socks5://me:pa55@p:1080",
            "http://me:pa55@p/path",
            "http://me:pa55@p:99999",
            "://me:pa55@",
        ] {
            let error = read(&[("ALL_PROXY", odd)]).unwrap_err();
            assert_eq!(error.origin, "ALL_PROXY");
            assert!(!format!("{error:?}").contains("pa55"), "{error:?}");
        }
    }

    #[test]
    fn a_login_is_decoded_and_never_shown() {
        let proxy = Proxy::parse("http://m%40e:pa%3A55@p:1", "X").unwrap();
        assert_eq!(proxy.login(), Some(("m@e", "pa:55")));
        assert_eq!(format!("{proxy} {proxy:?}").matches("pa").count(), 0);
        let sent = proxy.authorization().unwrap();
        assert_eq!(sent, format!("Basic {}", STANDARD.encode("m@e:pa:55")));
        assert!(format!("{sent:?}").contains("Sensitive"));
    }
}
