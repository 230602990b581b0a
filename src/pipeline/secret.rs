//! Values that are never shown.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use url::Url;

use super::convert::{Context, FromNode};
use super::diagnostic::Kind;
use super::interpolate::{Piece, Resolved};
use super::tree::{Node, Scalar};
use crate::notice::HookUrl;

/// The fewest characters that a secret may have: fewer cannot be masked without hiding half the log.
pub const MINIMUM_CHARACTERS: usize = 6;

/// A text that is shown as `***` whatever prints it.
#[derive(Clone, Eq, PartialEq)]
pub struct SecretString(String);

impl SecretString {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SecretString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// A password. It must hold a secret: one that is written into the document is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Password(pub SecretString);

impl FromNode for Password {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let (resolved, value) = secret_text(node, context, "a password", "${secret.password}")?;
        let secret = resolved
            .pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Secret(..)));
        if !secret {
            context.push(written_out(context, node, "a password"));
            return None;
        }
        Some(Self(value))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "\\$\\{secret\\..+\\}"})
    }
}

/// A text that may hold secrets, the value of a header for instance.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretText(pub SecretString);

impl FromNode for SecretText {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let (_, value) = secret_text(node, context, "text", "Bearer ${secret.token}")?;
        if value.expose().contains(['\r', '\n']) {
            context.push(
                context
                    .error(Kind::BadValue, node.span, "the value has a line break")
                    .starred()
                    .caused_by("the value of a header is one line")
                    .helped("remove the line break, also from the secrets in it"),
            );
            return None;
        }
        Some(Self(value))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

/// A URL that may be a secret as a whole, as those of webhooks are.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretUrl {
    /// The URL.
    pub url: SecretString,
    /// Whether it is the one that a run will use, and not a stand-in.
    pub known: bool,
}

impl SecretUrl {
    /// Returns the host and port that requests go to, which may be shown.
    pub fn authority(&self) -> Option<(String, u16)> {
        let url = Url::parse(self.url.expose()).ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
    }

    fn read(node: &Node, context: &mut Context<'_>, written_is_refused: bool) -> Option<Self> {
        let (resolved, value) = secret_text(node, context, "a URL", "${secret.webhook}")?;
        let secret = resolved
            .pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Secret(..)));
        if !resolved.known {
            return Some(Self {
                url: value,
                known: false,
            });
        }
        let hook = value.expose().parse::<HookUrl>();
        let url = match (hook, Url::parse(value.expose().trim())) {
            (Ok(_), Ok(url)) if url.host_str().is_some() => url,
            (hook, _) => {
                let reason = hook
                    .err()
                    .map_or_else(|| "it has no host".to_owned(), |error| error.to_string());
                let diagnostic = context
                    .error(Kind::BadValue, node.span, "this URL cannot be used")
                    .caused_by(reason)
                    .helped(if secret {
                        "check the variable or the file that the secret is read from"
                    } else {
                        "write for instance `https://hooks.example/T000/B000`"
                    });
                let diagnostic = if value.expose().contains('@') {
                    diagnostic.starred()
                } else {
                    diagnostic
                };
                context.push(diagnostic);
                return None;
            }
        };
        if written_is_refused && !secret && !is_loopback(&url) {
            context.push(written_out(context, node, "this webhook"));
            return None;
        }
        Some(Self {
            url: value,
            known: true,
        })
    }
}

impl FromNode for SecretUrl {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        Self::read(node, context, false)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^https?://|\\$\\{.+\\}"})
    }
}

/// A URL whose path is the permission to post, as with Slack: it comes from a secret, or is a loopback address.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretWebhook(pub SecretUrl);

impl FromNode for SecretWebhook {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        SecretUrl::read(node, context, true).map(Self)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        SecretUrl::schema(generator)
    }
}

/// Says whether a URL stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Fills in a value that may hold secrets.
fn secret_text(
    node: &Node,
    context: &mut Context<'_>,
    what: &str,
    example: &str,
) -> Option<(Resolved, SecretString)> {
    let scalar = node.scalar().filter(|scalar| !Scalar::is_null(scalar));
    if scalar.is_none() {
        context.wrong_type(node, what, example);
        return None;
    }
    let resolved = context.resolve(node)?;
    let mut text = String::new();
    for piece in &resolved.pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Secret(_, value) => text.push_str(value.expose()),
            Piece::Late(late) => {
                context.push(
                    context
                        .error(
                            Kind::LateMisplaced,
                            node.span,
                            format!("`{}` is not known before the run", late.name),
                        )
                        .caused_by(format!(
                            "this value is {what}, which must be known when the run starts"
                        ))
                        .helped(
                            "such names may stand in `name` of a step, in `message` of a notice, and in `json.equals`, \
                             `json.not-equals` and `body.contains` of a probe",
                        ),
                );
                return None;
            }
        }
    }
    Some((resolved, SecretString::new(text)))
}

fn written_out(context: &Context<'_>, node: &Node, what: &str) -> super::Diagnostic {
    context
        .error(
            Kind::PlainSecret,
            node.span,
            format!("{what} is written into the document"),
        )
        .starred()
        .caused_by("whoever can read the document can use it, and it is not masked in logs")
        .helped("declare it under `secrets` as `{env: NAME}` or `{file: PATH}`, and write `${secret.NAME}` here")
}

/// Where a secret's value is, and where the secret is declared.
#[derive(Clone, Debug)]
pub struct SecretValue {
    /// The secret's name.
    pub name: String,
    /// Its value.
    pub value: SecretString,
    /// The user names that stand before it in credentials.
    pub users: Vec<String>,
}

/// Checks and trims a secret's value as it was read.
///
/// The line end that editors and `echo` put at the end of a file is not part of the secret.
///
/// # Errors
///
/// Returns the number of characters of a value that is too short to be masked.
pub fn clean(raw: &str, from_file: bool) -> Result<SecretString, usize> {
    let value = if from_file {
        raw.strip_suffix("\r\n")
            .or_else(|| raw.strip_suffix('\n'))
            .unwrap_or(raw)
    } else {
        raw
    };
    let characters = value.trim().chars().count();
    if characters < MINIMUM_CHARACTERS {
        return Err(characters);
    }
    Ok(SecretString::new(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret() {
        let secret = SecretString::new("hunter22");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
    }

    #[test]
    fn the_line_end_of_a_file_is_dropped() {
        assert_eq!(clean("hunter22\n", true).unwrap().expose(), "hunter22");
        assert_eq!(clean("hunter22\r\n", true).unwrap().expose(), "hunter22");
        assert_eq!(
            clean("a\nhunter22\n\n", true).unwrap().expose(),
            "a\nhunter22\n"
        );
        assert_eq!(clean("short\n", true), Err(5));
        assert_eq!(clean("", false), Err(0));
    }
}
