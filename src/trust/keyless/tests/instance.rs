//! A Sigstore instance in memory, for tests: its authorities, logs and the signatures made with them.
//!
//! Everything is signed for real, so that a test can change one thing and everything else stays right.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber, SigningKey,
};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use x509_cert::der::{Decode, Encode};

use crate::oci::Digest;

pub(super) const ISSUER: &str = "https://token.actions.example";
pub(super) const SUBJECT: &str =
    "https://github.com/acme/web/.github/workflows/release.yml@refs/tags/v1";
pub(super) const LOG: &str = "https://rekor.example";
pub(super) const TILES: &str = "https://tiles.example";

/// When everything is signed, unless a test says otherwise.
pub(super) const SIGNED: &str = "2025-06-15T12:00:00Z";

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The authorities and logs.
pub(super) struct Instance {
    root: Authority,
    intermediate: Authority,
    stamper_root: Authority,
    stamper: Authority,
    pub(super) certificate_log: KeyPair,
    pub(super) log: KeyPair,
    pub(super) tiles: KeyPair,
}

impl Instance {
    pub(super) fn new() -> Self {
        Self::of("sigstore.example")
    }

    pub(super) fn of(organization: &str) -> Self {
        let ca = |name: &str, by: Option<&Authority>| {
            Authority::new(name, organization, by, |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            })
        };
        let root = ca("root", None);
        let intermediate = Authority::new("intermediate", organization, Some(&root), |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        });
        let stamper_root = ca("time stamp root", None);
        let stamper = Authority::new("time stamps", organization, Some(&stamper_root), |params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        });
        Self {
            root,
            intermediate,
            stamper_root,
            stamper,
            certificate_log: KeyPair::generate().unwrap(),
            log: KeyPair::generate().unwrap(),
            tiles: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        }
    }

    /// Lets the intermediate authority's certificate end before its time.
    pub(super) fn with_authority_until(mut self, end: &str) -> Self {
        let key = self.intermediate.key;
        let mut params = self.intermediate.params;
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(time(end));
        let issuer = Issuer::from_params(&self.root.params, &self.root.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        self.intermediate = Authority { key, params, der };
        self
    }

    /// The `trusted_root.json`, to be altered.
    pub(super) fn trusted_root(&self) -> Value {
        let start = "2024-01-01T00:00:00Z";
        let chain = |chain: &[&Authority]| {
            let chain: Vec<Value> = chain
                .iter()
                .map(|ca| json!({"rawBytes": base64(&ca.der)}))
                .collect();
            json!({"certificates": chain})
        };
        let log = |url: &str, key: &KeyPair, details: &str| {
            json!({
                "baseUrl": url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64(&key.subject_public_key_info()),
                    "keyDetails": details,
                    "validFor": {"start": start},
                },
                "logId": {"keyId": base64(&log_id(key))},
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                log(LOG, &self.log, "PKIX_ECDSA_P256_SHA_256"),
                log(TILES, &self.tiles, "PKIX_ED25519"),
            ],
            "certificateAuthorities": [{
                "subject": {"organization": "sigstore.example", "commonName": "root"},
                "uri": "https://fulcio.example",
                "certChain": chain(&[&self.intermediate, &self.root]),
                "validFor": {"start": start},
            }],
            "ctlogs": [log("https://ct.example", &self.certificate_log, "PKIX_ECDSA_P256_SHA_256")],
            "timestampAuthorities": [{
                "subject": {"organization": "sigstore.example", "commonName": "time stamps"},
                "uri": "https://tsa.example",
                "certChain": chain(&[&self.stamper, &self.stamper_root]),
                "validFor": {"start": start},
            }],
        })
    }

    /// Makes a signing certificate.
    pub(super) fn certificate(&self, asked: &Asked) -> Signer {
        let key = KeyPair::generate().unwrap();
        let from = time(asked.from);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(4711u64));
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(from);
        params.not_after = params.not_before + Duration::from_mins(10);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        if let Some(names) = &asked.names {
            let names = names
                .iter()
                .map(|(tag, name)| der(*tag, name))
                .collect::<Vec<_>>();
            let mut names =
                CustomExtension::from_oid_content(&[2, 5, 29, 17], der(0x30, &names.concat()));
            names.set_criticality(asked.critical);
            params.custom_extensions.push(names);
        }
        for (number, text) in &asked.extensions {
            let raw = text.as_bytes().to_vec();
            let content = if *number < 8 { raw } else { der(0x0c, &raw) };
            let oid = [1, 3, 6, 1, 4, 1, 57264, 1, *number];
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&oid, content));
        }
        (asked.params)(&mut params);
        let by = if asked.by_root {
            &self.root
        } else {
            &self.intermediate
        };
        let issuer = Issuer::from_params(&by.params, &by.key);
        for _ in 0..asked.stamps {
            let without = params.signed_by(&key, &issuer).unwrap().der().to_vec();
            let stamp = self.certificate_stamp(&without, by, from);
            params.custom_extensions.push(stamp);
        }
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Signer {
            key,
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
        }
    }

    /// The list with one signed certificate timestamp (RFC 6962 section 3.3).
    fn certificate_stamp(
        &self,
        der_without: &[u8],
        by: &Authority,
        at: Timestamp,
    ) -> CustomExtension {
        let body = x509_cert::Certificate::from_der(der_without)
            .unwrap()
            .tbs_certificate;
        let body = body.to_der().unwrap();
        let mut signed = vec![0, 0];
        let at = u64::try_from(at.as_millisecond()).unwrap();
        signed.extend(at.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(sha256(&by.key.subject_public_key_info()));
        signed.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        signed.extend(&body);
        signed.extend([0, 0]);
        let signature = self.certificate_log.sign(&signed).unwrap();
        let mut stamp = vec![0];
        stamp.extend(log_id(&self.certificate_log));
        stamp.extend(at.to_be_bytes());
        stamp.extend([0, 0, 4, 3]);
        stamp.extend(sized(&signature));
        let list = sized(&sized(&stamp));
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], der(0x04, &list))
    }

    /// An entry of the older log: promise, proof and checkpoint.
    pub(super) fn entry(&self, kind: (&str, &str), body: &Value, at: &str) -> Value {
        let body = body.to_string();
        let at = time(at).as_second();
        let log_id = log_id(&self.log);
        let promised = format!(
            r#"{{"body":"{}","integratedTime":{at},"logID":"{}","logIndex":7}}"#,
            base64(body.as_bytes()),
            hex::encode(&log_id)
        );
        let (proof, root) = self.inclusion(body.as_bytes());
        json!({
            "logIndex": "7",
            "logId": {"keyId": base64(&log_id)},
            "kindVersion": {"kind": kind.0, "version": kind.1},
            "integratedTime": at.to_string(),
            "inclusionPromise": {
                "signedEntryTimestamp": base64(&self.log.sign(promised.as_bytes()).unwrap()),
            },
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": base64(&root),
                "treeSize": "2",
                "hashes": [base64(&proof)],
                "checkpoint": {"envelope": checkpoint(&self.log, "rekor.example", &root)},
            },
            "canonicalizedBody": base64(body.as_bytes()),
        })
    }

    /// An entry of the log of tiles: proof and checkpoint, and no time.
    pub(super) fn tile_entry(&self, body: &Value) -> Value {
        let body = body.to_string();
        let (proof, root) = self.inclusion(body.as_bytes());
        json!({
            "logIndex": "1",
            "logId": {"keyId": base64(&log_id(&self.tiles))},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": base64(&root),
                "treeSize": "2",
                "hashes": [base64(&proof)],
                "checkpoint": {"envelope": checkpoint(&self.tiles, "tiles.example", &root)},
            },
            "canonicalizedBody": base64(body.as_bytes()),
        })
    }

    /// A tree of two leaves, the second of which is the entry: the other leaf's hash, and the root's.
    fn inclusion(&self, body: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let other = sha256(b"\x00the first entry");
        let this = sha256(&[b"\x00", body].concat());
        let root = sha256(&[b"\x01".as_slice(), &other, &this].concat());
        (other, root)
    }

    /// A time stamp (RFC 3161) of a signature.
    pub(super) fn stamp(&self, signature: &[u8], at: &str) -> Vec<u8> {
        let sha256_id = der(0x30, &oid(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]));
        let at = time(at).strftime("%Y%m%d%H%M%SZ").to_string();
        let info = der(
            0x30,
            &[
                der(0x02, &[1]),
                oid(&[0x2a, 3, 4]),
                der(
                    0x30,
                    &[sha256_id.clone(), der(0x04, &sha256(signature))].concat(),
                ),
                der(0x02, &[9]),
                der(0x18, at.as_bytes()),
            ]
            .concat(),
        );
        let info_type = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4]);
        let attribute = |number: u8, value: &[u8]| {
            let name = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, number]);
            der(0x30, &[name, der(0x31, value)].concat())
        };
        let attributes = [
            attribute(3, &info_type),
            attribute(4, &der(0x04, &sha256(&info))),
        ]
        .concat();
        let made = self.stamper.key.sign(&der(0x31, &attributes)).unwrap();
        let parsed = x509_cert::Certificate::from_der(&self.stamper.der)
            .unwrap()
            .tbs_certificate;
        let signer = der(
            0x30,
            &[
                parsed.issuer.to_der().unwrap(),
                parsed.serial_number.to_der().unwrap(),
            ]
            .concat(),
        );
        let ecdsa = der(0x30, &oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
        let signer_info = der(
            0x30,
            &[
                der(0x02, &[1]),
                signer,
                sha256_id.clone(),
                der(0xa0, &attributes),
                ecdsa,
                der(0x04, &made),
            ]
            .concat(),
        );
        let signed = der(
            0x30,
            &[
                der(0x02, &[3]),
                der(0x31, &sha256_id),
                der(0x30, &[info_type, der(0xa0, &der(0x04, &info))].concat()),
                der(0x31, &signer_info),
            ]
            .concat(),
        );
        let signed_data = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]);
        let token = der(0x30, &[signed_data, der(0xa0, &signed)].concat());
        der(0x30, &[der(0x30, &der(0x02, &[0])), token].concat())
    }

    /// A bundle as cosign 3 makes it: a statement about a digest, logged and stamped as asked for.
    pub(super) fn bundle(&self, asked: &Asked, digest: Digest) -> Value {
        self.bundle_by(&self.certificate(asked), asked, digest)
    }

    pub(super) fn bundle_by(&self, signer: &Signer, asked: &Asked, digest: Digest) -> Value {
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": digest.hex()}}],
            "predicateType": asked.predicate,
            "predicate": {},
        });
        let payload = payload.to_string();
        let pae = sigstore_types::dsse::pae(IN_TOTO, payload.as_bytes());
        let signature = signer.key.sign(&pae).unwrap();
        let verifier = base64(signer.pem.as_bytes());
        let entries = match asked.log {
            Log::None => vec![],
            Log::Dsse => {
                let body = json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": "00".repeat(32)},
                    "payloadHash": {"algorithm": "sha256", "value": hex::encode(sha256(payload.as_bytes()))},
                    "signatures": [{"signature": base64(&signature), "verifier": verifier}],
                }});
                vec![self.entry(("dsse", "0.0.1"), &body, asked.at)]
            }
            Log::Intoto => {
                let hash = json!({"algorithm": "sha256", "value": hex::encode(sha256(payload.as_bytes()))});
                let body = json!({"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": {
                    "envelope": {"payloadType": IN_TOTO, "signatures": [{
                        "sig": base64(base64(&signature).as_bytes()),
                        "publicKey": verifier,
                    }]},
                    "hash": hash,
                    "payloadHash": hash,
                }}});
                vec![self.entry(("intoto", "0.0.2"), &body, asked.at)]
            }
            Log::Tiles => {
                let verifier = if signer.pem.contains("CERTIFICATE") {
                    json!({
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "x509Certificate": {"rawBytes": base64(&signer.der)},
                    })
                } else {
                    json!({
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "publicKey": {"rawBytes": base64(&signer.der)},
                    })
                };
                let body = json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
                    "data": {"algorithm": "SHA2_256", "digest": base64(&sha256(&pae))},
                    "signature": {"content": base64(&signature), "verifier": verifier},
                }}});
                vec![self.tile_entry(&body)]
            }
        };
        let stamps: Vec<Value> = asked
            .stamp
            .iter()
            .map(|at| json!({"signedTimestamp": base64(&self.stamp(&signature, at))}))
            .collect();
        let mut material = json!({
            "tlogEntries": entries,
            "timestampVerificationData": {"rfc3161Timestamps": stamps},
        });
        if signer.pem.contains("CERTIFICATE") {
            material["certificate"] = json!({"rawBytes": base64(&signer.der)});
        } else {
            material["publicKey"] = json!({"hint": base64(&sha256(&signer.der))});
        }
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": base64(payload.as_bytes()),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": base64(&signature)}],
            },
        })
    }

    /// The annotations of cosign's older layout for a simple signing payload.
    pub(super) fn annotations(
        &self,
        signer: &Signer,
        asked: &Asked,
        payload: &[u8],
    ) -> BTreeMap<String, String> {
        let signature = signer.key.sign(payload).unwrap();
        let mut annotations = BTreeMap::from([(
            "dev.cosignproject.cosign/signature".to_owned(),
            base64(&signature),
        )]);
        if signer.pem.contains("CERTIFICATE") {
            annotations.insert("dev.sigstore.cosign/certificate".into(), signer.pem.clone());
            annotations.insert("dev.sigstore.cosign/chain".into(), String::new());
        }
        if asked.log != Log::None {
            let body = json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": hex::encode(sha256(payload))}},
                "signature": {
                    "content": base64(&signature),
                    "publicKey": {"content": base64(signer.pem.as_bytes())},
                },
            }});
            let entry = self.entry(("hashedrekord", "0.0.1"), &body, asked.at);
            let bundle = json!({
                "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
                "Payload": {
                    "body": entry["canonicalizedBody"],
                    "integratedTime": time(asked.at).as_second(),
                    "logIndex": 7,
                    "logID": hex::encode(log_id(&self.log)),
                },
            });
            annotations.insert("dev.sigstore.cosign/bundle".into(), bundle.to_string());
        }
        if let Some(at) = asked.stamp {
            let stamp = json!({"SignedRFC3161Timestamp": base64(&self.stamp(&signature, at))});
            annotations.insert(
                "dev.sigstore.cosign/rfc3161timestamp".into(),
                stamp.to_string(),
            );
        }
        annotations
    }
}

