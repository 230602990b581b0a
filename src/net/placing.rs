//! Bodies that a launcher writes into a file, in place of passing them to its component.
//!
//! A component that has opened a sink with its launcher names it in the header [`SINK`] of a request; the egress
//! takes that header out. Where the answer is the whole file or a part of it, of known length and not encoded,
//! its body goes into the file. What the component gets is the head with [`PLACED`] in it, and for a body, in
//! chunks, [`Record`]s: how much was written, or bytes that could not be. Any other answer comes as it is.

use std::ops::Range;

use bytes::{Buf as _, Bytes};
use http::HeaderMap;

/// The header of a request that names a [`Sink`].
pub const SINK: &str = "shipgate-sink";

/// The header of an answer that says what of its body is [`Placed`].
pub const PLACED: &str = "shipgate-placed";

/// Where the body of an answer may go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sink {
    /// What the launcher called it. No host gets to see it, so none can pretend to have filled it.
    pub ticket: String,
    /// The offsets that are asked for.
    pub range: Range<u64>,
}

impl Sink {
    /// Returns it as the value of its header.
    #[must_use]
    pub fn value(&self) -> String {
        format!("{} {}-{}", self.ticket, self.range.start, self.range.end)
    }

    /// Reads the value of its header.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (ticket, range) = value.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let range = number(start)?..number(end)?;
        let named = !ticket.is_empty() && ticket.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (named && range.start < range.end).then(|| Self {
            ticket: ticket.to_owned(),
            range,
        })
    }
}

/// A body that goes into a sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placed {
    /// The sink's.
    pub ticket: String,
    /// The length of the body that the host sends.
    pub length: u64,
}

impl Placed {
    /// Returns it as the value of its header.
    #[must_use]
    pub fn value(&self) -> String {
        format!("{} {}", self.ticket, self.length)
    }

    /// Returns the length of a body that goes into this sink, if it does.
    pub(super) fn length_of(headers: &HeaderMap, sink: &Sink) -> Option<u64> {
        let values = headers.get_all(PLACED).iter();
        let mut lengths = values.filter_map(|value| {
            let (ticket, length) = value.to_str().ok()?.split_once(' ')?;
            number(length).filter(|_| ticket == sink.ticket)
        });
        lengths.next()
    }
}

/// Reads digits and nothing else.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// The four bytes before each part of a body that goes into a sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Record {
    /// So many bytes follow, which the file did not take.
    Bytes(u32),
    /// So many bytes were written.
    Placed(u32),
}

impl Record {
    /// How many bytes it takes.
    pub const LENGTH: usize = 4;

    /// The mark of bytes that were written.
    const MARK: u32 = 1 << 31;

    /// Returns it as it is sent.
    #[must_use]
    pub const fn encode(self) -> [u8; Self::LENGTH] {
        match self {
            Self::Bytes(length) => length,
            Self::Placed(length) => length | Self::MARK,
        }
        .to_be_bytes()
    }

    /// Reads it.
    #[must_use]
    pub const fn decode(bytes: [u8; Self::LENGTH]) -> Self {
        match u32::from_be_bytes(bytes) {
            length if length & Self::MARK == 0 => Self::Bytes(length),
            length => Self::Placed(length & !Self::MARK),
        }
    }
}

/// A part of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// Its bytes.
    Here(Bytes),
    /// So many bytes, which the launcher has written.
    Placed(u64),
}

impl Piece {
    /// Returns how many bytes it is.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Here(bytes) => bytes.len() as u64,
            Self::Placed(size) => *size,
        }
    }

    /// Leaves out so many bytes at its beginning.
    pub fn skip(&mut self, known: u64) {
        let known = known.min(self.size());
        match self {
            Self::Here(bytes) => bytes.advance(usize::try_from(known).unwrap_or(usize::MAX)),
            Self::Placed(size) => *size -= known,
        }
    }

    /// Leaves no more than so many bytes of it.
    pub fn truncate(&mut self, most: u64) {
        match self {
            Self::Here(bytes) => bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX)),
            Self::Placed(size) => *size = most.min(*size),
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::Here(bytes)
    }
}

