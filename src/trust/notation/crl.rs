//! Revocation lists (RFC 5280, section 5). Their entries are read one at a time: a list may have hundreds of
//! thousands of them.

use der::asn1::{ObjectIdentifier, Uint};
use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber};
use jiff::Timestamp;
use x509_cert::crl::RevokedCert;
use x509_cert::ext::pkix::{
    BaseCrlNumber, CrlNumber, CrlReason, FreshestCrl, IssuingDistributionPoint,
};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

use super::certificate::{Certificate, timestamp, uris};
use super::crypto;
use super::ocsp::{INVALIDITY_DATE, was_good};
use crate::trust::judge::quoted;

/// A list that its issuer signed and that is not out of date.
pub(super) struct List {
    number: Option<Uint>,
    /// The number of the list whose changes these are.
    base: Option<Uint>,
    scope: Option<IssuingDistributionPoint>,
    /// Where changes since then are.
    pub(super) freshest: Vec<String>,
    /// Where in the bytes the entries are.
    entries: Option<std::ops::Range<usize>>,
}

/// What a list says of a certificate.
pub(super) enum Entry {
    /// It is revoked, for good or until it is removed from the list.
    Revoked { since: Timestamp, held: bool },
    /// It was, and is so no longer.
    Removed,
}

impl List {
    /// Reads a list and checks its signature, its dates and what it is about.
    pub(super) fn read(bytes: &[u8], issuer: &Certificate, now: Timestamp) -> Result<Self, String> {
        let body = crypto::first_part(bytes).ok_or("it is no revocation list")?;
        let (algorithm, made) = signature(bytes).map_err(words)?;
        let outline = Outline::read(body).map_err(words)?;
        if outline.algorithm != algorithm {
            return Err("the list names two different algorithms".into());
        }
        if !issuer.signs_lists() {
            return Err(format!("{} may not sign revocation lists", issuer.name()));
        }
        let named = der::Encode::to_der(&outline.issuer).map_err(words)?;
        if named != issuer.subject {
            return Err(format!(
                "the list is by {}, not by {}",
                quoted(&outline.issuer.to_string()),
                issuer.name()
            ));
        }
        issuer
            .key
            .made(&algorithm, None, body, &made)
            .map_err(|found| format!("the list has {found}"))?;
        match outline.next_update.as_ref().map(timestamp) {
            Some(next) if next >= now => {}
            Some(next) => return Err(format!("the list is out of date since {next}")),
            None => return Err("the list does not say until when it counts".into()),
        }
        let extensions = outline.extensions.unwrap_or_default();
        let known = [NUMBER, BASE, SCOPE, FRESHEST];
        if let Some(unknown) = extensions
            .iter()
            .find(|it| it.critical && !known.contains(&it.extn_id))
        {
            return Err(format!(
                "the list has the critical extension {}, which is not known",
                unknown.extn_id
            ));
        }
        let freshest = extension::<FreshestCrl>(&extensions, FRESHEST)?;
        let freshest = freshest.map_or_else(Vec::new, |points| {
            let names = points.0.into_iter().filter_map(|it| it.distribution_point);
            names.flat_map(|name| uris(&name)).collect()
        });
        // The entries are in the body, and the body in the bytes: both start somewhere behind a header.
        let offset = body.as_ptr() as usize - bytes.as_ptr() as usize;
        Ok(Self {
            number: extension::<CrlNumber>(&extensions, NUMBER)?.map(|it| it.0),
            base: extension::<BaseCrlNumber>(&extensions, BASE)?.map(|it| it.0),
            scope: extension::<IssuingDistributionPoint>(&extensions, SCOPE)?,
            freshest,
            entries: outline
                .entries
                .map(|range| range.start + offset..range.end + offset),
        })
    }

    /// Checks that a list which is part of a whole is the part for this certificate.
    pub(super) fn covers(
        &self,
        certificate: &Certificate,
        places: &[String],
    ) -> Result<(), String> {
        if self.base.is_some() {
            return Err("the list has only changes of another one".into());
        }
        let Some(scope) = &self.scope else {
            return Ok(());
        };
        let authority = certificate.is_authority();
        let other = scope.indirect_crl
            || scope.only_contains_attribute_certs
            || scope.only_some_reasons.is_some()
            || (scope.only_contains_ca_certs && !authority)
            || (scope.only_contains_user_certs && authority);
        let named = scope.distribution_point.as_ref().map(uris);
        let elsewhere = named.is_some_and(|named| !named.iter().any(|it| places.contains(it)));
        if other || elsewhere {
            return Err("the list is about other certificates".into());
        }
        Ok(())
    }

    /// Checks that these are the changes of another list.
    pub(super) fn continues(&self, base: &Self) -> Result<(), String> {
        let numbers = (
            self.base.as_ref().map(digits),
            self.number.as_ref().map(digits),
            base.number.as_ref().map(digits),
        );
        match numbers {
            (Some(from), Some(number), Some(base)) if from <= base && number > base => Ok(()),
            _ => Err("the list of changes does not follow the list".into()),
        }
    }

