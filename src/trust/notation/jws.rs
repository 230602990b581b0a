//! Envelopes in JSON: one signature in the flattened form of RFC 7515.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::crypto::Algorithm;
use super::envelope::{AUTHENTIC_TIME, EXPIRY, PLUGIN, Raw, SCHEME, SIGNING_TIME};
use super::flaw::Flaw;
use crate::trust::judge::quoted;

/// Parses an envelope; of what is in it nothing is checked.
pub(super) fn parse(bytes: &[u8]) -> Result<Raw, Flaw> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(unreadable)?;
    let protected = decoded("protected", &envelope.protected)?;
    let Attributes(mut attributes) = serde_json::from_slice(&protected).map_err(unreadable)?;
    let payload = decoded("payload", &envelope.payload)?;
    let signature = decoded("signature", &envelope.signature)?;
    let certificates = envelope
        .header
        .x5c
        .iter()
        .map(|text| BASE64_STANDARD.decode(text))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    let time_stamp = envelope.header.time_stamp.filter(|it| !it.is_empty());
    let time_stamp = time_stamp
        .map(|text| BASE64_STANDARD.decode(text))
        .transpose()
        .map_err(unreadable)?;
    let name = text(attributes.remove("alg"), "alg")?.unwrap_or_default();
    let known = Algorithm::ALL.into_iter().find(|it| it.name() == name);
    let algorithm = known.ok_or_else(|| {
        Flaw::bad(
            "the algorithm is not one of the Notary Project",
            Algorithm::ALL.map(Algorithm::name).join(", "),
            quoted(&name),
        )
    })?;
    let critical = match attributes.remove("crit") {
        None => Vec::new(),
        Some(list) => Vec::<String>::deserialize(list).map_err(unreadable)?,
    };
    let names = attributes.keys().cloned().collect();
    let mut message = envelope.protected.into_bytes();
    message.push(b'.');
    message.extend_from_slice(envelope.payload.as_bytes());
    Ok(Raw {
        algorithm,
        content_type: text(attributes.remove("cty"), "cty")?.unwrap_or_default(),
        critical,
        attributes: names,
        scheme: text(attributes.remove(SCHEME), SCHEME)?.unwrap_or_default(),
        signing_time: time(attributes.remove(SIGNING_TIME), SIGNING_TIME)?,
        authentic_time: time(attributes.remove(AUTHENTIC_TIME), AUTHENTIC_TIME)?,
        expiry: time(attributes.remove(EXPIRY), EXPIRY)?,
        plugin: text(attributes.remove(PLUGIN), PLUGIN)?,
        payload,
        message,
        signature,
        certificates,
        time_stamp,
    })
}

fn decoded(what: &str, encoded: &str) -> Result<Vec<u8>, Flaw> {
    BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|error| {
        Flaw::bad(
            format!("the part `{what}` of the envelope can't be read"),
            "base64 for URLs, without padding",
            quoted(&error.to_string()),
        )
    })
}

fn text(value: Option<Value>, name: &str) -> Result<Option<String>, Flaw> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Flaw::bad(
            format!("the attribute `{name}` is no text"),
            "a text",
            quoted(&other.to_string()),
        )),
    }
}

fn time(value: Option<Value>, name: &str) -> Result<Option<Timestamp>, Flaw> {
    let Some(text) = text(value, name)? else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Flaw::bad(
            format!("the attribute `{name}` is no time"),
            "a time as in RFC 3339",
            quoted(&text),
        )
    })
}

fn unreadable(error: impl fmt::Display) -> Flaw {
    Flaw::bad(
        "the envelope can't be read",
        "a flattened JWS in JSON",
        quoted(&error.to_string()),
    )
}

/// The members of the general form, and those of other signatures, are not known and refused: what one reader takes
/// for the signature, no other may pass over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    protected: String,
    header: Header,
    signature: String,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    x5c: Vec<String>,
    #[serde(default, rename = "io.cncf.notary.timestampSignature")]
    time_stamp: Option<String>,
}

/// The members of an object, each of which is there once.
struct Attributes(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the protected attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if found.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                }
                Ok(Attributes(found))
            }
        }

        deserializer.deserialize_map(Once)
    }
}
