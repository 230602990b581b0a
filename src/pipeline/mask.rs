//! Keeps secrets out of whatever is shown: text at once, or a stream in chunks of any size.
//!
//! Masked are a secret's whole value and each of its lines, as they are, in JSON, URL-encoded and in base64
//! wherever the value stands in the encoded text, and `user:secret` in base64, as HTTP sends logins.
//! What an excerpt cuts off, which ends with `…`, is masked from six characters on.
//! A line of fewer than six characters is masked only as a part of the whole value: alone it would hide
//! ordinary words.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::secret::{MINIMUM_CHARACTERS, SecretString, SecretValue};

/// What stands in for a secret.
pub const STARS: &str = "***";
/// The fewest characters of an encoded part that is looked for, and of a secret that an excerpt cuts off.
const SHORTEST: usize = 6;
/// What our excerpts end with: they are made before anything is masked.
const CUT: &str = "…";

/// What is to be masked, in every form in which it may appear.
#[derive(Clone, Default)]
pub struct Mask {
    /// The secrets and their lines as they are.
    parts: Vec<String>,
    needles: Vec<Vec<u8>>,
    /// The needles that start with each byte, as indexes.
    by_first: Vec<Vec<usize>>,
    longest: usize,
}

impl Mask {
    /// Prepares to mask the given secrets.
    pub fn new(secrets: &[SecretValue]) -> Self {
        let mut needles = Vec::new();
        let mut plain = Vec::new();
        for secret in secrets {
            let value = secret.value.expose();
            let lines = value.lines().map(str::trim);
            let parts = [value, value.trim()].into_iter().chain(lines);
            for part in parts.filter(|part| part.chars().count() >= MINIMUM_CHARACTERS) {
                forms(part, &mut needles);
                plain.push(part.to_owned());
            }
            for user in &secret.users {
                let pair = format!("{user}:{value}");
                needles.push(STANDARD_NO_PAD.encode(&pair));
                needles.push(URL_SAFE_NO_PAD.encode(&pair));
            }
        }
        needles.sort();
        needles.dedup();
        let needles: Vec<Vec<u8>> = needles.into_iter().map(String::into_bytes).collect();
        let mut by_first = vec![Vec::new(); 256];
        for (index, needle) in needles.iter().enumerate() {
            if let Some(first) = needle.first() {
                by_first[usize::from(*first)].push(index);
            }
        }
        Self {
            parts: plain,
            longest: needles.iter().map(Vec::len).max().unwrap_or(0),
            needles,
            by_first,
        }
    }

    /// Masks a text.
    pub fn text(&self, text: &str) -> String {
        let starts =
            |byte: &u8| !self.by_first.is_empty() && !self.by_first[usize::from(*byte)].is_empty();
        if !text.as_bytes().iter().any(starts) {
            return text.to_owned();
        }
        let mut masker = Masker::new(Arc::new(self.clone()));
        let mut masked = masker.push(text.as_bytes());
        masked.extend(masker.flush());
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// Returns everything that is masked, once each: the secrets and their lines as they are, then their other forms.
    pub fn forms(&self) -> Vec<String> {
        let needles = self
            .needles
            .iter()
            .map(|needle| String::from_utf8_lossy(needle));
        let needles = needles.map(std::borrow::Cow::into_owned);
        let mut seen = HashSet::new();
        let all = self.parts.iter().cloned().chain(needles);
        all.filter(|form| seen.insert(form.clone())).collect()
    }

    /// Returns the most bytes that a [`Masker`] holds back.
    pub fn hold_back(&self) -> usize {
        match self.longest {
            0 => 0,
            // All but its last byte, and all but the last byte of the mark behind it.
            longest => longest - 1 + CUT.len() - 1,
        }
    }

    fn starting_with(&self, byte: u8) -> impl Iterator<Item = &[u8]> {
        self.by_first
            .get(usize::from(byte))
            .into_iter()
            .flatten()
            .map(|index| self.needles[*index].as_slice())
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} forms)", self.needles.len())
    }
}

/// Secrets that a run comes to know while it runs, such as tokens: masked from then on.
#[derive(Clone, Debug, Default)]
pub struct Learned(Arc<RwLock<Vec<Known>>>);

#[derive(Debug)]
struct Known {
    value: SecretString,
    user: Option<String>,
    mask: Arc<Mask>,
}

impl Learned {
    /// Adds a secret, and the user name that stands before it when it is sent.
    pub fn add(&self, value: &str, user: Option<&str>) {
        let is_known =
            |known: &Known| known.value.expose() == value && known.user.as_deref() == user;
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().any(is_known);
        drop(all);
        if known || value.chars().count() < MINIMUM_CHARACTERS {
            return;
        }
        let secret = SecretValue {
            name: String::new(),
            value: SecretString::new(value),
            users: user.into_iter().map(str::to_owned).collect(),
        };
        let mask = Arc::new(Mask::new(std::slice::from_ref(&secret)));
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Known {
            value: secret.value,
            user: user.map(str::to_owned),
            mask,
        });
    }

    /// Masks a text.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut masked = text.to_owned();
        for known in all.iter() {
            masked = known.mask.text(&masked);
        }
        masked
    }
}