    /// Looks for a certificate among the entries.
    pub(super) fn find(
        &self,
        bytes: &[u8],
        certificate: &Certificate,
        signed_at: Option<Timestamp>,
    ) -> Result<Option<Entry>, String> {
        let Some(entries) = self.entries.clone() else {
            return Ok(None);
        };
        let entries = bytes.get(entries).ok_or("the list is cut short")?;
        let mut reader = SliceReader::new(entries).map_err(words)?;
        let mut found = None;
        while !reader.is_finished() {
            let entry = RevokedCert::decode(&mut reader).map_err(words)?;
            if entry.serial_number != *certificate.serial() {
                continue;
            }
            let extensions = entry.crl_entry_extensions.unwrap_or_default();
            let unknown = extensions
                .iter()
                .find(|it| it.critical && ![REASON, INVALIDITY_DATE].contains(&it.extn_id));
            if let Some(unknown) = unknown {
                return Err(format!(
                    "the entry has the critical extension {}, which is not known",
                    unknown.extn_id
                ));
            }
            if was_good(Some(&extensions), signed_at)? {
                continue;
            }
            let since = timestamp(&entry.revocation_date);
            match extension::<CrlReason>(&extensions, REASON)? {
                Some(CrlReason::RemoveFromCRL) => found = Some(Entry::Removed),
                Some(CrlReason::CertificateHold) => {
                    found = Some(Entry::Revoked { since, held: true });
                }
                // Nothing that comes later takes this back.
                _ => return Ok(Some(Entry::Revoked { since, held: false })),
            }
        }
        Ok(found)
    }
}

/// What stands before and behind the entries.
struct Outline {
    algorithm: AlgorithmIdentifierOwned,
    issuer: Name,
    next_update: Option<Time>,
    entries: Option<std::ops::Range<usize>>,
    extensions: Option<Extensions>,
}

impl Outline {
    fn read(body: &[u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(body)?;
        let header = Header::decode(&mut reader)?;
        header.tag.assert_eq(Tag::Sequence)?;
        if reader.peek_tag()? == Tag::Integer {
            let version = u8::decode(&mut reader)?;
            if version != 1 {
                return Err(Tag::Integer.value_error());
            }
        }
        let algorithm = AlgorithmIdentifierOwned::decode(&mut reader)?;
        let issuer = Name::decode(&mut reader)?;
        Time::decode(&mut reader)?;
        let mut next_update = None;
        let mut entries = None;
        let mut extensions = None;
        while !reader.is_finished() {
            match reader.peek_tag()? {
                Tag::UtcTime | Tag::GeneralizedTime
                    if next_update.is_none() && entries.is_none() && extensions.is_none() =>
                {
                    next_update = Some(Time::decode(&mut reader)?);
                }
                Tag::Sequence if entries.is_none() && extensions.is_none() => {
                    let header = Header::decode(&mut reader)?;
                    let start = usize::try_from(reader.position())?;
                    let length = usize::try_from(header.length)?;
                    reader.read_slice(header.length)?;
                    entries = Some(start..start + length);
                }
                Tag::ContextSpecific {
                    constructed: true,
                    number: TagNumber::N0,
                } if extensions.is_none() => {
                    Header::decode(&mut reader)?;
                    extensions = Some(Extensions::decode(&mut reader)?);
                }
                other => return Err(other.unexpected_error(None)),
            }
        }
        Ok(Self {
            algorithm,
            issuer,
            next_update,
            entries,
            extensions,
        })
    }
}

/// Reads what stands behind the body of a list.
fn signature(bytes: &[u8]) -> der::Result<(AlgorithmIdentifierOwned, Vec<u8>)> {
    let mut reader = SliceReader::new(bytes)?;
    let header = Header::decode(&mut reader)?;
    header.tag.assert_eq(Tag::Sequence)?;
    reader.tlv_bytes()?;
    let algorithm = AlgorithmIdentifierOwned::decode(&mut reader)?;
    let made = der::asn1::BitString::decode(&mut reader)?;
    reader.finish((algorithm, made.as_bytes().unwrap_or_default().to_vec()))
}

fn extension<'a, T: Decode<'a>>(
    extensions: &'a [Extension],
    oid: ObjectIdentifier,
) -> Result<Option<T>, String> {
    let found = extensions.iter().find(|it| it.extn_id == oid);
    found
        .map(|it| T::from_der(it.extn_value.as_bytes()))
        .transpose()
        .map_err(words)
}

/// Returns a number in a form that sorts: its length, then its digits.
fn digits(number: &Uint) -> (usize, &[u8]) {
    (number.as_bytes().len(), number.as_bytes())
}

fn words(error: der::Error) -> String {
    format!("the list can't be read: {}", quoted(&error.to_string()))
}

const NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const BASE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const SCOPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const FRESHEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.46");