/// A certificate authority, or whoever has a certificate of one.
struct Authority {
    key: KeyPair,
    params: CertificateParams,
    der: Vec<u8>,
}

impl Authority {
    fn new(
        name: &str,
        organization: &str,
        by: Option<&Self>,
        alter: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2023, 1, 1);
        params.not_after = rcgen::date_time_ymd(2045, 1, 1);
        alter(&mut params);
        let certificate = match by {
            Some(by) => {
                let issuer = Issuer::from_params(&by.params, &by.key);
                params.signed_by(&key, &issuer).unwrap()
            }
            None => params.self_signed(&key).unwrap(),
        };
        let der = certificate.der().to_vec();
        Self { key, params, der }
    }
}

/// Who signs: a certificate with its key, or a key alone.
pub(super) struct Signer {
    pub(super) key: KeyPair,
    /// The certificate, or the public key.
    pub(super) der: Vec<u8>,
    pub(super) pem: String,
}

impl Signer {
    /// A key without a certificate.
    pub(super) fn key() -> Self {
        let key = KeyPair::generate().unwrap();
        Self {
            der: key.subject_public_key_info(),
            pem: key.public_key_pem(),
            key,
        }
    }
}

/// Which log has a signature, and as what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Log {
    None,
    Dsse,
    Intoto,
    Tiles,
}

