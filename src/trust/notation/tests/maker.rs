//! Signers, envelopes, time stamps and answers about revocation, made for tests.
//!
//! Everything is signed for real, so that a test can change one thing and everything else stays right.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use coset::cbor::Value as Cbor;
use coset::{
    CborSerializable as _, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable as _, iana,
};
use der::asn1::{BitString, GeneralizedTime};
use der::{Decode, Encode};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SerialNumber, SigningKey as _,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Map, Value, json};
use x509_cert::Certificate;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    AsResponseBytes as _, BasicOcspResponse, CertStatus, OcspGeneralizedTime, OcspRequest,
    OcspResponse, ResponderId, ResponseData, RevokedInfo, SingleResponse, Version,
};

use super::super::crypto;

/// When tests look.
pub(super) const NOW: &str = "2026-06-15T12:00:00Z";
/// When signatures were made.
pub(super) const SIGNED: &str = "2026-06-01T12:00:00Z";

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A certificate with its key.
pub(super) struct Party {
    pub(super) key: KeyPair,
    pub(super) params: CertificateParams,
    pub(super) der: Vec<u8>,
}

impl Party {
    /// Makes a root.
    pub(super) fn root(name: &str) -> Self {
        Self::authority(name, None, |_| {})
    }

    /// Makes an authority, by itself or below another one.
    pub(super) fn authority(
        name: &str,
        by: Option<&Self>,
        alter: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        Self::new(name, by, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            alter(params);
        })
    }

    /// Makes a certificate that signs images.
    pub(super) fn leaf(name: &str, by: &Self, alter: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::new(name, Some(by), |params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            alter(params);
        })
    }

    /// Makes a certificate that signs time stamps.
    pub(super) fn stamper(by: &Self, alter: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::new("stamper", Some(by), |params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            // Critical, which the crate's own extension is not.
            params.custom_extensions = vec![critical_purpose(&[0x2b, 6, 1, 5, 5, 7, 3, 8])];
            alter(params);
        })
    }

    pub(super) fn new(
        name: &str,
        by: Option<&Self>,
        alter: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (DnType::CountryName, "US"),
            (DnType::StateOrProvinceName, "WA"),
            (DnType::OrganizationName, "acme"),
            (DnType::CommonName, name),
        ] {
            params.distinguished_name.push(kind, value);
        }
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        alter(&mut params);
        let certificate = match by {
            Some(by) => params
                .signed_by(&key, &Issuer::from_params(&by.params, &by.key))
                .unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        let der = certificate.der().to_vec();
        Self { key, params, der }
    }

    pub(super) fn parsed(&self) -> Certificate {
        Certificate::from_der(&self.der).unwrap()
    }

    pub(super) fn pem(&self) -> Vec<u8> {
        let text = BASE64_STANDARD.encode(&self.der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n").into_bytes()
    }

    /// Signs as envelopes are: a point of fixed length.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let pkcs8 = self.key.serialize_der();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
            .unwrap()
            .sign(&random, message)
            .unwrap()
            .as_ref()
            .to_vec()
    }

    /// A list of what it revoked.
    pub(super) fn list(
        &self,
        revoked: &[(&Self, RevocationReason)],
        until: (i32, u8, u8),
    ) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 6, 1),
            next_update: rcgen::date_time_ymd(until.0, until.1, until.2),
            crl_number: SerialNumber::from(7),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|(party, reason)| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(
                        party.parsed().tbs_certificate.serial_number.as_bytes(),
                    ),
                    revocation_time: rcgen::date_time_ymd(2026, 6, 10),
                    reason_code: Some(*reason),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&Issuer::from_params(&self.params, &self.key));
        list.unwrap().der().to_vec()
    }

    /// An answer about a certificate below `issuer`, signed by this party.
    pub(super) fn answer(
        &self,
        issuer: &Self,
        about: &Self,
        status: CertStatus,
        until: Option<&str>,
        with: &[&Self],
    ) -> Vec<u8> {
        let read =
            |party: &Self| super::super::certificate::Certificate::from_der(&party.der).unwrap();
        let request = super::super::ocsp::request(&read(about), &read(issuer)).unwrap();
        let request = OcspRequest::from_der(&request).unwrap();
        let id = request.tbs_request.request_list[0].req_cert.clone();
        let data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByName(self.parsed().tbs_certificate.subject),
            produced_at: at("2026-06-15T11:00:00Z"),
            responses: vec![SingleResponse {
                cert_id: id,
                cert_status: status,
                this_update: at("2026-06-15T11:00:00Z"),
                next_update: until.map(at),
                single_extensions: None,
            }],
            response_extensions: None,
        };
        let made = self.key.sign(&data.to_der().unwrap()).unwrap();
        let response = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: AlgorithmIdentifierOwned {
                oid: der::asn1::ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
                parameters: None,
            },
            signature: BitString::from_bytes(&made).unwrap(),
            certs: (!with.is_empty()).then(|| with.iter().map(|it| it.parsed()).collect()),
        };
        let _ = response.to_response_bytes();
        OcspResponse::successful(response)
            .unwrap()
            .to_der()
            .unwrap()
    }
}

