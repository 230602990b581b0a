//! Names and addresses in a document.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::convert::{Context, FromNode, FromScalar, Problem, Shape};
use super::interpolate::undefined;
use super::source::{Span, Spanned};
use super::tree::Node;
use crate::authority::authority;
use crate::oci::hosts::{Place, PlaceError};
use crate::trust::Pattern;
use crate::trust::pattern::PatternError;

/// The longest name.
const LONGEST_NAME: usize = 64;

/// The name of an input, a secret, an image, a signer or a probe.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(pub String);

impl FromScalar for Name {
    const WHAT: &'static str = "a name";
    const EXAMPLE: &'static str = "web";

    fn parse(text: &str) -> Result<Self, Problem> {
        name(text).map(|()| Self(text.to_owned()))
    }

    fn stand_in() -> Self {
        Self("stand-in".to_owned())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,63}$"})
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn name(text: &str) -> Result<(), Problem> {
    let form = "a name starts with a letter, and has letters, digits, `-` and `_` after it";
    if text.is_empty() {
        return Err(Problem::new("the name is empty"));
    }
    if text.len() > LONGEST_NAME {
        return Err(Problem::new(format!(
            "a name has at most {LONGEST_NAME} characters"
        )));
    }
    let sound =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    if let Some(found) = text.chars().find(|character| !sound(*character)) {
        let problem = Problem::new(format!("`{found}` cannot stand in a name: {form}"));
        return Err(if found.is_ascii() {
            problem
        } else {
            problem.helped(
                "type it anew: the letter only looks like one of a to z, or is an accented one",
            )
        });
    }
    if !text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return Err(Problem::new(form));
    }
    Ok(())
}

/// The id of a step, unique in the document.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StepId(pub String);

impl StepId {
    /// Returns the place-holder of a step that has not been given its id yet.
    pub fn unnamed() -> Spanned<Self> {
        Spanned::new(Self::default(), Span::default())
    }
}

impl FromScalar for StepId {
    const WHAT: &'static str = "a step's id";
    const EXAMPLE: &'static str = "live";

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.contains("${") {
            return Err(Problem::new(
                "an id is written out: conditions and options name steps by it",
            ));
        }
        name(text).map(|()| Self(text.to_owned()))
    }

    fn stand_in() -> Self {
        Self::default()
    }

    fn scalar_schema() -> Schema {
        Name::scalar_schema()
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an image that the document declares.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageName(pub Spanned<Name>);

impl ImageName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0.value.0
    }
}

impl FromNode for ImageName {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let name = match node.scalar() {
            Some(scalar)
                if scalar.text.contains(['/', ':', '@']) && !scalar.text.contains("${") =>
            {
                let names = context.scope.names.images.clone();
                let diagnostic = undefined(
                    context.source,
                    node.span,
                    "image",
                    &scalar.text,
                    &names,
                )
                .caused_by("a step names an image by its name under `images`, not by its reference")
                .helped("declare the reference under `images`, and write its name here");
                context.push(diagnostic);
                return None;
            }
            _ => Spanned::<Name>::from_node(node, context)?,
        };
        let names = &context.scope.names;
        if name.known && names.complete && !names.images.contains(&name.0) {
            let diagnostic = undefined(context.source, name.span, "image", &name.0, &names.images);
            context.push(diagnostic);
            return None;
        }
        Some(Self(name))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        Name::schema(generator)
    }
}

/// A registry's host, with a port if it is not the usual one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RegistryHost(pub String);

