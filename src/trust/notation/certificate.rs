//! Certificates, and the chains that Notary signatures and time stamps rest on
//! ([signature specification, "Certificate Requirements"](https://github.com/notaryproject/specifications)).

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use jiff::Timestamp;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    SubjectKeyIdentifier,
};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use super::crypto::{self, Key};
use crate::trust::judge::quoted;

/// The most certificates of a chain.
pub(super) const MOST_CERTIFICATES: usize = 16;

/// A certificate with what is asked of it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) der: Vec<u8>,
    pub(super) parsed: x509_cert::Certificate,
    pub(super) key: Key,
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) identifier: Option<SubjectKeyIdentifier>,
    /// Where OCSP and revocation lists are, as the certificate has it.
    pub(super) responders: Vec<String>,
    pub(super) lists: Vec<String>,
    /// Whether changes to revocation lists are named by the certificate itself.
    pub(super) names_freshest: bool,
    constraints: Option<BasicConstraints>,
    usage: Option<(bool, KeyUsage)>,
    purposes: Option<(bool, Vec<ObjectIdentifier>)>,
    critical: Vec<ObjectIdentifier>,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, String> {
        let words = |error: der::Error| quoted(&error.to_string());
        let parsed = x509_cert::Certificate::from_der(der).map_err(words)?;
        let body = &parsed.tbs_certificate;
        let extensions = body.extensions.as_deref().unwrap_or_default();
        let mut seen: Vec<ObjectIdentifier> = extensions.iter().map(|it| it.extn_id).collect();
        seen.sort_unstable();
        if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("the extension {} twice", twice[0]));
        }
        let constraints = body.get::<BasicConstraints>().map_err(words)?;
        let usage = body.get::<KeyUsage>().map_err(words)?;
        let purposes = body.get::<ExtendedKeyUsage>().map_err(words)?;
        let access = body.get::<AuthorityInfoAccessSyntax>().map_err(words)?;
        let lists = body.get::<CrlDistributionPoints>().map_err(words)?;
        let identifier = body.get::<SubjectKeyIdentifier>().map_err(words)?;
        let responders = access.map_or_else(Vec::new, |(_, access)| {
            let responders = access.0.into_iter().filter(|it| it.access_method == OCSP);
            responders
                .filter_map(|it| uri(&it.access_location))
                .collect()
        });
        let lists = lists.map_or_else(Vec::new, |(_, points)| {
            let names = points.0.into_iter().filter_map(|it| it.distribution_point);
            names.flat_map(|name| uris(&name)).collect()
        });
        Ok(Self {
            der: der.to_vec(),
            key: Key::of(&body.subject_public_key_info),
            subject: body.subject.to_der().map_err(words)?,
            issuer: body.issuer.to_der().map_err(words)?,
            not_before: timestamp(&body.validity.not_before),
            not_after: timestamp(&body.validity.not_after),
            identifier: identifier.map(|(_, identifier)| identifier),
            responders,
            lists,
            names_freshest: extensions.iter().any(|it| it.extn_id == FRESHEST),
            constraints: constraints.map(|(_, constraints)| constraints),
            usage,
            purposes: purposes.map(|(critical, purposes)| (critical, purposes.0)),
            critical: extensions
                .iter()
                .filter(|it| it.critical)
                .map(|it| it.extn_id)
                .collect(),
            parsed,
        })
    }

    pub(super) fn serial(&self) -> &SerialNumber {
        &self.parsed.tbs_certificate.serial_number
    }

    /// Returns whom it names, to be shown.
    pub(super) fn name(&self) -> String {
        quoted(&self.parsed.tbs_certificate.subject.to_string())
    }

    /// Tells whether it was valid at a time.
    pub(super) fn is_valid_at(&self, time: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }

    pub(super) fn is_authority(&self) -> bool {
        self.constraints.as_ref().is_some_and(|it| it.ca)
    }

    pub(super) fn signs_lists(&self) -> bool {
        self.usage
            .as_ref()
            .is_none_or(|(_, usage)| usage.crl_sign())
    }

    pub(super) fn has_purpose(&self, purpose: ObjectIdentifier) -> bool {
        self.purposes
            .as_ref()
            .is_some_and(|(_, purposes)| purposes.contains(&purpose))
    }

    /// Tells whether its own key signed it, and it names itself as its issuer.
    pub(super) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer && self.is_signed_by(self).is_ok()
    }

    /// Checks that another certificate's key signed it.
    ///
    /// # Errors
    /// It did not, in words.
    pub(super) fn is_signed_by(&self, issuer: &Self) -> Result<(), String> {
        let body = crypto::first_part(&self.der).ok_or("no certificate")?;
        if self.parsed.signature_algorithm != self.parsed.tbs_certificate.signature {
            return Err("two different algorithms".into());
        }
        let made = self.parsed.signature.as_bytes().unwrap_or_default();
        issuer
            .key
            .made(&self.parsed.signature_algorithm, None, body, made)
    }

    /// Checks that another certificate issued it: by name, and by signature.
    ///
    /// # Errors
    /// It did not, in words.
    pub(super) fn is_issued_by(&self, issuer: &Self) -> Result<(), String> {
        if self.issuer != issuer.subject {
            let named = quoted(&self.parsed.tbs_certificate.issuer.to_string());
            return Err(format!("one that names {named} as its issuer"));
        }
        self.is_signed_by(issuer)
    }
}

/// What the first certificate of a chain is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// It signs images.
    CodeSigning,
    /// It signs time stamps.
    TimeStamping,
}