/// How a signature is to be made.
pub(super) struct Asked {
    /// The start of the certificate, which lasts ten minutes.
    pub(super) from: &'static str,
    /// When the log has it.
    pub(super) at: &'static str,
    pub(super) log: Log,
    pub(super) stamp: Option<&'static str>,
    /// The subject alternative names, by their tags.
    pub(super) names: Option<Vec<(u8, Vec<u8>)>>,
    pub(super) critical: bool,
    /// The extensions of Fulcio.
    pub(super) extensions: Vec<(u64, &'static str)>,
    /// How many lists of certificate timestamps there are.
    pub(super) stamps: usize,
    pub(super) by_root: bool,
    pub(super) params: fn(&mut CertificateParams),
    pub(super) predicate: &'static str,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            from: "2025-06-15T11:58:00Z",
            at: SIGNED,
            log: Log::Dsse,
            stamp: None,
            names: Some(vec![uri(SUBJECT)]),
            critical: true,
            extensions: vec![
                (1, ISSUER),
                (2, "push"),
                (4, "release"),
                (5, "acme/web"),
                (8, ISSUER),
                (11, "github-hosted"),
                (12, "https://github.com/acme/web"),
                (14, "refs/tags/v1"),
                (20, "push"),
            ],
            stamps: 1,
            by_root: false,
            params: |_| {},
            predicate: "https://sigstore.dev/cosign/sign/v1",
        }
    }
}

