//! Which requests meet which fault.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::exchange::Seen;

/// What happens to the requests that it matches.
#[derive(Clone, Debug)]
pub struct Rule {
    path: String,
    method: Option<String>,
    ranged: Option<bool>,
    requests: RangeInclusive<u64>,
    connection: Option<u64>,
    faults: Vec<Fault>,
    /// How many requests it matched so far.
    matched: u64,
}

/// One way to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers this, and asks nobody.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Closes the connection after so many bytes of the body, in order.
    Close { after: u64 },
    /// Flips a bit of one byte of the resource, whichever range it is in.
    Corrupt { at: u64 },
    /// Holds the answer's head back.
    Delay(Duration),
    /// Forgets all tokens that were handed out, before this request is looked at.
    ForgetTokens,
    /// Closes the connection without an answer.
    HangUp,
    /// Adds a header to the answer, in place of one of that name.
    Header { name: String, value: String },
    /// Lies about the length of the body.
    Length(Length),
    /// Redirects to a signed address on the storage address, which is good for so many requests
    /// and then answers 403.
    Presign { uses: u64 },
    /// Lies about a range that was asked for; other requests are answered well.
    Range(RangeLie),
    /// Resets the connection after so many bytes of the body.
    Reset { after: u64 },
    /// Never answers, and keeps the connection.
    Silence,
    /// Sends nothing more after so many bytes of the body, and keeps the connection.
    Stall { after: u64 },
    /// Sends at most so many bytes of a body a second, on each connection.
    Throttle { bytes_per_second: u64 },
}

/// A lie about the length of a body.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// No length: the body ends with the connection.
    Missing,
    /// Another number than the bytes that follow.
    Wrong(u64),
}

/// A lie about a range.
#[derive(Clone, Copy, Debug)]
pub enum RangeLie {
    /// A range that begins this much further back or on; `Content-Range` says so.
    Offset(i64),
    /// A range that ends so many bytes early; `Content-Range` says so.
    Short(u64),
    /// A status instead, with an empty body.
    Status(u16),
    /// Another size of the whole in `Content-Range`.
    Total(u64),
    /// Status 206 without `Content-Range`.
    Unlabelled,
    /// Status 200 and the whole.
    Whole,
}

impl Rule {
    /// Makes a rule without a fault for a path without its query; `*` stands for any characters.
    ///
    /// Paths on the storage address begin with `/signed`.
    pub fn on(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            method: None,
            ranged: None,
            requests: 1..=u64::MAX,
            connection: None,
            faults: Vec::new(),
            matched: 0,
        }
    }

    /// Leaves out requests with another method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Leaves out requests with a range, or those without.
    pub fn ranged(mut self, ranged: bool) -> Self {
        self.ranged = Some(ranged);
        self
    }

    /// Leaves out all but one of the requests that match in all else, counted from 1.
    pub fn nth(self, number: u64) -> Self {
        self.requests(number..=number)
    }

    /// Leaves out all but these of the requests that match in all else, counted from 1.
    pub fn requests(mut self, numbers: RangeInclusive<u64>) -> Self {
        self.requests = numbers;
        self
    }

    /// Leaves out all other connections than this one, counted from 1.
    pub fn connection(mut self, number: u64) -> Self {
        self.connection = Some(number);
        self
    }

    /// Adds a fault.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Returns the faults that a request meets, and counts it.
    pub(super) fn meet(&mut self, request: &Seen, connection: u64) -> Vec<Fault> {
        let ranged = request.header("range").is_some();
        let matches = glob(&self.path, request.path())
            && self.method.as_ref().is_none_or(|it| *it == request.method)
            && self.ranged.is_none_or(|it| it == ranged)
            && self.connection.is_none_or(|it| it == connection);
        if !matches {
            return Vec::new();
        }
        self.matched += 1;
        if self.requests.contains(&self.matched) {
            self.faults.clone()
        } else {
            Vec::new()
        }
    }
}

impl Fault {
    /// Makes one that answers with a status, headers and a body.
    pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self::Answer {
            status,
            headers: headers.iter().map(owned).collect(),
            body: body.to_owned(),
        }
    }

    /// Makes one that adds a header.
    pub fn header(name: &str, value: &str) -> Self {
        Self::Header {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }
}

/// Says whether a text is what a pattern says, where `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, matches) in [
            ("/v2/", "/v2/", true),
            ("/v2/", "/v2/a", false),
            ("*", "", true),
            ("/v2/*/blobs/*", "/v2/acme/web/blobs/sha256:00", true),
            ("/v2/*/blobs/*", "/v2/acme/web/manifests/v1", false),
            ("*/manifests/v1", "/v2/a/manifests/v1", true),
            ("*/manifests/v1", "/v2/a/manifests/v10", false),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn requests_are_counted_by_rule() {
        let request = Seen {
            method: "GET".into(),
            target: "/a?b".into(),
            ..Seen::default()
        };
        let mut rule = Rule::on("/a").method("GET").ranged(false).nth(2);
        rule = rule.fault(Fault::HangUp);
        let met: Vec<_> = (0..3).map(|_| rule.meet(&request, 1).len()).collect();
        assert_eq!(met, [0, 1, 0]);
        let mut other = Rule::on("/a").connection(2).fault(Fault::Silence);
        assert!(other.meet(&request, 1).is_empty());
        assert_eq!(other.meet(&request, 2).len(), 1);
        assert!(
            Rule::on("/a")
                .ranged(true)
                .fault(Fault::Silence)
                .meet(&request, 1)
                .is_empty()
        );
        assert!(
            Rule::on("/a")
                .method("HEAD")
                .fault(Fault::Silence)
                .meet(&request, 1)
                .is_empty()
        );
    }
}
