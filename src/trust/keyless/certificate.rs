//! Signing certificates: what they say, and the profile that they must have.

use jiff::Timestamp;
use sigstore_verify::crypto::parse_certificate_info;
use sigstore_verify::types::DerCertificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, Utf8StringRef};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage, SignedCertificateTimestampList, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::flaw::Flaw;
use super::identity::Certificate;
use crate::trust::judge::quoted;

/// What is read from a certificate before it is verified: nothing of it is proven yet.
pub(super) struct Claimed {
    pub(super) certificate: Certificate,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// The name of its issuer, to be shown.
    pub(super) authority_shown: String,
    pub(super) organization: Option<String>,
    /// The logs whose signed certificate timestamps it carries.
    pub(super) certificate_logs: Vec<Vec<u8>>,
}

/// Reads a certificate, and refuses what has not the profile of a signing certificate.
///
/// `sigstore-verify` checks chain, dates, extended key usage, that it is no authority, and critical extensions that
/// it does not know. Beside that it takes the first name and the first issuer that it finds; here a certificate has
/// one of each, so that no reader can see another signer in it.
pub(super) fn read(der: &[u8]) -> Result<Claimed, Flaw> {
    let malformed = |expected: &str, found: String| Flaw::Bad {
        reason: "the certificate is not one for signing".into(),
        expected: expected.into(),
        found,
    };
    let unreadable = |error: &dyn std::fmt::Display| {
        malformed("an X.509 certificate", quoted(&error.to_string()))
    };
    let parsed = x509_cert::Certificate::from_der(der).map_err(|error| unreadable(&error))?;
    let info = parse_certificate_info(&DerCertificate::new(der.to_vec()))
        .map_err(|error| unreadable(&error))?;
    let body = &parsed.tbs_certificate;
    let extensions = body.extensions.as_deref().unwrap_or_default();
    let mut seen: Vec<ObjectIdentifier> = extensions.iter().map(|ext| ext.extn_id).collect();
    seen.sort_unstable();
    if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(malformed(
            "each extension once",
            format!("the extension {} twice", twice[0]),
        ));
    }
    let usage = body.get::<KeyUsage>().map_err(|error| unreadable(&error))?;
    if !usage.is_some_and(|(_, usage)| usage.digital_signature()) {
        return Err(malformed(
            "the key usage `digitalSignature`",
            "a key for something else".into(),
        ));
    }
    let names = body
        .get::<SubjectAltName>()
        .map_err(|error| unreadable(&error))?;
    let (critical, names) =
        names.map_or((false, Vec::new()), |(critical, names)| (critical, names.0));
    let [name] = names.as_slice() else {
        return Err(malformed(
            "one subject alternative name",
            format!("{} of them", names.len()),
        ));
    };
    if body.subject.0.is_empty() && !critical {
        return Err(malformed(
            "a critical subject alternative name, since there is no other name",
            "one that is not critical".into(),
        ));
    }
    let identity = identity(name).ok_or_else(|| {
        malformed(
            "an address, a URI or a user name of Fulcio",
            "a subject alternative name of another kind".into(),
        )
    })?;
    let older = extensions.iter().find(|ext| ext.extn_id == ISSUER_V1);
    let issuer = info.issuer.unwrap_or_default();
    if issuer.is_empty() {
        return Err(malformed(
            "the issuer of the signer's token",
            "a certificate without it".into(),
        ));
    }
    if let Some(older) = older.map(|older| older.extn_value.as_bytes())
        && older != issuer.as_bytes()
        && Utf8StringRef::from_der(older).map_or(true, |older| older.as_str() != issuer)
    {
        return Err(malformed(
            &format!("one issuer, `{}`", quoted(&issuer)),
            format!("`{}` as well", quoted(&String::from_utf8_lossy(older))),
        ));
    }
    Ok(Claimed {
        certificate: Certificate {
            identity,
            issuer,
            claims: info.ci_claims,
        },
        not_before: info.not_before,
        not_after: info.not_after,
        authority_shown: quoted(&body.issuer.to_string()),
        organization: organization(&body.issuer),
        certificate_logs: certificate_logs(&parsed).unwrap_or_default(),
    })
}

/// Returns the identity that a certificate claims, for words only.
pub(in crate::trust) fn claimed(der: &[u8]) -> Option<String> {
    let Certificate {
        identity, issuer, ..
    } = claims(der)?;
    Some(format!(
        "{} (issuer {})",
        quoted(&identity),
        quoted(&issuer)
    ))
}

/// Returns what a certificate claims, which nothing has proven.
pub(in crate::trust) fn claims(der: &[u8]) -> Option<Certificate> {
    Some(read(der).ok()?.certificate)
}

/// Returns the organization in a name.
pub(super) fn organization(name: &Name) -> Option<String> {
    let mut attributes = name.0.iter().flat_map(|relative| relative.0.iter());
    let attribute = attributes.find(|attribute| attribute.oid == ORGANIZATION)?;
    let value = attribute.value.value();
    std::str::from_utf8(value).ok().map(str::to_owned)
}

/// Returns the time in a certificate.
pub(super) fn timestamp(time: &Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn identity(name: &GeneralName) -> Option<String> {
    let text = |text: &Ia5String| text.as_str().to_owned();
    let identity = match name {
        GeneralName::Rfc822Name(address) => text(address),
        GeneralName::UniformResourceIdentifier(uri) => text(uri),
        GeneralName::OtherName(other) if other.type_id == USER_NAME => {
            other.value.decode_as::<String>().ok()?
        }
        _ => return None,
    };
    (!identity.is_empty()).then_some(identity)
}

fn certificate_logs(certificate: &x509_cert::Certificate) -> Option<Vec<Vec<u8>>> {
    let (_, list) = certificate
        .tbs_certificate
        .get::<SignedCertificateTimestampList>()
        .ok()??;
    let stamps = list.parse_timestamps().ok()?;
    let ids = stamps.iter().map(|stamp| {
        let stamp = stamp.parse_timestamp().ok()?;
        Some(stamp.log_id.key_id.to_vec())
    });
    ids.collect()
}

const ISSUER_V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const USER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
