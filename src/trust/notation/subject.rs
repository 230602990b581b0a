//! Trusted identities: whom the certificate of a signer has to name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use der::Tag;
use der::asn1::{
    Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef,
};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

use crate::failure::Explain;
use crate::trust::judge::quoted;

/// Parts of a certificate's subject, each of which it must have to the letter: `C=US, ST=WA, O=acme`
/// (RFC 4514; `C`, `ST` or `S`, and `O` at least, as the trust policy specification asks).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject(BTreeMap<ObjectIdentifier, String>);

impl Subject {
    /// The most bytes of a subject as it is written.
    pub const MAX_LENGTH: usize = 2048;

    /// Tells whether one certificate could be both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(oid, value)| other.0.get(oid).is_none_or(|other| other == value))
    }

    /// Tells whether every certificate that is the other one is this one too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(oid, value)| other.0.get(oid) == Some(value))
    }

    /// Reads the subject of a certificate; what it has beside the names that are known here does not count.
    ///
    /// # Errors
    /// A part that is there twice: a reader that took the other one would see somebody else.
    pub(super) fn of(name: &Name) -> Result<Self, String> {
        let mut parts = BTreeMap::new();
        for relative in &name.0 {
            if relative.0.len() > 1 {
                return Err("a part of several values".into());
            }
            for attribute in relative.0.iter() {
                let Some(value) = text(attribute) else {
                    continue;
                };
                if parts.insert(attribute.oid, value).is_some() {
                    return Err(format!("`{}` twice", short_name(attribute.oid)));
                }
            }
        }
        Ok(Self(parts))
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(SubjectError::TooLong { bytes: text.len() });
        }
        let mut parts = BTreeMap::new();
        for part in split(text) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(SubjectError::NoValue {
                    part: quoted(part.trim()),
                });
            };
            let name = name.trim();
            let value = value.trim_start();
            if value.starts_with('#') {
                return Err(SubjectError::Hex { name: quoted(name) });
            }
            let oid = oid(name).ok_or_else(|| SubjectError::UnknownName { name: quoted(name) })?;
            let value = unescaped(value).ok_or_else(|| SubjectError::Escape {
                part: quoted(part.trim()),
            })?;
            if value.is_empty() {
                return Err(SubjectError::NoValue {
                    part: quoted(part.trim()),
                });
            }
            if parts.insert(oid, value).is_some() {
                return Err(SubjectError::Twice { name: quoted(name) });
            }
        }
        let missing = NEEDED.into_iter().find(|(oid, _)| !parts.contains_key(oid));
        match missing {
            Some((_, name)) => Err(SubjectError::Missing { name }),
            None => Ok(Self(parts)),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = Vec::new();
        for (name, oid) in NAMES {
            if name != "S"
                && let Some(value) = self.0.get(&oid)
            {
                shown.push(format!("{name}={}", escaped(value)));
            }
        }
        f.write_str(&quoted(&shown.join(", ")))
    }
}

/// A refusal to take a text for a trusted identity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SubjectError {
    /// A backslash is followed by nothing that could be meant.
    #[error("in `{part}` a backslash, a quote or a plus sign stands where none can")]
    Escape {
        /// The part.
        part: String,
    },
    /// A value is in hexadecimal, which is not compared.
    #[error("the value of `{name}` is in hexadecimal")]
    Hex {
        /// The part's name.
        name: String,
    },
    /// A part that is needed is missing.
    #[error("the subject has no `{name}`")]
    Missing {
        /// The part's name.
        name: &'static str,
    },
    /// A part has no value.
    #[error("`{part}` has no value")]
    NoValue {
        /// The part.
        part: String,
    },
    /// The text is longer than any subject.
    #[error(
        "a subject has at most {} bytes, this one has {bytes}",
        Subject::MAX_LENGTH
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A part is there twice.
    #[error("`{name}` is there twice")]
    Twice {
        /// The part's name.
        name: String,
    },
    /// The part has a name that is not known.
    #[error("no part of a subject is called `{name}`")]
    UnknownName {
        /// The name.
        name: String,
    },
}

impl Explain for SubjectError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Escape { .. } => {
                    "write a backslash before a comma or a plus sign that belongs to the value: `O=acme\\, Inc.`"
                }
                Self::Hex { .. } => "write the value as text",
                Self::Missing { .. } => {
                    "write `C`, `ST` and `O` at least, as `openssl x509 -noout -subject -nameopt RFC2253` shows them: `C=US, ST=WA, O=acme`"
                }
                Self::NoValue { .. } | Self::TooLong { .. } => {
                    "write parts with values between commas: `C=US, ST=WA, O=acme`"
                }
                Self::Twice { .. } => "write each part once",
                Self::UnknownName { .. } => {
                    "known are C, ST, L, O, OU, CN, STREET, POSTALCODE, SERIALNUMBER and DC"
                }
            }
            .into(),
        )
    }
}

/// Splits at the commas that separate.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escape = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escape => escape = false,
            b'\\' => escape = true,
            b',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Undoes escapes, and drops blanks at the end that are none of the value.
fn unescaped(value: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut kept = 0;
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => {
                let next = rest.next()?;
                if b" \"#+,;<=>\\".contains(&next) {
                    bytes.push(next);
                } else {
                    let pair = [next, rest.next()?];
                    bytes.push(hex::decode(pair).ok()?.first().copied()?);
                }
                kept = bytes.len();
            }
            b'"' | b'+' | b';' | b'<' | b'>' => return None,
            b' ' => bytes.push(byte),
            _ => {
                bytes.push(byte);
                kept = bytes.len();
            }
        }
    }
    bytes.truncate(kept);
    String::from_utf8(bytes).ok()
}

