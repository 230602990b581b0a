//! Time stamps of RFC 3161, as they stand beside a signature.

use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{EncapsulatedContentInfo, SignerIdentifier, SignerInfo, SignerInfos};
use der::asn1::{Int, ObjectIdentifier, OctetString, OctetStringRef, SetOfVec};
use der::{Any, Decode, Encode, Sequence, Tag, Tagged};
use jiff::{SignedDuration, Timestamp};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::name::{GeneralName, GeneralNames};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::certificate::{Certificate, MOST_CERTIFICATES, Purpose, check_chain};
use super::crypto;
use super::flaw::Flaw;
use super::store::TrustStore;
use crate::trust::judge::quoted;

/// A time that an authority of a trust store has signed.
#[derive(Debug)]
pub(super) struct Stamp {
    /// When the signature was there, as exactly as the authority says.
    pub(super) earliest: Timestamp,
    pub(super) latest: Timestamp,
    /// From the authority's signing certificate to one of the store.
    pub(super) chain: Vec<Certificate>,
}

/// Verifies a token about a signature.
///
/// Which of the certificates in the token is the signer's is what the signed attribute `signingCertificateV2` says
/// (RFC 5816), never their order.
pub(super) fn verify(token: &[u8], signature: &[u8], store: &TrustStore) -> Result<Stamp, Flaw> {
    let signed = signed_data(token)?;
    let content = signed.content.econtent.as_ref();
    let content = content.filter(|it| it.tag() == Tag::OctetString);
    let Some(content) = content.map(Any::value) else {
        return Err(bad("a time", "no content"));
    };
    let info = Info::from_der(content).map_err(unreadable)?;
    let embedded = certificates(&signed)?;
    let mut signers = signed.signers.0.iter();
    let (Some(signer), None) = (signers.next(), signers.next()) else {
        return Err(bad("one signer", &signed.signers.0.len().to_string()));
    };
    let leaf = signed_by(signer, &embedded)?;
    verify_signer(signer, leaf, content)?;
    let (earliest, latest) = info.time()?;
    info.is_about(signature)?;
    let chain = chain(leaf, &embedded, store)?;
    for certificate in &chain {
        if let Some(oid) = certificate.unknown_critical() {
            return Err(bad(
                "certificates whose critical extensions are known",
                &format!("{oid} in {}", certificate.name()),
            ));
        }
    }
    check_chain(&chain, Purpose::TimeStamping)
        .map_err(|(expected, found)| bad(&expected, &found))?;
    let time = info.generated()?;
    let invalid = chain.iter().find(|it| !it.is_valid_at(time));
    if let Some(invalid) = invalid {
        return Err(Flaw::Expired {
            what: format!("the time-stamp authority's certificate {}", invalid.name()),
            expected: format!(
                "a time from {} to {}",
                invalid.not_before, invalid.not_after
            ),
            found: time.to_string(),
        });
    }
    Ok(Stamp {
        earliest,
        latest,
        chain,
    })
}

fn signed_data(token: &[u8]) -> Result<Signed, Flaw> {
    if token.len() > MOST_BYTES {
        return Err(bad(
            &format!("at most {MOST_BYTES} bytes"),
            &token.len().to_string(),
        ));
    }
    let outer = ContentInfo::from_der(token).map_err(unreadable)?;
    if outer.content_type != SIGNED_DATA {
        return Err(bad("signed data", &outer.content_type.to_string()));
    }
    let signed: Signed = outer.content.decode_as().map_err(unreadable)?;
    let kind = signed.content.econtent_type;
    if kind != TIME_STAMP {
        return Err(bad("a time stamp", &kind.to_string()));
    }
    Ok(signed)
}

fn certificates(signed: &Signed) -> Result<Vec<Certificate>, Flaw> {
    let Some(set) = &signed.certificates else {
        return Ok(Vec::new());
    };
    if set.len() > MOST_CERTIFICATES {
        return Err(bad(
            &format!("at most {MOST_CERTIFICATES} certificates"),
            &set.len().to_string(),
        ));
    }
    let certificates = set.iter().filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    });
    certificates
        .map(|certificate| {
            let der = certificate.to_der().map_err(unreadable)?;
            Certificate::from_der(&der).map_err(|found| bad("certificates", &found))
        })
        .collect()
}