impl FromScalar for RegistryHost {
    const WHAT: &'static str = "a registry's host";
    const EXAMPLE: &'static str = "ghcr.io";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some((_, rest)) = text.split_once("://") {
            return Err(Problem {
                suggestion: Some(rest.trim_end_matches('/').to_owned()),
                ..Problem::new("a registry is named by its host alone, as in image references")
            });
        }
        if let Some((host, _)) = text.split_once('/') {
            return Err(Problem {
                suggestion: Some(host.to_owned()),
                ..Problem::new("a registry is named by its host alone, without a path")
            });
        }
        let (host, port) = split_port(text);
        check_host(host)?;
        if let Some(port) = port {
            check_port(port)?;
        } else if !text.contains(['.', '[']) && text != "localhost" {
            return Err(Problem::new(
                "without a dot or a port it is not a registry: in image references such a name is a folder on docker.io",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn stand_in() -> Self {
        Self("stand-in.invalid".to_owned())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$"})
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host that a registry may name, on port 443 if it has none.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NamedHost(pub Place);

impl FromScalar for NamedHost {
    const WHAT: &'static str = "a host";
    const EXAMPLE: &'static str = "blobs.example";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some((_, rest)) = text.split_once("://") {
            return Err(Problem {
                suggestion: Some(rest.split('/').next().unwrap_or(rest).to_owned()),
                ..Problem::new("a host is named alone, without a scheme")
            });
        }
        text.parse().map(Self).map_err(|error| {
            let problem = Problem::new(error.to_string());
            match error {
                PlaceError::NotAlone => problem,
                PlaceError::Star => problem.helped(
                    "write each host; `plan --lock FILE` finds those that a registry leads to now",
                ),
            }
        })
    }

    fn stand_in() -> Self {
        Self(Place::stand_in())
    }

    fn scalar_schema() -> Schema {
        RegistryHost::scalar_schema()
    }
}

/// A host and a port.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HostPort {
    /// The host: a name, an IPv4 address or an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl FromScalar for HostPort {
    const WHAT: &'static str = "an address";
    const EXAMPLE: &'static str = "web.example:8080";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some((_, rest)) = text.split_once("://") {
            return Err(Problem {
                suggestion: Some(rest.split('/').next().unwrap_or(rest).to_owned()),
                ..Problem::new("an address is a host and a port, without a scheme")
            });
        }
        let (host, port) = split_port(text);
        let Some(port) = port else {
            return Err(Problem::new("it has no port").helped(format!(
                "add the port, for instance `{}:8080`",
                if text.bytes().all(|b| b.is_ascii_digit()) {
                    "web.example"
                } else {
                    text
                }
            )));
        };
        check_host(host)?;
        let port = check_port(port)?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }

    fn stand_in() -> Self {
        Self {
            host: "stand-in.invalid".to_owned(),
            port: 1,
        }
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[^:/$]+):[0-9]{1,5}$"})
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// Reads a host with or without a port; the host comes back without brackets.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), Problem> {
    let (host, port) = split_port(text);
    check_host(host)?;
    let port = port.map(check_port).transpose()?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('[') {
        return match text.split_once(']') {
            Some((host, rest)) => (&text[..=host.len()], rest.strip_prefix(':')),
            None => (text, None),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn check_host(host: &str) -> Result<(), Problem> {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match address.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(Problem::new(format!("`{address}` is not an IPv6 address"))),
        };
    }
    if host.contains(':') {
        return Err(Problem::new(
            "an IPv6 address stands in brackets, for instance `[::1]:5000`",
        ));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if host.is_empty() {
        return Err(Problem::new("the host is empty"));
    }
    if !host.strip_suffix('.').unwrap_or(host).split('.').all(label) {
        return Err(Problem::new(format!("`{host}` is not a host name")));
    }
    Ok(())
}

fn check_port(port: &str) -> Result<u16, Problem> {
    match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(Problem::new(format!(
            "`{port}` is not a port: ports are numbers from 1 to 65535"
        ))),
    }
}

/// The name of an environment variable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VariableName(pub String);

impl FromScalar for VariableName {
    const WHAT: &'static str = "the name of a variable";
    const EXAMPLE: &'static str = "GHCR_TOKEN";

    fn parse(text: &str) -> Result<Self, Problem> {
        let sound = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if sound {
            return Ok(Self(text.to_owned()));
        }
        let bare = text.trim_start_matches('$');
        Err(Problem {
            suggestion: (bare != text).then(|| bare.to_owned()),
            ..Problem::new("the name of a variable has letters, digits and `_`, and no `$`")
        })
    }

    fn stand_in() -> Self {
        Self("STAND_IN".to_owned())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
    }
}

/// The name of an HTTP header.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HeaderName(pub String);

impl FromScalar for HeaderName {
    const WHAT: &'static str = "the name of a header";
    const EXAMPLE: &'static str = "authorization";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        if http::HeaderName::from_bytes(text.as_bytes()).is_err() {
            return Err(Problem::new(
                "the name of a header has letters, digits and `-`",
            ));
        }
        let framing = ["host", "content-length", "transfer-encoding", "connection"];
        if framing.contains(&text.to_lowercase().as_str()) {
            return Err(Problem::new(format!(
                "`{text}` follows from the request and cannot be set"
            ))
            .helped("remove it"));
        }
        Ok(Self(text.to_lowercase()))
    }

    fn stand_in() -> Self {
        Self("stand-in".to_owned())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"})
    }
}

impl FromScalar for Pattern {
    const WHAT: &'static str = "a pattern for images";
    const EXAMPLE: &'static str = "ghcr.io/acme/**";

    fn parse(text: &str) -> Result<Self, Problem> {
        let pattern: Self = text
            .parse()
            .map_err(|error: PatternError| Problem::new(error.reason).helped(error.hint))?;
        let registry = text.split('/').next().unwrap_or(text);
        if !registry.contains(['.', ':', '*']) && registry != "localhost" {
            return Err(Problem {
                suggestion: Some(format!("docker.io/{text}")),
                ..Problem::new(format!(
                    "`{registry}` is not a registry's host, so the pattern would match nothing"
                ))
            });
        }
        Ok(pattern)
    }

    #[expect(clippy::expect_used, reason = "the text is a pattern")]
    fn stand_in() -> Self {
        "**".parse().expect("a pattern")
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Za-z0-9./:_*\\[\\]-]+$"})
    }
}
