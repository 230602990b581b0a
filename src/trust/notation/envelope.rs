//! Signature envelopes: what both forms have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::certificate::{Certificate, MOST_CERTIFICATES, Purpose, check_chain};
use super::crypto::Algorithm;
use super::flaw::Flaw;
use super::{cose, jws};
use crate::trust::judge::quoted;

/// An envelope whose signature is by the certificate that it carries. Whose that is, nobody has looked at yet.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) scheme: Scheme,
    pub(super) signed_at: Timestamp,
    pub(super) expiry: Option<Timestamp>,
    /// From the signer's certificate to one that signed itself.
    pub(super) chain: Vec<Certificate>,
    pub(super) target: Target,
    pub(super) signature: Vec<u8>,
    pub(super) time_stamp: Option<Vec<u8>>,
}

/// Who vouches for the time of a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scheme {
    /// The signer says it, and a time-stamp authority may prove it.
    X509,
    /// An authority that signs for others says it.
    SigningAuthority,
}

impl Scheme {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X509 => "notary.x509",
            Self::SigningAuthority => "notary.x509.signingAuthority",
        }
    }
}

/// What is signed: the descriptor of an image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// An envelope as its form has it: parsed, nothing checked.
pub(super) struct Raw {
    pub(super) algorithm: Algorithm,
    pub(super) content_type: String,
    pub(super) critical: Vec<String>,
    /// The names of all signed attributes, `alg` and `crit` left out.
    pub(super) attributes: Vec<String>,
    pub(super) scheme: String,
    pub(super) signing_time: Option<Timestamp>,
    pub(super) authentic_time: Option<Timestamp>,
    pub(super) expiry: Option<Timestamp>,
    pub(super) plugin: Option<String>,
    pub(super) payload: Vec<u8>,
    /// The bytes that the signature is over.
    pub(super) message: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) time_stamp: Option<Vec<u8>>,
}

impl Envelope {
    /// Parses an envelope and checks that it is whole: its form, its signature, and its chain apart from dates.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn read(media_type: &str, bytes: &[u8]) -> Result<Self, Flaw> {
        let raw = match media_type {
            JWS => jws::parse(bytes)?,
            COSE => cose::parse(bytes)?,
            other => {
                return Err(Flaw::bad(
                    "the envelope is of an unknown form",
                    format!("{JWS} or {COSE}"),
                    quoted(other),
                ));
            }
        };
        Self::verify(raw)
    }

    fn verify(raw: Raw) -> Result<Self, Flaw> {
        if raw.certificates.len() > MOST_CERTIFICATES {
            return Err(Flaw::bad(
                "the certificate chain is too long",
                format!("at most {MOST_CERTIFICATES} certificates"),
                raw.certificates.len().to_string(),
            ));
        }
        let chain: Vec<Certificate> = raw
            .certificates
            .iter()
            .map(|der| Certificate::from_der(der))
            .collect::<Result<_, _>>()
            .map_err(|found| {
                Flaw::bad(
                    "a certificate of the chain can't be read",
                    "an X.509 certificate in DER",
                    found,
                )
            })?;
        let Some(leaf) = chain.first() else {
            return Err(Flaw::bad(
                "the envelope has no certificate",
                "a certificate chain",
                "none",
            ));
        };
        let Some(algorithm) = leaf.key.envelope() else {
            return Err(Flaw::bad(
                "the signing key is not one for signatures of images",
                "RSA 2048, 3072 or 4096, or ECDSA P-256, P-384 or P-521",
                leaf.key.to_string(),
            ));
        };
        if raw.algorithm != algorithm {
            return Err(Flaw::bad(
                "the algorithm is not the one of the signing key",
                format!("{} for {}", algorithm.name(), leaf.key),
                raw.algorithm.name(),
            ));
        }
        if !leaf.key.signed(algorithm, &raw.message, &raw.signature) {
            return Err(Flaw::bad(
                "the signature or what it signs was altered",
                format!("a signature by the key of {}", leaf.name()),
                "one that this key did not make",
            ));
        }
        let (scheme, signed_at) = attributes(&raw)?;
        check_chain(&chain, Purpose::CodeSigning).map_err(|(expected, found)| {
            Flaw::bad("the certificate chain is invalid", expected, found)
        })?;
        Ok(Self {
            scheme,
            signed_at,
            expiry: raw.expiry,
            target: target(&raw)?,
            chain,
            signature: raw.signature,
            time_stamp: raw.time_stamp,
        })
    }
}

