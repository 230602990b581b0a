//! By which ways hosts are reached, as the document says it.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::address::RegistryHost;
use super::convert::{Context, FromNode, FromScalar, Problem};
use super::diagnostic::Kind;
use super::login::Login;
use super::record::record;
use super::source::Spanned;
use super::tree::Node;
use crate::net::proxy::Rule;
use crate::net::{Peer, Proxy};

/// Where every client's connections go first.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ProxySetting {
    /// What `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// To these proxies.
    Named(Box<NamedProxies>),
    /// To the hosts themselves, whatever the variables say.
    None,
}

impl FromNode for ProxySetting {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match node.scalar().map(|scalar| scalar.text.as_str()) {
            Some("environment") => Some(Self::Environment),
            Some("none") => Some(Self::None),
            _ => NamedProxies::from_node(node, context).map(|named| Self::Named(Box::new(named))),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let named = NamedProxies::schema(generator);
        json_schema!({"anyOf": [{"enum": ["environment", "none"]}, named]})
    }
}

record! {
    /// Proxies that speak HTTP/1.1. The name of a host is looked up by the proxy.
    pub struct NamedProxies("a proxy") {
        /// The proxy of all URLs.
        url: Option<Spanned<ProxyUrl>>,
        /// The proxy of `http` URLs, which is handed each request.
        http: Option<Spanned<ProxyUrl>>,
        /// The proxy of `https` URLs, which opens a tunnel to each host.
        https: Option<Spanned<ProxyUrl>>,
        /// A user name and a password for the proxy.
        auth: Option<Login>,
        /// Who is reached without: hosts, domains with all hosts below them, and networks of addresses. Loopback addresses always are.
        no_proxy: Vec<NoProxy> = Vec::new(),
    }
    short = url;
    check = check_named;
}

fn check_named(named: &NamedProxies, node: &Node, context: &mut Context<'_>) {
    let (url, http, https) = (&named.url, &named.http, &named.https);
    let span = context.head(node);
    if url.is_none() && http.is_none() && https.is_none() {
        let missing = context
            .error(Kind::MissingKey, span, "there is no proxy in it")
            .caused_by("`proxy` has a `url`, or one for `http` and one for `https`")
            .helped("write `proxy: http://proxy.corp.example:3128`, or `none`");
        context.push(missing);
    }
    if let (Some(_), Some(other)) = (url, http.as_ref().or(https.as_ref())) {
        let conflict = context
            .error(Kind::Conflict, other.span, "two proxies for the same URLs")
            .caused_by("`url` is the proxy of all URLs already")
            .helped("keep `url`, or write `http` and `https`");
        context.push(conflict);
    }
}

impl NamedProxies {
    /// Returns the proxies of `http` and of `https` URLs, with the login.
    #[must_use]
    pub fn proxies(&self) -> (Option<Proxy>, Option<Proxy>) {
        let logged_in = |proxy: &Spanned<ProxyUrl>, key: &str| {
            let proxy = proxy.value.0.clone().written_at(key);
            match &self.auth {
                Some(login) => proxy.with_login(&login.username, login.password.0.expose()),
                None => proxy,
            }
        };
        let all = |key: Option<&Spanned<ProxyUrl>>, name: &str| {
            let own = key.map(|proxy| logged_in(proxy, name));
            own.or_else(|| self.url.as_ref().map(|proxy| logged_in(proxy, "net.proxy")))
        };
        (
            all(self.http.as_ref(), "net.proxy.http"),
            all(self.https.as_ref(), "net.proxy.https"),
        )
    }
}

/// The address of a proxy, without a login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyUrl(pub Proxy);

impl FromScalar for ProxyUrl {
    const WHAT: &'static str = "a proxy";
    const EXAMPLE: &'static str = "http://proxy.corp.example:3128";

    fn parse(text: &str) -> Result<Self, Problem> {
        let proxy =
            Proxy::parse(text, "net.proxy").map_err(|error| Problem::new(error.to_string()))?;
        if proxy.login().is_some() {
            return Err(Problem {
                kind: Kind::PlainSecret,
                ..Problem::new("it holds a user name or a password, which anybody can read")
            }
            .helped("put them in `auth`: `{url: …, auth: {username: ci, password: \"${secret.proxy}\"}}`"));
        }
        if !text.contains("://") {
            return Err(Problem {
                suggestion: Some(format!("http://{text}")),
                ..Problem::new(
                    "it has no scheme: `http://`, or `https://` for a proxy that speaks TLS",
                )
            });
        }
        Ok(Self(proxy))
    }

    #[expect(clippy::expect_used, reason = "the text is a proxy's address")]
    fn stand_in() -> Self {
        Self(Proxy::parse("http://stand-in.invalid", "net.proxy").expect("a proxy"))
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^https?://[^@/]+/?$"})
    }
}

/// An entry of the list of hosts that are reached without a proxy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoProxy(pub Rule);

impl FromScalar for NoProxy {
    const WHAT: &'static str = "a host, a domain or a network";
    const EXAMPLE: &'static str = "corp.example";

    fn parse(text: &str) -> Result<Self, Problem> {
        let rule = text.parse::<Rule>();
        rule.map(Self)
            .map_err(|error| Problem::new(error.to_string()))
    }

    #[expect(clippy::expect_used, reason = "the text is a host")]
    fn stand_in() -> Self {
        Self("stand-in.invalid".parse().expect("a host"))
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Za-z0-9.:*/_\\[\\]-]+$"})
    }
}

/// A host that stands for another one, on the same port unless it has one of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectTo {
    /// The host: a name, an IPv4 address or an IPv6 address without brackets.
    pub host: String,
    /// The port, if it is another.
    pub port: Option<u16>,
}

impl ConnectTo {
    /// Returns who is connected to in place of this one.
    #[must_use]
    pub fn instead_of(&self, peer: &Peer) -> Peer {
        Peer::new(&self.host, self.port.unwrap_or_else(|| peer.port()))
    }
}

impl FromScalar for ConnectTo {
    const WHAT: &'static str = "a host";
    const EXAMPLE: &'static str = "vpce-0abc.dkr.ecr.us-east-1.vpce.amazonaws.com";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some((_, rest)) = text.split_once("://") {
            return Err(Problem {
                suggestion: Some(rest.split('/').next().unwrap_or(rest).to_owned()),
                ..Problem::new("a host is named alone, without a scheme")
            });
        }
        let (host, port) = super::address::host_and_port(text)?;
        Ok(Self { host, port })
    }

    fn stand_in() -> Self {
        Self {
            host: "stand-in.invalid".to_owned(),
            port: None,
        }
    }

    fn scalar_schema() -> Schema {
        RegistryHost::scalar_schema()
    }
}