fn escaped(value: &str) -> String {
    let mut shown = String::new();
    for (index, character) in value.char_indices() {
        let edge = index == 0 || index + character.len_utf8() == value.len();
        if "\"+,;<>\\".contains(character) || (edge && character == ' ') {
            shown.push('\\');
        }
        shown.push(character);
    }
    shown
}

fn text(attribute: &AttributeTypeAndValue) -> Option<String> {
    let value = &attribute.value;
    let text = match der::Tagged::tag(value) {
        Tag::PrintableString => PrintableStringRef::try_from(value)
            .ok()?
            .as_str()
            .to_owned(),
        Tag::Utf8String => Utf8StringRef::try_from(value).ok()?.as_str().to_owned(),
        Tag::Ia5String => Ia5StringRef::try_from(value).ok()?.as_str().to_owned(),
        Tag::TeletexString => TeletexStringRef::try_from(value).ok()?.as_str().to_owned(),
        _ => return None,
    };
    Some(text)
}

fn oid(name: &str) -> Option<ObjectIdentifier> {
    let name = name.to_ascii_uppercase();
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, oid)| *oid)
}

fn short_name(oid: ObjectIdentifier) -> String {
    let known = NAMES.iter().find(|(_, known)| *known == oid);
    known.map_or_else(|| oid.to_string(), |(name, _)| (*name).to_owned())
}

const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
const STATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.8");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

const NEEDED: [(ObjectIdentifier, &str); 3] = [(COUNTRY, "C"), (STATE, "ST"), (ORGANIZATION, "O")];

const NAMES: [(&str, ObjectIdentifier); 11] = [
    ("C", COUNTRY),
    ("ST", STATE),
    ("S", STATE),
    ("L", ObjectIdentifier::new_unwrap("2.5.4.7")),
    ("O", ORGANIZATION),
    ("OU", ObjectIdentifier::new_unwrap("2.5.4.11")),
    ("CN", ObjectIdentifier::new_unwrap("2.5.4.3")),
    ("STREET", ObjectIdentifier::new_unwrap("2.5.4.9")),
    ("POSTALCODE", ObjectIdentifier::new_unwrap("2.5.4.17")),
    ("SERIALNUMBER", ObjectIdentifier::new_unwrap("2.5.4.5")),
    (
        "DC",
        ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"),
    ),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject(text: &str) -> Subject {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn parts_are_a_subset() {
        let short = subject("C=US, ST=WA, O=acme");
        let long = subject("CN=web,O=acme,S=WA,C=US");
        assert!(short.covers(&long));
        assert!(!long.covers(&short));
        assert!(short.overlaps(&long));
        assert!(!subject("C=US,ST=WA,O=acme,CN=db").overlaps(&long));
        assert_eq!(
            subject("c=US,  st=WA , o= acme ").to_string(),
            short.to_string()
        );
    }

    #[test]
    fn escapes_are_undone() {
        let comma = subject("C=US,ST=WA,O=acme\\, Inc.");
        assert_eq!(comma, subject("C=US,ST=WA,O=acme\\2c Inc."));
        assert_eq!(comma.to_string(), "C=US, ST=WA, O=acme\\\\, Inc.");
        assert_ne!(comma, subject("C=US,ST=WA,O=acme"));
        assert_eq!(
            subject("C=US,ST=WA,O=b\\C3\\BCro"),
            subject("C=US,ST=WA,O=büro")
        );
    }

    #[test]
    fn refusals_say_what_to_write() {
        let told: Vec<String> = [
            "",
            "acme",
            "C=US,ST=WA",
            "C=US,ST=WA,O=",
            "C=US,ST=WA,O=acme,O=other",
            "C=US,ST=WA,S=OR,O=acme",
            "C=US,ST=WA,O=acme,X=1",
            "C=US,ST=WA,O=#0c0461636d65",
            "C=US+ST=WA,O=acme",
            "C=US,ST=WA,O=acme\\",
            "C=US,ST=WA,O=acme\\zz",
        ]
        .map(|text| {
            let error = text.parse::<Subject>().unwrap_err();
            format!("{text:?}: {error} ({})", error.hint().unwrap())
        })
        .into();
        insta::assert_snapshot!(told.join("\n"));
    }

    /// CVE-2023-25656: a value that began with `=#` let the reference implementation allocate without end.
    #[test]
    fn cve_2023_25656_a_hexadecimal_value_is_refused_at_once() {
        for value in ["#", "#ff", "#840fffffff", "#04840fffffff00"] {
            let error = format!("C=US,ST=WA,O={value}").parse::<Subject>();
            assert!(matches!(error, Err(SubjectError::Hex { .. })), "{value}");
        }
        let long = format!("C=US,ST=WA,O={}", "=#".repeat(5_000_000));
        assert!(matches!(
            long.parse::<Subject>(),
            Err(SubjectError::TooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
            let _ = text.parse::<Subject>();
            let _ = format!("C=US,ST=WA,O={text}").parse::<Subject>();
        }

        #[test]
        fn what_is_escaped_is_read_back(value in "[ -~]{1,30}") {
            let text = format!("C=US,ST=WA,O={}", escaped(&value));
            if !value.starts_with('#') {
                let read = subject(&text);
                prop_assert_eq!(read.0.get(&ORGANIZATION), Some(&value));
            }
        }
    }
}
