//! The proxy itself: each fault as a client sees it that reads bytes and trusts nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::*;

/// An answer, as far as it came.
struct Answer {
    head: String,
    body: Vec<u8>,
    /// How the connection ended.
    end: Option<ErrorKind>,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Sends a request on a connection of its own and reads until it ends or is silent.
fn get(address: &str, target: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) => break Some(error.kind()),
        }
    };
    let end_of_head = bytes.windows(4).position(|it| it == b"\r\n\r\n");
    let (head, body) = end_of_head.map_or((&bytes[..0], &bytes[..]), |at| {
        (&bytes[..at], &bytes[at + 4..])
    });
    Answer {
        head: String::from_utf8(head.to_vec()).unwrap(),
        body: body.to_vec(),
        end,
    }
}

const RANGE: &str = "Range: bytes=10-19\r\n";
/// How long nothing has to come to count as silence; machines are busy.
const SILENCE: Duration = Duration::from_millis(600);
/// What a read says when nothing comes any more.
const SILENT: Option<ErrorKind> = Some(ErrorKind::WouldBlock);

fn hundred() -> Vec<u8> {
    (0..100).collect()
}

fn proxy() -> FaultProxy {
    FaultProxy::serving(|_| Content::ok(hundred()).header("X-Kind", "blob"))
}

fn with(fault: Fault) -> FaultProxy {
    let proxy = proxy();
    proxy.add(Rule::on("*").fault(fault));
    proxy
}

fn ask(proxy: &FaultProxy, headers: &str) -> Answer {
    get(&proxy.address(), "/blob", headers)
}

#[test]
fn without_rules_it_is_a_good_server() {
    let origin = proxy();
    let proxy = FaultProxy::before(&origin.address());
    let whole = ask(&proxy, "");
    assert_eq!((whole.status(), whole.body), (200, hundred()));
    assert_eq!(whole.end, SILENT, "the connection is kept");
    let part = ask(&proxy, RANGE);
    assert_eq!(part.status(), 206);
    assert_eq!(part.body, (10..20).collect::<Vec<u8>>());
    assert_eq!(part.header("content-range"), Some("bytes 10-19/100"));
    assert_eq!(part.header("x-kind"), Some("blob"));
    assert_eq!(ask(&proxy, "Range: bytes=100-\r\n").status(), 416);
    let seen = proxy.exchanges();
    assert_eq!((seen.len(), proxy.connections()), (3, 3));
    assert_eq!(seen[0].line(), "GET /blob");
    assert_eq!(
        (seen[0].sent, seen[0].ending),
        (100, Some(Ending::Complete))
    );
    assert!(!seen[0].has_range() && seen[1].has_range() && !seen[1].is_blob());
    assert!(seen[0].at <= seen[1].at && seen[1].connection == 2);
}

#[test]
fn bodies_that_end_early_or_not_at_all() {
    let closed = with(Fault::Close { after: 7 });
    let answer = ask(&closed, "");
    assert_eq!((answer.body.len(), answer.end), (7, None));
    assert_eq!(closed.exchanges()[0].ending, Some(Ending::Cut));
    let reset = with(Fault::Reset { after: 7 });
    assert_eq!(ask(&reset, "").end, Some(ErrorKind::ConnectionReset));
    let stalled = with(Fault::Stall { after: 7 });
    let answer = ask(&stalled, "");
    assert_eq!((answer.body.len(), answer.end), (7, SILENT));
    let silent = with(Fault::Silence);
    let answer = ask(&silent, "");
    assert_eq!((answer.head.as_str(), answer.end), ("", SILENT));
    let gone = with(Fault::HangUp);
    assert!(ask(&gone, "").head.is_empty());
}

#[test]
fn lengths_that_lie() {
    let missing = ask(&with(Fault::Length(Length::Missing)), "");
    assert_eq!(missing.header("content-length"), None);
    assert_eq!((missing.body.len(), missing.end), (100, None));
    let wrong = ask(&with(Fault::Length(Length::Wrong(200))), "");
    assert_eq!(wrong.header("content-length"), Some("200"));
    assert_eq!((wrong.body.len(), wrong.end), (100, None));
}