/// The state of a certificate that was revoked in June.
pub(super) fn revoked() -> CertStatus {
    CertStatus::Revoked(RevokedInfo {
        revocation_time: at("2026-06-10T00:00:00Z"),
        revocation_reason: None,
    })
}

fn at(text: &str) -> OcspGeneralizedTime {
    let seconds = u64::try_from(time(text).as_second()).unwrap();
    let time = GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(seconds));
    OcspGeneralizedTime(time.unwrap())
}

/// Names a responder and a list in a certificate.
pub(super) fn asks(params: &mut CertificateParams, responder: Option<&str>, list: Option<&str>) {
    if let Some(uri) = responder {
        // AuthorityInfoAccess with one OCSP responder.
        let method = tlv(0x06, &[0x2b, 6, 1, 5, 5, 7, 48, 1]);
        let content = tlv(
            0x30,
            &tlv(0x30, &[method, tlv(0x86, uri.as_bytes())].concat()),
        );
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(
                &[1, 3, 6, 1, 5, 5, 7, 1, 1],
                content,
            ));
    }
    if let Some(uri) = list {
        params.crl_distribution_points = vec![CrlDistributionPoint {
            uris: vec![uri.to_owned()],
        }];
    }
}

fn critical_purpose(oid: &[u8]) -> CustomExtension {
    let mut extension =
        CustomExtension::from_oid_content(&[2, 5, 29, 37], tlv(0x30, &tlv(0x06, oid)));
    extension.set_criticality(true);
    extension
}

/// How an envelope is to be made.
pub(super) struct Asked<'a> {
    pub(super) attributes: BTreeMap<String, Value>,
    pub(super) critical: Vec<String>,
    pub(super) payload: Value,
    pub(super) content_type: String,
    pub(super) algorithm: String,
    pub(super) stamp: Option<Stamp<'a>>,
}

impl<'a> Asked<'a> {
    /// One of the scheme `notary.x509`, about an image.
    pub(super) fn about(target: Value) -> Self {
        Self {
            attributes: BTreeMap::from([
                ("io.cncf.notary.signingScheme".into(), json!("notary.x509")),
                ("io.cncf.notary.signingTime".into(), json!(SIGNED)),
            ]),
            critical: vec!["io.cncf.notary.signingScheme".into()],
            payload: json!({"targetArtifact": target}),
            content_type: "application/vnd.cncf.notary.payload.v1+json".into(),
            algorithm: "ES256".into(),
            stamp: None,
        }
    }

    pub(super) fn with(mut self, name: &str, value: Value, critical: bool) -> Self {
        self.attributes.insert(name.into(), value);
        if critical {
            self.critical.push(name.into());
        }
        self
    }

    pub(super) fn expiring(self, at: &str) -> Self {
        self.with("io.cncf.notary.expiry", json!(at), true)
    }

    pub(super) fn by_authority(mut self, at: &str) -> Self {
        self.attributes.remove("io.cncf.notary.signingTime");
        self.with(
            "io.cncf.notary.signingScheme",
            json!("notary.x509.signingAuthority"),
            false,
        )
        .with("io.cncf.notary.authenticSigningTime", json!(at), true)
    }

    /// Makes it in JSON.
    pub(super) fn jws(&self, signer: &Party, chain: &[&Party]) -> Vec<u8> {
        let mut protected: Map<String, Value> = self.attributes.clone().into_iter().collect();
        protected.insert("alg".into(), json!(self.algorithm));
        protected.insert("cty".into(), json!(self.content_type));
        protected.insert("crit".into(), json!(self.critical));
        let protected = BASE64_URL_SAFE_NO_PAD.encode(Value::Object(protected).to_string());
        let payload = BASE64_URL_SAFE_NO_PAD.encode(self.payload.to_string());
        let made = signer.sign(format!("{protected}.{payload}").as_bytes());
        let mut header = Map::new();
        let certificates = [&[signer], chain].concat();
        let certificates: Vec<String> = certificates
            .iter()
            .map(|party| BASE64_STANDARD.encode(&party.der))
            .collect();
        header.insert("x5c".into(), json!(certificates));
        header.insert("io.cncf.notary.signingAgent".into(), json!("tests"));
        if let Some(stamp) = self.stamp(&made) {
            header.insert(
                "io.cncf.notary.timestampSignature".into(),
                json!(BASE64_STANDARD.encode(stamp)),
            );
        }
        json!({
            "payload": payload,
            "protected": protected,
            "header": header,
            "signature": BASE64_URL_SAFE_NO_PAD.encode(made),
        })
        .to_string()
        .into_bytes()
    }

