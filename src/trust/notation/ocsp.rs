//! OCSP (RFC 6960): the question about one certificate, and what a signed answer says of it.

use der::asn1::{GeneralizedTime, ObjectIdentifier, OctetString};
use der::{Decode, Encode};
use jiff::Timestamp;
use x509_cert::ext::Extensions;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request,
    TbsRequest, Version,
};

use super::certificate::{Certificate, OCSP_SIGNING};
use super::crypto;
use super::revocation::Status;
use crate::trust::judge::quoted;

/// Makes the request for one certificate, without a nonce: public responders sign in advance.
pub(super) fn request(certificate: &Certificate, issuer: &Certificate) -> Result<Vec<u8>, String> {
    let request = OcspRequest {
        tbs_request: TbsRequest {
            version: Version::V1,
            requestor_name: None,
            request_list: vec![Request {
                req_cert: identifier(certificate, issuer).map_err(words)?,
                single_request_extensions: None,
            }],
            request_extensions: None,
        },
        optional_signature: None,
    };
    request.to_der().map_err(words)
}

/// Returns what an answer says.
///
/// It counts if the issuer signed it, or somebody with a certificate for OCSP by that issuer; if it is about this
/// certificate; and until its next update, which has to be named.
///
/// # Errors
/// It says nothing, and why.
pub(super) fn status(
    answer: &[u8],
    certificate: &Certificate,
    issuer: &Certificate,
    signed_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Status, String> {
    let outer = OcspResponse::from_der(answer).map_err(words)?;
    if outer.response_status != OcspResponseStatus::Successful {
        return Err(format!("it answered {:?}", outer.response_status));
    }
    let inner = outer.response_bytes.ok_or("it answered nothing")?;
    if inner.response_type != BASIC {
        return Err(format!("it answered in the form {}", inner.response_type));
    }
    let bytes = inner.response.as_bytes();
    let response = BasicOcspResponse::from_der(bytes).map_err(words)?;
    is_signed(&response, bytes, issuer, now)?;
    let wanted = identifier(certificate, issuer).map_err(words)?;
    let mut responses = response.tbs_response_data.responses.iter();
    let single = responses
        .find(|it| {
            it.cert_id.hash_algorithm.oid == wanted.hash_algorithm.oid
                && it.cert_id.issuer_name_hash == wanted.issuer_name_hash
                && it.cert_id.issuer_key_hash == wanted.issuer_key_hash
                && it.cert_id.serial_number == wanted.serial_number
        })
        .ok_or("it answered about another certificate")?;
    let made = time(&single.this_update.0);
    if made > now + CLOCKS_APART {
        return Err(format!("its answer is from the future: {made}"));
    }
    match single.next_update.as_ref().map(|it| time(&it.0)) {
        Some(next) if next >= now => {}
        Some(next) => return Err(format!("its answer is out of date since {next}")),
        None => return Err("its answer does not say until when it counts".into()),
    }
    match &single.cert_status {
        CertStatus::Good(_) => Ok(Status::Good),
        CertStatus::Unknown(_) => Err("it does not know the certificate".into()),
        CertStatus::Revoked(info) => {
            let since = time(&info.revocation_time.0);
            if was_good(single.single_extensions.as_ref(), signed_at)? {
                return Ok(Status::Good);
            }
            Ok(Status::Revoked { since })
        }
    }
}

/// Tells whether an entry says that the certificate was good when it signed (RFC 5280, section 5.3.2).
pub(super) fn was_good(
    extensions: Option<&Extensions>,
    signed_at: Option<Timestamp>,
) -> Result<bool, String> {
    let mut extensions = extensions.into_iter().flatten();
    let Some(extension) = extensions.find(|it| it.extn_id == INVALIDITY_DATE) else {
        return Ok(false);
    };
    let since = GeneralizedTime::from_der(extension.extn_value.as_bytes()).map_err(words)?;
    Ok(signed_at.is_some_and(|signed_at| signed_at < time(&since)))
}

fn is_signed(
    response: &BasicOcspResponse,
    bytes: &[u8],
    issuer: &Certificate,
    now: Timestamp,
) -> Result<(), String> {
    let message = crypto::first_part(bytes).ok_or("it answered nothing")?;
    let made = response.signature.as_bytes().unwrap_or_default();
    let by = |certificate: &Certificate| {
        let algorithm = &response.signature_algorithm;
        certificate.key.made(algorithm, None, message, made)
    };
    let Err(reason) = by(issuer) else {
        return Ok(());
    };
    for delegate in response.certs.iter().flatten().take(MOST_DELEGATES) {
        let der = delegate.to_der().map_err(words)?;
        let Ok(delegate) = Certificate::from_der(&der) else {
            continue;
        };
        if delegate.has_purpose(OCSP_SIGNING)
            && delegate.is_valid_at(now)
            && by(&delegate).is_ok()
            && delegate.is_issued_by(issuer).is_ok()
        {
            return Ok(());
        }
    }
    Err(format!(
        "its answer is not signed by {}, nor for it: {reason}",
        issuer.name()
    ))
}

fn identifier(certificate: &Certificate, issuer: &Certificate) -> Result<CertId, der::Error> {
    Ok(CertId {
        hash_algorithm: AlgorithmIdentifierOwned {
            oid: crypto::SHA1,
            parameters: Some(der::Any::null()),
        },
        issuer_name_hash: OctetString::new(crypto::name_hash(&issuer.subject))?,
        issuer_key_hash: OctetString::new(crypto::name_hash(issuer.key.bits()))?,
        serial_number: certificate.serial().clone(),
    })
}

fn time(time: &GeneralizedTime) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn words(error: der::Error) -> String {
    format!("its answer can't be read: {}", quoted(&error.to_string()))
}

/// How far apart the clocks of an authority and of this machine may be.
const CLOCKS_APART: jiff::SignedDuration = jiff::SignedDuration::from_secs(300);
const MOST_DELEGATES: usize = 8;
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
pub(super) const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");