#[test]
fn ranges_that_lie() {
    let ranged = |lie| ask(&with(Fault::Range(lie)), RANGE);
    let whole = ranged(RangeLie::Whole);
    assert_eq!((whole.status(), whole.body.len()), (200, 100));
    let moved = ranged(RangeLie::Offset(-5));
    assert_eq!(moved.header("content-range"), Some("bytes 5-14/100"));
    assert_eq!(moved.body[0], 5);
    let short = ranged(RangeLie::Short(4));
    assert_eq!(short.header("content-range"), Some("bytes 10-15/100"));
    assert_eq!(short.body.len(), 6);
    assert_eq!(ranged(RangeLie::Status(400)).status(), 400);
    let total = ranged(RangeLie::Total(99));
    assert_eq!(total.header("content-range"), Some("bytes 10-19/99"));
    let unlabelled = ranged(RangeLie::Unlabelled);
    assert_eq!(
        (unlabelled.status(), unlabelled.header("content-range")),
        (206, None)
    );
    // Whoever asks for all gets all.
    let plain = ask(&with(Fault::Range(RangeLie::Status(400))), "");
    assert_eq!(plain.status(), 200);
}

#[test]
fn answers_headers_bytes_and_pace() {
    let refused = with(Fault::answer(429, &[("Retry-After", "3")], "slow"));
    refused.add(Rule::on("*").fault(Fault::header("X-Kind", "other")));
    let answer = ask(&refused, "");
    assert_eq!((answer.status(), &answer.body[..]), (429, &b"slow"[..]));
    assert_eq!(answer.header("retry-after"), Some("3"));
    assert_eq!(answer.header("x-kind"), Some("other"));
    refused.behave();
    assert_eq!(ask(&refused, "").status(), 200);

    let corrupt = with(Fault::Corrupt { at: 12 });
    assert_eq!(ask(&corrupt, "").body[12], 13);
    assert_eq!(ask(&corrupt, RANGE).body[2], 13);
    assert_eq!(ask(&corrupt, "Range: bytes=20-\r\n").body[0], 20);

    // Of a slow body only a part comes in the time that the client has.
    let slow = with(Fault::Throttle {
        bytes_per_second: 50,
    });
    slow.add(Rule::on("*").fault(Fault::Delay(Duration::from_millis(1))));
    let mut stream = TcpStream::connect(slow.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut first = [0; 4096];
    let read = stream.read(&mut first).unwrap();
    assert!(read < 150, "{read}");
}

#[test]
fn signed_addresses_run_out() {
    let proxy = with(Fault::Presign { uses: 1 });
    let location = |answer: &Answer| answer.header("location").unwrap().to_owned();
    let redirected = ask(&proxy, "");
    assert_eq!(redirected.status(), 307);
    let storage = proxy.storage_address();
    let target = location(&redirected);
    let target = target.strip_prefix(&format!("http://{storage}")).unwrap();
    proxy.behave();
    assert_eq!(get(&storage, target, "").body, hundred());
    assert_eq!(get(&storage, target, "").status(), 403);
    assert_eq!(get(&storage, "/signed/blob?signature=9", "").status(), 403);
    assert!(proxy.exchanges()[1].storage);
}

#[test]
fn tokens_run_out_and_are_forgotten() {
    let proxy = proxy();
    proxy.require_tokens(TokenRule {
        expires_in: Some(60),
        uses: 2,
    });
    let address = proxy.address();
    let blob = |headers: &str| get(&address, "/v2/a/blobs/b", headers).status();
    let refused = get(&address, "/v2/a/blobs/b", "");
    assert_eq!(refused.status(), 401);
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .contains("/token")
    );
    let token = String::from_utf8(get(&address, "/token", "").body).unwrap();
    assert_eq!(token, "{\"token\":\"t1\",\"expires_in\":60}");
    let login = "Authorization: Bearer t1\r\n";
    assert_eq!([blob(login), blob(login), blob(login)], [200, 200, 401]);
    get(&address, "/token", "");
    proxy.add(Rule::on("/v2/*").nth(2).fault(Fault::ForgetTokens));
    let login = "Authorization: Bearer t2\r\n";
    assert_eq!([blob(login), blob(login)], [200, 401]);
    proxy.require_tokens(TokenRule::default());
    assert_eq!(get(&address, "/token", "").body, b"{\"token\":\"t3\"}");
}

#[test]
fn nothing_connects_to_a_black_hole() {
    let hole = BlackHole::open();
    let address = hole.address().parse().unwrap();
    let error = TcpStream::connect_timeout(&address, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}