/// Reads records out of a body as it arrives.
#[derive(Debug)]
pub(super) struct Records {
    length: u64,
    came: u64,
    head: [u8; Record::LENGTH],
    headed: usize,
    /// How much of the record at hand is still to come.
    left: usize,
    bytes: Bytes,
}

impl Records {
    /// Starts with the length of the body that they are about.
    pub(super) fn new(length: u64) -> Self {
        Self {
            length,
            came: 0,
            head: [0; Record::LENGTH],
            headed: 0,
            left: 0,
            bytes: Bytes::new(),
        }
    }

    /// Returns the length of that body.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds what came. What came before must have been taken.
    pub(super) fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.bytes.is_empty());
        self.bytes = bytes;
    }

    /// Takes the next piece out of what came.
    pub(super) fn next(&mut self) -> Option<Piece> {
        while !self.bytes.is_empty() {
            if self.left > 0 {
                let bytes = self.bytes.split_to(self.left.min(self.bytes.len()));
                self.left -= bytes.len();
                self.came += bytes.len() as u64;
                return Some(bytes.into());
            }
            self.head[self.headed] = self.bytes.get_u8();
            self.headed += 1;
            if self.headed < Record::LENGTH {
                continue;
            }
            self.headed = 0;
            match Record::decode(self.head) {
                Record::Bytes(length) => self.left = length as usize,
                Record::Placed(0) => {}
                Record::Placed(length) => {
                    self.came += u64::from(length);
                    return Some(Piece::Placed(length.into()));
                }
            }
        }
        None
    }

    /// Says whether all of the body came.
    pub(super) fn is_complete(&self) -> bool {
        self.came == self.length && self.left == 0 && self.headed == 0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_or_not_at_all() {
        let sink = Sink {
            ticket: "0af9".into(),
            range: 5..90,
        };
        assert_eq!(sink.value(), "0af9 5-90");
        assert_eq!(Sink::parse(&sink.value()), Some(sink));
        for value in [
            "",
            "a",
            "a 1",
            "a 1-",
            "a -1",
            " 1-2",
            "a 2-2",
            "a 2-1",
            "a +1-2",
            "a 1-2-3",
            "a  1-2",
            "a 1-99999999999999999999",
            "a/b 1-2",
            "a 1-2 ",
        ] {
            assert_eq!(Sink::parse(value), None, "{value}");
        }
    }

    #[test]
    fn only_the_sinks_own_ticket_counts() {
        let sink = Sink {
            ticket: "b".into(),
            range: 0..1,
        };
        let mut headers = HeaderMap::new();
        for value in ["a 1", "b", "b -1", "b 7", "c 9"] {
            headers.append(PLACED, HeaderValue::from_static(value));
        }
        assert_eq!(Placed::length_of(&headers, &sink), Some(7));
        headers.remove(PLACED);
        assert_eq!(Placed::length_of(&headers, &sink), None);
    }

    proptest! {
        #[test]
        fn records_may_be_cut_anywhere(
            parts in prop::collection::vec((any::<bool>(), 1_u32..300), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..100),
        ) {
            let mut wire = Vec::new();
            let mut length = 0;
            for (placed, size) in &parts {
                length += u64::from(*size);
                if *placed {
                    wire.extend(Record::Placed(*size).encode());
                } else {
                    wire.extend(Record::Bytes(*size).encode());
                    wire.extend(vec![7; *size as usize]);
                }
            }
            let mut records = Records::new(length);
            let mut found: Vec<(bool, u64)> = Vec::new();
            let (mut rest, mut cuts) = (&wire[..], cuts.iter().cycle());
            while !rest.is_empty() {
                prop_assert!(!records.is_complete());
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = later;
                records.push(Bytes::copy_from_slice(now));
                while let Some(piece) = records.next() {
                    let placed = matches!(piece, Piece::Placed(_));
                    match found.last_mut() {
                        Some((false, size)) if !placed => *size += piece.size(),
                        _ => found.push((placed, piece.size())),
                    }
                }
            }
            prop_assert!(records.is_complete());
            let mut expected: Vec<(bool, u64)> = Vec::new();
            for (placed, size) in parts {
                match expected.last_mut() {
                    Some((false, all)) if !placed => *all += u64::from(size),
                    _ => expected.push((placed, size.into())),
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
