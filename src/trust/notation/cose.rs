//! Envelopes in CBOR: a tagged `COSE_Sign1` of RFC 9052.

use coset::cbor::Value;
use coset::{
    ContentType, CoseSign1, Label, RegisteredLabelWithPrivate, TaggedCborSerializable as _, iana,
};
use jiff::Timestamp;

use super::crypto::Algorithm;
use super::envelope::{AUTHENTIC_TIME, EXPIRY, PLUGIN, Raw, SCHEME, SIGNING_TIME, TIME_STAMP};
use super::flaw::Flaw;
use crate::trust::judge::quoted;

/// Parses an envelope; of what is in it nothing is checked.
pub(super) fn parse(bytes: &[u8]) -> Result<Raw, Flaw> {
    let envelope = CoseSign1::from_tagged_slice(bytes).map_err(|error| {
        Flaw::bad(
            "the envelope can't be read",
            "a tagged COSE_Sign1",
            quoted(&error.to_string()),
        )
    })?;
    let message = envelope.tbs_data(&[]);
    let header = envelope.protected.header;
    let algorithm = match header.alg {
        Some(RegisteredLabelWithPrivate::Assigned(algorithm)) => match algorithm {
            iana::Algorithm::ES256 => Some(Algorithm::Es256),
            iana::Algorithm::ES384 => Some(Algorithm::Es384),
            iana::Algorithm::ES512 => Some(Algorithm::Es512),
            iana::Algorithm::PS256 => Some(Algorithm::Ps256),
            iana::Algorithm::PS384 => Some(Algorithm::Ps384),
            iana::Algorithm::PS512 => Some(Algorithm::Ps512),
            _ => None,
        },
        _ => None,
    };
    let Some(algorithm) = algorithm else {
        return Err(Flaw::bad(
            "the algorithm is not one of the Notary Project",
            Algorithm::ALL.map(Algorithm::name).join(", "),
            quoted(&format!("{:?}", header.alg)),
        ));
    };
    let critical = header.crit.iter().map(|label| match label {
        RegisteredLabelWithPrivate::Text(name) => name.clone(),
        RegisteredLabelWithPrivate::Assigned(label) => format!("{label:?}"),
        RegisteredLabelWithPrivate::PrivateUse(number) => number.to_string(),
    });
    let critical = critical.collect();
    let mut attributes = Vec::new();
    let mut raw = Raw {
        algorithm,
        content_type: match header.content_type {
            Some(ContentType::Text(text)) => text,
            _ => String::new(),
        },
        critical,
        attributes: Vec::new(),
        scheme: String::new(),
        signing_time: None,
        authentic_time: None,
        expiry: None,
        plugin: None,
        payload: envelope.payload.unwrap_or_default(),
        message,
        signature: envelope.signature,
        certificates: Vec::new(),
        time_stamp: None,
    };
    for (label, value) in header.rest {
        let name = match label {
            Label::Text(name) => name,
            Label::Int(number) => number.to_string(),
        };
        match name.as_str() {
            SCHEME => raw.scheme = text(value, SCHEME)?,
            PLUGIN => raw.plugin = Some(text(value, PLUGIN)?),
            SIGNING_TIME => raw.signing_time = Some(time(&value, SIGNING_TIME)?),
            AUTHENTIC_TIME => raw.authentic_time = Some(time(&value, AUTHENTIC_TIME)?),
            EXPIRY => raw.expiry = Some(time(&value, EXPIRY)?),
            _ => {}
        }
        attributes.push(name);
    }
    raw.attributes = attributes;
    for (label, value) in envelope.unprotected.rest {
        match label {
            Label::Int(CHAIN) => raw.certificates = chain(value)?,
            Label::Text(name) if name == TIME_STAMP => {
                raw.time_stamp = Some(bytes_of(value, TIME_STAMP)?).filter(|it| !it.is_empty());
            }
            _ => {}
        }
    }
    Ok(raw)
}

fn chain(value: Value) -> Result<Vec<Vec<u8>>, Flaw> {
    match value {
        Value::Array(list) => list.into_iter().map(|it| bytes_of(it, "x5chain")).collect(),
        // A chain of one certificate needs no list (RFC 9360).
        value => Ok(vec![bytes_of(value, "x5chain")?]),
    }
}

fn bytes_of(value: Value, name: &str) -> Result<Vec<u8>, Flaw> {
    value
        .into_bytes()
        .map_err(|found| wrong(name, "bytes", &found))
}

fn text(value: Value, name: &str) -> Result<String, Flaw> {
    value
        .into_text()
        .map_err(|found| wrong(name, "a text", &found))
}

fn time(value: &Value, name: &str) -> Result<Timestamp, Flaw> {
    let expected = "a time with the tag 1, in whole seconds";
    let Value::Tag(1, seconds) = value else {
        return Err(wrong(name, expected, value));
    };
    seconds
        .as_integer()
        .and_then(|seconds| i64::try_from(seconds).ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| wrong(name, expected, value))
}

fn wrong(name: &str, expected: &str, found: &Value) -> Flaw {
    let kind = match found {
        Value::Integer(_) => "a number",
        Value::Bytes(_) => "bytes",
        Value::Float(_) => "a fraction",
        Value::Text(_) => "a text",
        Value::Bool(_) => "a truth value",
        Value::Null => "nothing",
        Value::Tag(..) => "something tagged",
        Value::Array(_) => "a list",
        Value::Map(_) => "a map",
        _ => "something else",
    };
    Flaw::bad(
        format!("the attribute `{name}` can't be read"),
        expected,
        kind,
    )
}

/// The label of the certificate chain, `x5chain`.
const CHAIN: i64 = 33;