/// Masks a stream. What might be the start of a secret is held back until that is clear.
#[derive(Debug)]
pub struct Masker {
    mask: Arc<Mask>,
    buffer: Vec<u8>,
    /// How many bytes at the buffer's start belong to a secret whose stars are out already.
    covered: usize,
}

impl Masker {
    /// Starts a stream.
    pub fn new(mask: Arc<Mask>) -> Self {
        Self {
            mask,
            buffer: Vec::new(),
            covered: 0,
        }
    }

    /// Takes a chunk, and returns what may be shown by now.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.buffer.extend_from_slice(chunk);
        let settled = self.settled();
        self.release(settled)
    }

    /// Returns what is held back, for the end of a stream or of a line that must be shown now.
    pub fn flush(&mut self) -> Vec<u8> {
        self.release(self.buffer.len())
    }

    /// Finds the first byte that might start a secret which goes on in the next chunk.
    fn settled(&self) -> usize {
        let first = self.buffer.len().saturating_sub(self.mask.hold_back());
        (first..self.buffer.len())
            .find(|at| {
                let rest = &self.buffer[*at..];
                self.mask
                    .starting_with(rest[0])
                    .any(|needle| undecided(rest, needle))
            })
            .unwrap_or(self.buffer.len())
    }

    /// Shows the bytes before `settled`, stars for each run of overlapping secrets.
    fn release(&mut self, settled: usize) -> Vec<u8> {
        let mut shown = Vec::with_capacity(settled);
        let mut covered = self.covered;
        for at in 0..settled {
            let rest = &self.buffer[at..];
            let lengths = self.mask.starting_with(rest[0]);
            let lengths = lengths.filter_map(|needle| hidden(rest, needle));
            let length = lengths.max().unwrap_or(0);
            if length > 0 && at >= covered {
                shown.extend_from_slice(STARS.as_bytes());
            }
            covered = covered.max(if length > 0 { at + length } else { 0 });
            if at >= covered {
                shown.push(rest[0]);
            }
        }
        self.buffer.drain(..settled);
        self.covered = covered.saturating_sub(settled);
        shown
    }
}

/// Returns how many bytes at the start of a text are a secret: all of it, or what an excerpt left of it.
fn hidden(text: &[u8], needle: &[u8]) -> Option<usize> {
    let same = common(text, needle);
    let cut = same >= SHORTEST && text[same..].starts_with(CUT.as_bytes());
    (same == needle.len() || cut).then_some(same)
}

/// Says whether only the next chunk tells if a text starts with a secret, or with what an excerpt left of it.
fn undecided(text: &[u8], needle: &[u8]) -> bool {
    let same = common(text, needle);
    let rest = &text[same..];
    same < needle.len()
        && (rest.is_empty()
            || same >= SHORTEST && rest.len() < CUT.len() && CUT.as_bytes().starts_with(rest))
}

/// Returns how many bytes two texts have in common at their start.
fn common(one: &[u8], other: &[u8]) -> usize {
    let same = one
        .iter()
        .zip(other)
        .take_while(|(one, other)| one == other);
    same.count()
}

/// Adds a text in every form.
fn forms(text: &str, needles: &mut Vec<String>) {
    needles.push(text.to_owned());
    let json = serde_json::Value::from(text).to_string();
    let json = json[1..json.len() - 1].to_owned();
    needles.push(json.replace('/', "\\/"));
    needles.push(json);
    for kept in KEPT_IN_URLS {
        let upper = percent(text, kept, true);
        needles.push(upper.replace("%20", "+"));
        needles.push(upper);
        let lower = percent(text, kept, false);
        needles.push(lower.replace("%20", "+"));
        needles.push(lower);
    }
    for shift in 0..3 {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(text.as_bytes());
        // The characters at both ends also hold bits of the bytes around the secret.
        let start = [0, 2, 3][shift];
        let mixed = usize::from(bytes.len() % 3 != 0);
        for encoded in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            let core = &encoded[start..encoded.len() - mixed];
            if core.len() >= SHORTEST {
                needles.push(core.to_owned());
            }
            if shift == 0 {
                needles.push(encoded);
            }
        }
    }
}

/// The characters that encoders leave alone besides letters and digits: RFC 3986's unreserved ones,
/// JavaScript's `encodeURIComponent`, HTML forms, and the WHATWG's sets for user names, paths and queries.
const KEPT_IN_URLS: [&str; 6] = [
    "-._~",
    "-._~!'()*",
    "-._*",
    "-._~!$&'()*+,%",
    "-._~!$&'()*+,:;=@/%|[]\\^",
    "-._~!$&()*+,:;=@/?%|[]\\^`{}",
];

fn percent(text: &str, kept: &str, upper: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || (byte.is_ascii() && kept.contains(char::from(byte))) {
            encoded.push(char::from(byte));
        } else if upper {
            encoded.push_str(&format!("%{byte:02X}"));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    encoded
}

#[cfg(test)]
#[path = "tests/mask.rs"]
mod tests;
