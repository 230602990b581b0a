//! Which answers go into a file: what a request says of a sink, and whether the answer to it fits.
//!
//! An answer that is not of the very range that was asked for, or whose length is not sure, is passed on
//! as it is: the component knows what to do with it.

use std::ops::Range;

use shipgate::net::placing::{PLACED, Placed, SINK, Sink};

use super::head::{MAX_HEAD, MAX_HEADERS, Violation};

/// Finds the sink that a request names, and its line. The head has been judged.
///
/// # Errors
/// There is more than one, or it is malformed.
pub fn asked(head: &[u8]) -> Result<Option<(Range<usize>, Sink)>, Violation> {
    let mut found = None;
    let mut at = 0;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let place = at..at + line.len();
        at = place.end;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        // The first line has no name before its colon.
        if place.start == 0 || !line[..colon].eq_ignore_ascii_case(SINK.as_bytes()) {
            continue;
        }
        let value = std::str::from_utf8(&line[colon + 1..]).unwrap_or_default();
        let sink = Sink::parse(value.trim_ascii());
        match (sink, &found) {
            (Some(sink), None) if head.starts_with(b"GET ") => found = Some((place, sink)),
            _ => return Err(Violation::Headers(format!("`{SINK}` is malformed"))),
        }
    }
    Ok(found)
}

/// What the beginning of an answer is.
#[derive(Debug, Eq, PartialEq)]
pub enum Answer {
    /// Its head is not complete.
    Incomplete,
    /// The head, of this length, of an answer before the answer.
    Interim(usize),
    /// It does not go into the file.
    Other,
    /// It does.
    Placed {
        /// The head that the component gets.
        head: Vec<u8>,
        /// The length of the head that came.
        length: usize,
        /// Which part of the file its body is.
        part: Range<u64>,
    },
}

/// Judges an answer to a request for a part of a file of this size.
pub fn judge(bytes: &[u8], sink: &Sink, size: u64) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return Answer::Incomplete,
        Ok(httparse::Status::Partial) | Err(_) => return Answer::Other,
    };
    // 101 is the end of HTTP.
    if let Some(100 | 102..=199) = answer.code {
        return Answer::Interim(length);
    }
    match part(&answer, sink, size) {
        Some(part) => Answer::Placed {
            head: head(&answer, sink, &part),
            length,
            part,
        },
        None => Answer::Other,
    }
}

/// Returns which part of the file the body is, if that is sure and is what was asked for.
fn part(answer: &httparse::Response<'_, '_>, sink: &Sink, size: u64) -> Option<Range<u64>> {
    let count = |name: &str| {
        let headers = answer.headers.iter();
        let named = headers.filter(|header| header.name.eq_ignore_ascii_case(name));
        named.count()
    };
    let one = |name: &str| {
        let mut headers = answer.headers.iter();
        let found = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        let value = std::str::from_utf8(found.value).ok()?;
        (count(name) == 1).then_some(value.trim_ascii())
    };
    let is_plain = count("transfer-encoding") + count("content-encoding") == 0;
    if answer.version != Some(1) || !is_plain {
        return None;
    }
    let length = digits(one("content-length")?)?;
    let part = match answer.code? {
        200 if count("content-range") == 0 => 0..size,
        206 => content_range(one("content-range")?, size)
            .filter(|part| part.start == sink.range.start && part.end <= sink.range.end)?,
        _ => return None,
    };
    (length > 0 && part.end - part.start == length && part.end <= size).then_some(part)
}

/// Reads `bytes 0-99/1000` of a file of this size.
fn content_range(text: &str, size: u64) -> Option<Range<u64>> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let part = digits(first)?..digits(last)?.checked_add(1)?;
    let fits = total == "*" || digits(total)? == size;
    (fits && part.start < part.end).then_some(part)
}