/// Finds the certificate that the signer says it signed with.
fn signed_by<'a>(
    signer: &SignerInfo,
    embedded: &'a [Certificate],
) -> Result<&'a Certificate, Flaw> {
    let value = attribute(signer, SIGNING_CERTIFICATE)?;
    let reference: SigningCertificate = value.decode_as().map_err(unreadable)?;
    let Some(reference) = reference.certificates.first() else {
        return Err(bad("a reference to the certificate", "an empty one"));
    };
    let hash = reference
        .hash_algorithm
        .as_ref()
        .map_or(crypto::SHA256, |it| it.oid);
    let found = embedded.iter().find(|certificate| {
        let named = match (&reference.issuer, &signer.sid) {
            (Some(issuer), _) => {
                issuer.serial == *certificate.serial()
                    && issuer.issuer.iter().any(|name| {
                        matches!(name, GeneralName::DirectoryName(name)
                            if *name == certificate.parsed.tbs_certificate.issuer)
                    })
            }
            (None, SignerIdentifier::IssuerAndSerialNumber(it)) => {
                it.serial_number == *certificate.serial()
                    && it.issuer == certificate.parsed.tbs_certificate.issuer
            }
            (None, SignerIdentifier::SubjectKeyIdentifier(it)) => {
                certificate.identifier.as_ref() == Some(it)
            }
        };
        let hashed = crypto::hash(hash, &certificate.der);
        named && hashed.as_deref() == Some(reference.hash.as_bytes())
    });
    found.ok_or_else(|| {
        bad(
            "the certificate that it says it was signed with",
            "another one, or none",
        )
    })
}

fn verify_signer(signer: &SignerInfo, leaf: &Certificate, content: &[u8]) -> Result<(), Flaw> {
    let kind: ObjectIdentifier = attribute(signer, CONTENT_TYPE)?
        .decode_as()
        .map_err(unreadable)?;
    if kind != TIME_STAMP {
        return Err(bad("a signature of a time stamp", &kind.to_string()));
    }
    let value = attribute(signer, MESSAGE_DIGEST)?;
    let digest: OctetStringRef<'_> = value.decode_as().map_err(unreadable)?;
    let Some(computed) = crypto::hash(signer.digest_alg.oid, content) else {
        return Err(bad(
            "SHA-256, SHA-384 or SHA-512",
            &signer.digest_alg.oid.to_string(),
        ));
    };
    if digest.as_bytes() != computed {
        return Err(bad("a signature of its content", "one of something else"));
    }
    // What is signed is the set itself, not the tagged field that it stands in (RFC 5652, section 5.4).
    let attributes: Vec<Attribute> = signer
        .signed_attrs
        .iter()
        .flat_map(|it| it.iter().cloned())
        .collect();
    let attributes = SetOfVec::try_from(attributes)
        .and_then(|it| it.to_der())
        .map_err(unreadable)?;
    leaf.key
        .made(
            &signer.signature_algorithm,
            Some(signer.digest_alg.oid),
            &attributes,
            signer.signature.as_bytes(),
        )
        .map_err(|found| bad(&format!("a signature by {}", leaf.name()), &found))
}

/// Returns the value of a signed attribute that is there once.
fn attribute(signer: &SignerInfo, oid: ObjectIdentifier) -> Result<&Any, Flaw> {
    let attributes = signer.signed_attrs.iter().flat_map(|it| it.iter());
    let mut found = attributes.filter(|it| it.oid == oid);
    match (found.next(), found.next()) {
        (Some(attribute), None) if attribute.values.len() == 1 => attribute
            .values
            .get(0)
            .ok_or_else(|| bad(&format!("the signed attribute {oid}"), "none")),
        _ => Err(bad(
            &format!("the signed attribute {oid} once"),
            "none, or several",
        )),
    }
}

/// Looks for the certificates between the signer and one of the store.
fn chain(
    leaf: &Certificate,
    embedded: &[Certificate],
    store: &TrustStore,
) -> Result<Vec<Certificate>, Flaw> {
    let mut chain = vec![leaf.clone()];
    while chain.len() <= MOST_CERTIFICATES {
        let Some(last) = chain.last() else { break };
        if store.has(last) {
            return Ok(chain);
        }
        let candidates = store.0.iter().chain(embedded);
        let mut issuers = candidates.filter(|it| !chain.iter().any(|known| known.der == it.der));
        let Some(issuer) = issuers.find(|it| last.is_issued_by(it).is_ok()) else {
            break;
        };
        let issuer = issuer.clone();
        chain.push(issuer);
    }
    Err(Flaw::bad(
        "the time stamp is by an authority that is not trusted",
        format!("a chain that leads to {}", store.names()),
        format!(
            "{}, whose chain ends with {}",
            leaf.name(),
            chain.last().map_or_else(String::new, Certificate::name)
        ),
    ))
}

impl Info {
    fn generated(&self) -> Result<Timestamp, Flaw> {
        let text = std::str::from_utf8(self.generated.value()).unwrap_or_default();
        (self.generated.tag() == Tag::GeneralizedTime)
            .then(|| generalized(text))
            .flatten()
            .ok_or_else(|| bad("a time in UTC", &quoted(text)))
    }