    /// Makes it in CBOR.
    pub(super) fn cose(&self, signer: &Party, chain: &[&Party]) -> Vec<u8> {
        let mut protected = HeaderBuilder::new()
            .algorithm(iana::Algorithm::ES256)
            .content_type(self.content_type.clone());
        for name in &self.critical {
            protected =
                protected.add_critical_label(coset::RegisteredLabelWithPrivate::Text(name.clone()));
        }
        for (name, value) in &self.attributes {
            let text = value.as_str().unwrap_or_default();
            let value = match text.parse::<Timestamp>() {
                Ok(time) => Cbor::Tag(1, Box::new(Cbor::from(time.as_second()))),
                Err(_) => Cbor::Text(text.to_owned()),
            };
            protected = protected.text_value(name.clone(), value);
        }
        let certificates = [&[signer], chain].concat();
        let certificates = certificates
            .iter()
            .map(|party| Cbor::Bytes(party.der.clone()))
            .collect();
        let unprotected = HeaderBuilder::new().value(33, Cbor::Array(certificates));
        let mut made = Vec::new();
        let envelope = CoseSign1Builder::new()
            .protected(protected.build())
            .payload(self.payload.to_string().into_bytes())
            .create_signature(&[], |message| {
                made = signer.sign(message);
                made.clone()
            });
        let unprotected = match self.stamp(&made) {
            Some(stamp) => unprotected.text_value(
                "io.cncf.notary.timestampSignature".into(),
                Cbor::Bytes(stamp),
            ),
            None => unprotected,
        };
        let envelope = envelope.unprotected(unprotected.build()).build();
        let _ = envelope.clone().to_vec();
        envelope.to_tagged_vec().unwrap()
    }

    pub(super) fn stamped(mut self, stamp: Stamp<'a>) -> Self {
        self.stamp = Some(stamp);
        self
    }

    fn stamp(&self, made: &[u8]) -> Option<Vec<u8>> {
        self.stamp.as_ref().map(|stamp| stamp.token(made))
    }
}

/// How a time stamp is to be made.
pub(super) struct Stamp<'a> {
    pub(super) signer: &'a Party,
    /// The certificates in the token, in this order.
    pub(super) with: Vec<&'a Party>,
    pub(super) at: &'a str,
    pub(super) accuracy: Option<u8>,
    /// The certificate that the signed attribute names.
    pub(super) named: Option<&'a Party>,
}

impl Stamp<'_> {
    /// Makes the token for a signature.
    pub(super) fn token(&self, signature: &[u8]) -> Vec<u8> {
        let hash = |bytes: &[u8]| crypto::hash(crypto::SHA256, bytes).unwrap();
        let sha256 = tlv(0x30, &oid(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]));
        let at = time(self.at).strftime("%Y%m%d%H%M%SZ").to_string();
        let accuracy = self
            .accuracy
            .map_or_else(Vec::new, |seconds| tlv(0x30, &tlv(0x02, &[seconds])));
        let info = [
            tlv(0x02, &[1]),
            oid(&[0x2a, 3, 4]),
            tlv(
                0x30,
                &[sha256.clone(), tlv(0x04, &hash(signature))].concat(),
            ),
            tlv(0x02, &[9]),
            tlv(0x18, at.as_bytes()),
            accuracy,
        ];
        let info = tlv(0x30, &info.concat());
        let kind = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4]);
        let attribute = |number: &[u8], value: &[u8]| {
            let name = [&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9], number].concat();
            tlv(0x30, &[oid(&name), tlv(0x31, value)].concat())
        };
        let mut attributes = vec![
            attribute(&[3], &kind),
            attribute(&[4], &tlv(0x04, &hash(&info))),
        ];
        if let Some(named) = self.named {
            let reference = tlv(0x30, &tlv(0x04, &hash(&named.der)));
            attributes.push(attribute(&[16, 2, 47], &tlv(0x30, &tlv(0x30, &reference))));
        }
        attributes.sort();
        let attributes = attributes.concat();
        let made = self.signer.key.sign(&tlv(0x31, &attributes)).unwrap();
        let parsed = self.signer.parsed().tbs_certificate;
        let sid = [
            parsed.issuer.to_der().unwrap(),
            parsed.serial_number.to_der().unwrap(),
        ];
        let signer = [
            tlv(0x02, &[1]),
            tlv(0x30, &sid.concat()),
            sha256.clone(),
            tlv(0xa0, &attributes),
            tlv(0x30, &oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])),
            tlv(0x04, &made),
        ];
        let certificates: Vec<u8> = self
            .with
            .iter()
            .flat_map(|party| party.der.clone())
            .collect();
        let signed = [
            tlv(0x02, &[3]),
            tlv(0x31, &sha256),
            tlv(0x30, &[kind, tlv(0xa0, &tlv(0x04, &info))].concat()),
            tlv(0xa0, &certificates),
            tlv(0x31, &tlv(0x30, &signer.concat())),
        ];
        let signed_data = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]);
        tlv(
            0x30,
            &[signed_data, tlv(0xa0, &tlv(0x30, &signed.concat()))].concat(),
        )
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match length {
        0..128 => bytes.push(u8::try_from(length).unwrap()),
        128..256 => bytes.extend([0x81, u8::try_from(length).unwrap()]),
        _ => {
            bytes.push(0x82);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

fn oid(content: &[u8]) -> Vec<u8> {
    tlv(0x06, content)
}
