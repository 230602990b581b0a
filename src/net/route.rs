//! How a host is reached: at its own address, at another one, or through a proxy.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::proxy::{Proxies, Proxy};

use crate::authority::authority;

/// How hosts are reached. By default each is reached at its own address.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Who goes between.
    pub proxies: Proxies,
    /// Where the connections to a host go instead. What is said to the host (the name in TLS, `Host`,
    /// credentials) stays as it is.
    pub connect_to: BTreeMap<Peer, Peer>,
}

/// A host and a port, the same however it was written.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Peer {
    host: String,
    port: u16,
}

impl Peer {
    /// Takes a name, or an address with or without brackets.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().to_string(),
            Err(_) => host.to_ascii_lowercase(),
        };
        Self { host, port }
    }

    /// Returns the host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// The way to one host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// To the host itself.
    Direct,
    /// To another host, which stands for it.
    Elsewhere(Peer),
    /// Requests are handed to a proxy one by one, in full.
    Forward(Proxy),
    /// A connection through a proxy, to the host or to the one that stands for it.
    Tunnel(Proxy, Peer),
}

impl Routes {
    /// Returns the way to a host; `secure` says whether TLS is spoken with it.
    #[must_use]
    pub fn to(&self, secure: bool, host: &str, port: u16) -> Route {
        let own = Peer::new(host, port);
        let elsewhere = self.connect_to.get(&own).filter(|other| **other != own);
        let dialled = elsewhere.unwrap_or(&own);
        // Whether a proxy is needed depends on where the connection goes, not on what it is called.
        let proxy = self.proxies.of(secure, &dialled.host, dialled.port);
        match (proxy, elsewhere) {
            (None, None) => Route::Direct,
            (None, Some(other)) => Route::Elsewhere(other.clone()),
            // A proxy that reads the request would go to the host that is named in it.
            (Some(proxy), Some(other)) => Route::Tunnel(proxy.clone(), other.clone()),
            (Some(proxy), None) if secure => Route::Tunnel(proxy.clone(), own),
            (Some(proxy), None) => Route::Forward(proxy.clone()),
        }
    }
}

impl Route {
    /// Says what stands between, if anything does.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Direct => None,
            Self::Elsewhere(other) => Some(format!("connect-to {other}")),
            Self::Forward(proxy) => Some(format!("through the proxy {proxy}")),
            Self::Tunnel(proxy, _) => Some(format!("through the proxy {proxy}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let proxy = |text| Some(Proxy::parse(text, "net.proxy").unwrap());
        let to = [
            (("public.example", 443), ("private.example", 8443)),
            (("plain.example", 80), ("inner.example", 80)),
            (("direct.example", 443), ("10.0.0.1", 443)),
        ];
        Routes {
            proxies: Proxies {
                http: proxy("http://h:1"),
                https: proxy("http://s:2"),
                bypass: super::super::Bypass::lenient("10.0.0.0/8,public.example"),
            },
            connect_to: to
                .into_iter()
                .map(|((a, b), (c, d))| (Peer::new(a, b), Peer::new(c, d)))
                .collect(),
        }
    }

    #[test]
    fn the_way_depends_on_scheme_host_and_port() {
        let shown = |secure, host, port| match routes().to(secure, host, port) {
            Route::Direct => "direct".to_owned(),
            Route::Elsewhere(other) => format!("at {other}"),
            Route::Forward(proxy) => format!("by {proxy}"),
            Route::Tunnel(proxy, other) => format!("{other} by {proxy}"),
        };
        assert_eq!(
            shown(true, "a.example", 443),
            "a.example:443 by http://s:2 (net.proxy)"
        );
        assert_eq!(shown(false, "a.example", 80), "by http://h:1 (net.proxy)");
        assert_eq!(shown(true, "127.0.0.1", 443), "direct");
        // The one that is dialled is not exempt, the one that it stands for would be.
        assert_eq!(
            shown(true, "PUBLIC.example.", 443),
            "private.example:8443 by http://s:2 (net.proxy)"
        );
        assert_eq!(shown(true, "public.example", 444), "direct");
        assert_eq!(
            shown(false, "plain.example", 80),
            "inner.example:80 by http://h:1 (net.proxy)"
        );
        assert_eq!(shown(true, "direct.example", 443), "at 10.0.0.1:443");
    }
}