pub(super) fn uri(text: &str) -> (u8, Vec<u8>) {
    (0x86, text.as_bytes().to_vec())
}

pub(super) fn email(text: &str) -> (u8, Vec<u8>) {
    (0x81, text.as_bytes().to_vec())
}

/// A user name as Fulcio writes it.
pub(super) fn user_name(text: &str) -> (u8, Vec<u8>) {
    let kind = oid(&[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 7]);
    (
        0xa0,
        [kind, der(0xa0, &der(0x0c, text.as_bytes()))].concat(),
    )
}

pub(super) fn log_id(key: &KeyPair) -> Vec<u8> {
    sha256(&key.subject_public_key_info())
}

/// A signed note about a tree of two leaves.
pub(super) fn checkpoint(key: &KeyPair, origin: &str, root: &[u8]) -> String {
    let text = format!("{origin} - 1\n2\n{}\n", base64(root));
    let signature = key.sign(text.as_bytes()).unwrap();
    let signature = [&log_id(key)[..4], &signature].concat();
    format!("{text}\n\u{2014} {origin} {}\n", base64(&signature))
}

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

pub(super) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag];
    match content.len() {
        short @ 0..0x80 => encoded.push(u8::try_from(short).unwrap()),
        long => {
            let bytes = u32::try_from(long).unwrap().to_be_bytes();
            let skipped = bytes.iter().take_while(|byte| **byte == 0).count();
            encoded.push(0x80 | u8::try_from(4 - skipped).unwrap());
            encoded.extend(&bytes[skipped..]);
        }
    }
    encoded.extend(content);
    encoded
}

fn oid(content: &[u8]) -> Vec<u8> {
    der(0x06, content)
}

/// Bytes after their length in two bytes, as TLS writes them.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(at.as_second()).unwrap())
}

const IN_TOTO: &str = "application/vnd.in-toto+json";