/// Checks the signed attributes, and that none is critical that nobody here understands.
fn attributes(raw: &Raw) -> Result<(Scheme, Timestamp), Flaw> {
    if raw.content_type != PAYLOAD {
        return Err(Flaw::bad(
            "the payload is of another kind",
            PAYLOAD,
            quoted(&raw.content_type),
        ));
    }
    let schemes = [Scheme::X509, Scheme::SigningAuthority];
    let scheme = schemes.into_iter().find(|it| it.name() == raw.scheme);
    let Some(scheme) = scheme else {
        return Err(Flaw::bad(
            "the signing scheme is not known",
            schemes.map(Scheme::name).join(" or "),
            quoted(&raw.scheme),
        ));
    };
    if let Some(plugin) = &raw.plugin {
        return Err(Flaw::bad(
            "the signature asks for a verification plugin",
            "one that can be verified without running other programs",
            quoted(plugin),
        ));
    }
    let mut must = vec![SCHEME];
    if scheme == Scheme::SigningAuthority {
        must.push(AUTHENTIC_TIME);
    }
    if raw.expiry.is_some() {
        must.push(EXPIRY);
    }
    if let Some(missing) = must
        .iter()
        .find(|name| !raw.critical.iter().any(|it| it == *name))
    {
        return Err(Flaw::bad(
            "an attribute is not marked as critical",
            format!("`{missing}` in `crit`"),
            quoted(&raw.critical.join(", ")),
        ));
    }
    for name in &raw.critical {
        let present = raw.attributes.iter().any(|it| it == name);
        if !present {
            return Err(Flaw::bad(
                "a critical attribute is missing",
                format!("`{}`", quoted(name)),
                "no attribute of that name",
            ));
        }
        if !must.contains(&name.as_str()) {
            return Err(Flaw::bad(
                "a critical attribute is not understood",
                must.join(", "),
                quoted(name),
            ));
        }
    }
    let (time, other) = match scheme {
        Scheme::X509 => (raw.signing_time, raw.authentic_time),
        Scheme::SigningAuthority => (raw.authentic_time, raw.signing_time),
    };
    let (Some(time), None) = (time, other) else {
        return Err(Flaw::bad(
            "the signing time is not the one of the scheme",
            match scheme {
                Scheme::X509 => SIGNING_TIME,
                Scheme::SigningAuthority => AUTHENTIC_TIME,
            },
            if other.is_some() {
                "the other one"
            } else {
                "none"
            },
        ));
    };
    if raw.expiry.is_some_and(|expiry| expiry <= time) {
        return Err(Flaw::bad(
            "the signature ends before it was made",
            format!("an expiry after {time}"),
            raw.expiry.map_or_else(String::new, |it| it.to_string()),
        ));
    }
    Ok((scheme, time))
}

fn target(raw: &Raw) -> Result<Target, Flaw> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        target_artifact: Target,
    }
    let payload: Payload = serde_json::from_slice(&raw.payload).map_err(|error| {
        Flaw::bad(
            "the payload can't be read",
            "the descriptor of an image in `targetArtifact`",
            quoted(&error.to_string()),
        )
    })?;
    Ok(payload.target_artifact)
}

/// The type of envelopes in JSON.
pub(super) const JWS: &str = "application/jose+json";
/// The type of envelopes in CBOR.
pub(super) const COSE: &str = "application/cose";
const PAYLOAD: &str = "application/vnd.cncf.notary.payload.v1+json";

pub(super) const SCHEME: &str = "io.cncf.notary.signingScheme";
pub(super) const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
pub(super) const AUTHENTIC_TIME: &str = "io.cncf.notary.authenticSigningTime";
pub(super) const EXPIRY: &str = "io.cncf.notary.expiry";
pub(super) const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
pub(super) const TIME_STAMP: &str = "io.cncf.notary.timestampSignature";