/// A rule of chains that a chain breaks: what would be right, and what is there.
pub(super) type Broken = (String, String);

/// Checks a whole chain, in order, from the signer to a certificate that signed itself. Dates are for the caller.
///
/// # Errors
/// The first rule that it breaks.
pub(super) fn check_chain(chain: &[Certificate], purpose: Purpose) -> Result<(), Broken> {
    let [leaf, authorities @ ..] = chain else {
        return Err(("a certificate chain".into(), "none".into()));
    };
    if chain.len() > MOST_CERTIFICATES {
        return Err((
            format!("at most {MOST_CERTIFICATES} certificates"),
            chain.len().to_string(),
        ));
    }
    check_leaf(leaf, purpose)?;
    for (below, authority) in authorities.iter().enumerate() {
        check_authority(authority, below, purpose)?;
    }
    for pair in chain.windows(2) {
        if pair[0].is_self_signed() {
            return Err((
                "a chain that ends with the certificate that signed itself".into(),
                format!("{} in front of others", pair[0].name()),
            ));
        }
        pair[0].is_issued_by(&pair[1]).map_err(|found| {
            (
                format!("{} issued by {}", pair[0].name(), pair[1].name()),
                found,
            )
        })?;
    }
    match chain.last() {
        Some(root) if !root.is_self_signed() => Err((
            "a chain up to a certificate that signed itself".into(),
            format!("one that ends with {}", root.name()),
        )),
        _ => Ok(()),
    }
}

fn check_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), Broken> {
    let name = leaf.name();
    if leaf.is_authority() {
        return Err((
            "a certificate for signing".into(),
            format!("{name}, which is that of an authority"),
        ));
    }
    let Some((critical, usage)) = &leaf.usage else {
        return Err((
            "the key usage `digitalSignature`".into(),
            format!("none in {name}"),
        ));
    };
    if !critical && purpose == Purpose::CodeSigning {
        return Err((
            "a key usage that is critical".into(),
            format!("one in {name} that is not"),
        ));
    }
    let others = [
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ];
    if let Some((_, other)) = others.iter().find(|(set, _)| *set) {
        return Err((
            "the key usage `digitalSignature` alone".into(),
            format!("`{other}` in {name}"),
        ));
    }
    if !usage.digital_signature() {
        return Err((
            "the key usage `digitalSignature`".into(),
            format!("none of it in {name}"),
        ));
    }
    match (purpose, &leaf.purposes) {
        (Purpose::CodeSigning, Some((_, purposes))) => {
            if let Some((_, other)) = EXCLUDED.iter().find(|(oid, _)| purposes.contains(oid)) {
                return Err((
                    "a certificate that signs code".into(),
                    format!("one for {other}: {name}"),
                ));
            }
        }
        (Purpose::TimeStamping, Some((true, purposes)))
            if purposes.as_slice() == [TIME_STAMPING] => {}
        (Purpose::TimeStamping, _) => {
            return Err((
                "the critical extended key usage `timeStamping` alone".into(),
                format!("another one in {name}"),
            ));
        }
        (Purpose::CodeSigning, None) => {}
    }
    if leaf.key.envelope().is_none() {
        return Err((
            "a key of RSA 2048, 3072 or 4096, or ECDSA P-256, P-384 or P-521".into(),
            format!("{} in {name}", leaf.key),
        ));
    }
    Ok(())
}

fn check_authority(authority: &Certificate, below: usize, purpose: Purpose) -> Result<(), Broken> {
    let name = authority.name();
    let constraints = authority.constraints.as_ref().filter(|it| it.ca);
    let Some(constraints) = constraints else {
        return Err((
            "a certificate of an authority".into(),
            format!("{name}, which is none"),
        ));
    };
    if let Some(most) = constraints.path_len_constraint
        && usize::from(most) < below
    {
        return Err((
            format!("at most {most} authorities below {name}"),
            below.to_string(),
        ));
    }
    match &authority.usage {
        Some((critical, usage))
            if usage.key_cert_sign() && (*critical || purpose == Purpose::TimeStamping) =>
        {
            Ok(())
        }
        _ => Err((
            "the critical key usage `keyCertSign`".into(),
            format!("another one in {name}"),
        )),
    }
}

impl Certificate {
    /// Returns a critical extension that nobody here understands.
    pub(super) fn unknown_critical(&self) -> Option<ObjectIdentifier> {
        let mut critical = self.critical.iter();
        critical.find(|oid| !UNDERSTOOD.contains(oid)).copied()
    }
}

/// Returns the time in a certificate.
pub(super) fn timestamp(time: &Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Returns the addresses that a distribution point has.
pub(super) fn uris(name: &DistributionPointName) -> Vec<String> {
    match name {
        DistributionPointName::FullName(names) => names.iter().filter_map(uri).collect(),
        DistributionPointName::NameRelativeToCRLIssuer(_) => Vec::new(),
    }
}

fn uri(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
        _ => None,
    }
}

const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const FRESHEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.46");
/// The purpose of a responder's certificate that the authority delegates OCSP to.
pub(super) const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// Basic constraints, key usage and extended key usage; the rest is for others.
const UNDERSTOOD: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// What a certificate that signs images may not be for.
const EXCLUDED: [(ObjectIdentifier, &str); 5] = [
    (
        ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
        "TLS servers",
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
        "TLS clients",
    ),
    (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4"), "mail"),
    (TIME_STAMPING, "time stamps"),
    (OCSP_SIGNING, "OCSP"),
];