fn digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Returns the head of an answer whose body comes as records, in chunks.
fn head(answer: &httparse::Response<'_, '_>, sink: &Sink, part: &Range<u64>) -> Vec<u8> {
    let code = answer.code.unwrap_or_default();
    let reason = answer.reason.unwrap_or_default();
    let mut head = format!("HTTP/1.1 {code} {reason}\r\n").into_bytes();
    let replaced = ["content-length", PLACED];
    let kept = answer.headers.iter().filter(|header| {
        let name = header.name;
        !replaced
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
    });
    for header in kept {
        head.extend([header.name.as_bytes(), b": ", header.value, b"\r\n"].concat());
    }
    let placed = Placed {
        ticket: sink.ticket.clone(),
        length: part.end - part.start,
    };
    let rest = format!(
        "transfer-encoding: chunked\r\n{PLACED}: {}\r\n\r\n",
        placed.value()
    );
    head.extend(rest.into_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(range: Range<u64>) -> Sink {
        Sink {
            ticket: "f00d".into(),
            range,
        }
    }

    #[test]
    fn the_line_of_a_sink_is_found_wherever_it_stands() {
        let head = "GET /shipgate-sink:x HTTP/1.1\r\nHost: a\r\nShipgate-Sink:  f00d 3-9 \r\nA: shipgate-sink: b\r\n\r\n";
        let (line, found) = asked(head.as_bytes()).unwrap().unwrap();
        assert_eq!(&head[line], "Shipgate-Sink:  f00d 3-9 \r\n");
        assert_eq!(found, sink(3..9));
        assert_eq!(asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(None));
    }

    #[test]
    fn a_malformed_sink_is_not_passed_on() {
        for head in [
            "GET / HTTP/1.1\r\nshipgate-sink:\r\n\r\n",
            "GET / HTTP/1.1\r\nshipgate-sink: f00d\r\n\r\n",
            "GET / HTTP/1.1\r\nshipgate-sink: f00d 9-3\r\n\r\n",
            "GET / HTTP/1.1\r\nshipgate-sink: ../x 3-9\r\n\r\n",
            "GET / HTTP/1.1\r\nshipgate-sink: a 3-9\r\nshipgate-sink: a 3-9\r\n\r\n",
            "POST / HTTP/1.1\r\nshipgate-sink: a 3-9\r\n\r\n",
            "HEAD / HTTP/1.1\r\nshipgate-sink: a 3-9\r\n\r\n",
        ] {
            assert!(asked(head.as_bytes()).is_err(), "{head}");
        }
    }

    #[test]
    fn what_was_asked_for_is_placed() {
        let whole = b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\ncontent-length: 10\r\nshipgate-placed: mine 10\r\n\r\nrest";
        let Answer::Placed { head, length, part } = judge(whole, &sink(0..10), 10) else {
            panic!("it fits");
        };
        assert_eq!((length, part), (whole.len() - 4, 0..10));
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "HTTP/1.1 200 OK\r\nETag: \"x\"\r\ntransfer-encoding: chunked\r\nshipgate-placed: f00d 10\r\n\r\n"
        );
        let answer = |rest: &str| judge(rest.as_bytes(), &sink(2..8), 10);
        for (text, expected) in [
            (
                "HTTP/1.1 206 P\r\ncontent-range: bytes 2-7/10\r\ncontent-length: 6\r\n\r\n",
                2..8,
            ),
            (
                "HTTP/1.1 206 P\r\ncontent-range: bytes 2-4/*\r\ncontent-length: 3\r\n\r\n",
                2..5,
            ),
            // The whole, although a part was asked for.
            ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", 0..10),
        ] {
            assert!(
                matches!(answer(text), Answer::Placed { part, .. } if part == expected),
                "{text}"
            );
            let cut = &text[..text.len() - 1];
            assert_eq!(answer(cut), Answer::Incomplete, "{text}");
        }
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
        assert_eq!(answer(interim), Answer::Interim(interim.len()));
    }

    #[test]
    fn anything_else_is_passed_on() {
        for head in [
            "200 OK\r\ncontent-length: 9\r\n",
            "200 OK\r\n",
            "200 OK\r\ncontent-length: 10\r\ncontent-length: 10\r\n",
            "200 OK\r\ncontent-length: +10\r\n",
            "200 OK\r\ncontent-length: 10\r\ntransfer-encoding: chunked\r\n",
            "200 OK\r\ncontent-length: 10\r\ncontent-encoding: gzip\r\n",
            "200 OK\r\ncontent-length: 10\r\ncontent-range: bytes 0-9/10\r\n",
            "206 P\r\ncontent-length: 6\r\n",
            "206 P\r\ncontent-range: bytes 3-7/10\r\ncontent-length: 5\r\n",
            "206 P\r\ncontent-range: bytes 2-8/10\r\ncontent-length: 7\r\n",
            "206 P\r\ncontent-range: bytes 2-7/11\r\ncontent-length: 6\r\n",
            "206 P\r\ncontent-range: bytes 2-7/10\r\ncontent-length: 5\r\n",
            "206 P\r\ncontent-range: bytes 2-1/10\r\ncontent-length: 0\r\n",
            "206 P\r\ncontent-range: bytes 2-18446744073709551615/*\r\ncontent-length: 6\r\n",
            "206 P\r\ncontent-range: items 2-7/10\r\ncontent-length: 6\r\n",
            "206 P\r\ncontent-type: multipart/byteranges; boundary=x\r\ncontent-length: 6\r\n",
            "307 T\r\nlocation: /x\r\ncontent-length: 10\r\n",
            "404 N\r\ncontent-length: 10\r\n",
            "101 S\r\ncontent-length: 10\r\n",
        ] {
            let head = format!("HTTP/1.1 {head}\r\n");
            assert_eq!(
                judge(head.as_bytes(), &sink(2..8), 10),
                Answer::Other,
                "{head}"
            );
        }
        for text in [
            "HTTP/1.0 200 OK\r\ncontent-length: 10\r\n\r\n",
            "no HTTP at all",
        ] {
            assert_eq!(
                judge(text.as_bytes(), &sink(2..8), 10),
                Answer::Other,
                "{text}"
            );
        }
        let endless = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_HEAD));
        assert_eq!(judge(endless.as_bytes(), &sink(2..8), 10), Answer::Other);
    }
}