    /// Returns between which times it was, by the accuracy that the authority states. Where the policy is the one of
    /// ETSI EN 319 421 and states none, it is a second.
    fn time(&self) -> Result<(Timestamp, Timestamp), Flaw> {
        let time = self.generated()?;
        let accuracy = self.accuracy.as_ref().map_or(SignedDuration::ZERO, |it| {
            SignedDuration::from_secs(it.seconds.unwrap_or_default().into())
                + SignedDuration::from_millis(it.millis.unwrap_or_default().into())
                + SignedDuration::from_micros(it.micros.unwrap_or_default().into())
        });
        let accuracy = if accuracy.is_zero() && self.policy == BASELINE {
            SignedDuration::from_secs(1)
        } else {
            accuracy
        };
        let bounds = (
            time.checked_sub(accuracy).ok(),
            time.checked_add(accuracy).ok(),
        );
        match bounds {
            (Some(earliest), Some(latest)) => Ok((earliest, latest)),
            _ => Err(bad("a time that can be", &time.to_string())),
        }
    }

    fn is_about(&self, signature: &[u8]) -> Result<(), Flaw> {
        if self.version != 1 {
            return Err(bad("version 1", &self.version.to_string()));
        }
        let mut extensions = self.extensions.iter().flatten();
        if let Some(unknown) = extensions.find(|it| it.critical) {
            return Err(bad("no critical extension", &unknown.extn_id.to_string()));
        }
        let oid = self.imprint.algorithm.oid;
        let Some(hash) = crypto::hash(oid, signature) else {
            return Err(bad("SHA-256, SHA-384 or SHA-512", &oid.to_string()));
        };
        if self.imprint.hash.as_bytes() != hash {
            return Err(bad("a time stamp of this signature", "one of another"));
        }
        Ok(())
    }
}

/// Reads `YYYYMMDDhhmmss[.fraction]Z`, the only form that RFC 3161 allows.
fn generalized(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to);
    let text = format!(
        "{}-{}-{}T{}:{}:{}.{fraction}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    text.parse().ok()
}

fn bad(expected: &str, found: &str) -> Flaw {
    Flaw::bad("the time stamp does not verify", expected, found)
}

fn unreadable(error: der::Error) -> Flaw {
    bad("a signed token as in RFC 3161", &quoted(&error.to_string()))
}

/// The most bytes of a token; usual ones have about six thousand.
const MOST_BYTES: usize = 256 * 1024;

/// Signed data (RFC 5652, section 5.1). The sets in it are read as lists: openssl puts the signer's certificate into
/// a token twice, which is no set, and others do not sort them.
#[derive(Sequence)]
struct Signed {
    version: u8,
    digests: Any,
    content: EncapsulatedContentInfo,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    certificates: Option<Vec<CertificateChoices>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    lists: Option<Vec<Any>>,
    signers: SignerInfos,
}

#[derive(Sequence)]
struct Info {
    version: u8,
    policy: ObjectIdentifier,
    imprint: Imprint,
    serial: Int,
    /// A time with fractions of seconds, which the crate's own type does not take.
    generated: Any,
    accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    ordering: bool,
    nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    authority: Option<GeneralName>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

#[derive(Sequence)]
struct Imprint {
    algorithm: AlgorithmIdentifierOwned,
    hash: OctetString,
}

#[derive(Sequence)]
struct Accuracy {
    seconds: Option<u32>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    millis: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    micros: Option<u16>,
}

#[derive(Sequence)]
struct SigningCertificate {
    certificates: Vec<Reference>,
    policies: Option<Any>,
}

#[derive(Sequence)]
struct Reference {
    hash_algorithm: Option<AlgorithmIdentifierOwned>,
    hash: OctetString,
    issuer: Option<IssuerSerial>,
}

#[derive(Sequence)]
struct IssuerSerial {
    issuer: GeneralNames,
    serial: SerialNumber,
}

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TIME_STAMP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const BASELINE: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.4.0.2023.1.1");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_or_none() {
        assert_eq!(
            generalized("20261125091015Z").unwrap().to_string(),
            "2026-11-25T09:10:15Z"
        );
        assert_eq!(
            generalized("20261125091015.25Z").unwrap().to_string(),
            "2026-11-25T09:10:15.25Z"
        );
        for text in [
            "20261125091015",
            "20261125091015+0100",
            "202611250910Z",
            "20261325091015Z",
            "20261125091015.Z",
            "2026112509101éZ",
        ] {
            assert_eq!(generalized(text), None, "{text}");
        }
    }
}
