//! The egress with hosts and name servers that the tests play.

mod ways;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shipgate::net::egress::{Answer, Ask, Breakage, Ending, Frame, MAX_ASK, Token, Want};
use shipgate::net::{Client, Config, Error, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::*;

mod placing;

/// The names that exist, and what was asked.
#[derive(Default)]
struct Names {
    /// Each answer is given once, the last one again and again.
    answers: Mutex<Vec<Vec<SocketAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    fn answering(answers: &[&[&str]], port: u16) -> Arc<Self> {
        let address = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), port);
        let answers = answers
            .iter()
            .map(|list| list.iter().map(address).collect());
        Arc::new(Self {
            answers: Mutex::new(answers.rev().collect()),
            asked: Mutex::default(),
        })
    }

    fn look_up(self: &Arc<Self>) -> LookUp {
        let names = Arc::clone(self);
        Box::new(move |host, port, limit, held| {
            if host.parse::<std::net::IpAddr>().is_ok() {
                return Box::pin(async move { Dialer::look_up(&host, port, limit, held).await });
            }
            names.asked.lock().unwrap().push(host);
            let mut answers = names.answers.lock().unwrap();
            let addresses = if answers.len() > 1 {
                answers.pop()
            } else {
                answers.last().cloned()
            };
            let found = LookedUp {
                addresses: addresses.unwrap_or_default(),
                took: Some(Duration::from_micros(5)),
            };
            Box::pin(std::future::ready(Ok(found)))
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn granted(hosts: &[&str], by_hand: bool) -> Vec<Granted> {
    let granted = hosts.iter().map(|host| Granted {
        host: host.parse().unwrap(),
        by_hand,
    });
    granted.collect()
}

fn dialer() -> Dialer {
    Client::new(Config::default()).unwrap().dialer()
}

async fn egress(hosts: &[&str], by_hand: bool, names: &Arc<Names>) -> Egress {
    Egress::with(
        granted(hosts, by_hand),
        dialer(),
        names.look_up(),
        Duration::from_secs(30),
        Sinks::new(Handle::current()),
    )
    .await
    .unwrap()
}

/// A host that keeps what it was sent, and answers each head.
struct Host {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<u8>>>,
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

impl Host {
    async fn start() -> Self {
        Self::answering(ANSWER, true).await
    }

    async fn answering(answer: &'static str, stays: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let host = Self {
            address,
            connections: Arc::clone(&connections),
            heard: Arc::clone(&heard),
        };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let heard = Arc::clone(&heard);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    loop {
                        let read = stream.read(&mut buffer).await.unwrap_or(0);
                        if read == 0 {
                            return;
                        }
                        heard.lock().unwrap().extend(&buffer[..read]);
                        // The end of a head, or a greeting of TLS.
                        if buffer[..read].ends_with(b"\r\n\r\n") || buffer[0] == 0x16 {
                            stream.write_all(answer.as_bytes()).await.unwrap();
                            if !stays {
                                return;
                            }
                        }
                    }
                });
            }
        });
        host
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }

    /// Waits until it has heard so much.
    async fn hears(&self, bytes: usize) -> String {
        while self.heard.lock().unwrap().len() < bytes {
            sleep(Duration::from_millis(1)).await;
        }
        self.heard()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn ask(egress: &Egress, host: &str, port: u16, want: Want) -> Ask {
    Ask {
        token: egress.way().token.clone(),
        host: host.to_owned(),
        port,
        want,
        timeout_us: 5_000_000,
    }
}

const PLAIN: Want = Want::Http { tls: false };

/// Sends one line and returns the stream and the answer, if there is one.
async fn say(egress: &Egress, line: &[u8]) -> (TcpStream, Option<Answer>) {
    let mut stream = TcpStream::connect(egress.way().address).await.unwrap();
    // A stream that is refused early may be closed while this is under way.
    let _ = stream.write_all(line).await;
    let mut answer = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        if byte == b'\n' {
            let answer = serde_json::from_slice(&answer).unwrap();
            return (stream, Some(answer));
        }
        answer.push(byte);
    }
    (stream, None)
}

async fn asks(egress: &Egress, ask: &Ask) -> (TcpStream, Option<Answer>) {
    let mut line = serde_json::to_vec(ask).unwrap();
    line.push(b'\n');
    say(egress, &line).await
}

async fn refused(egress: &Egress, host: &str, port: u16) -> Error {
    match asks(egress, &ask(egress, host, port, PLAIN)).await.1 {
        Some(Answer::Failed(error)) => error,
        other => panic!("{host}: {other:?}"),
    }
}

/// Opens a stream to a host and sends what is to be sent; returns what comes back, without frames, and
/// how it ended.
async fn exchange(egress: &Egress, host: &Host, sent: &[u8]) -> (Vec<u8>, Option<Ending>) {
    let port = host.address.port();
    let (mut stream, answer) = asks(egress, &ask(egress, "127.0.0.1", port, PLAIN)).await;
    assert!(matches!(answer, Some(Answer::Open(_))), "{answer:?}");
    let _ = stream.write_all(sent).await;
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, Option<Ending>) {
    let mut came = Vec::new();
    loop {
        let mut bytes = [0; Frame::LENGTH];
        stream.read_exact(&mut bytes).await.unwrap();
        match Frame::decode(bytes) {
            Frame::End => return (came, None),
            Frame::Data(length) => {
                let mut part = vec![0; length as usize];
                stream.read_exact(&mut part).await.unwrap();
                came.extend(part);
            }
            Frame::Ending(length) => {
                let mut json = vec![0; length as usize];
                stream.read_exact(&mut json).await.unwrap();
                return (came, Some(serde_json::from_slice(&json).unwrap()));
            }
        }
    }
}

// --- Grants and addresses ---

#[tokio::test]
async fn what_is_not_granted_is_not_looked_up() {
    let names = Names::answering(&[&["127.0.0.1"]], 443);
    let egress = egress(&["registry.example:443"], true, &names).await;
    for (host, port) in [
        ("c2VjcmV0.registry.example", 443),
        ("c2VjcmV0.evil.example", 443),
        ("registry.example.evil.example", 443),
        ("registry.example", 53),
        ("registry.example\0.evil.example", 443),
        ("10.0.0.1", 443),
        ("::ffff:169.254.169.254", 80),
    ] {
        let error = refused(&egress, host, port).await;
        assert!(matches!(error, Error::NotGranted { .. }), "{host}: {error}");
    }
    assert_eq!(names.asked(), [""; 0]);
}

#[tokio::test]
async fn what_is_looked_up_is_spelled_as_it_was_granted() {
    let names = Names::answering(&[&["10.0.0.1"]], 443);
    let egress = egress(&["registry.example:443"], false, &names).await;
    // One bit a letter would go out to whoever serves the domain.
    for spelled in ["rEgIsTrY.eXaMpLe", "REGISTRY.example", "registry.example."] {
        let error = refused(&egress, spelled, 443).await;
        assert!(matches!(error, Error::NotPublic { .. }), "{error}");
    }
    assert_eq!(names.asked(), ["registry.example"; 3]);
}

#[tokio::test]
async fn the_host_is_passed_on_as_it_was_granted() {
    let host = Host::start().await;
    let port = host.address.port();
    let names = Names::answering(&[&["127.0.0.1"]], port);
    let egress = egress(&[&format!("localhost:{port}")], false, &names).await;
    let wanted = ask(&egress, "LocalHost.", port, PLAIN);
    let (mut stream, answer) = asks(&egress, &wanted).await;
    assert!(matches!(answer, Some(Answer::Open(_))), "{answer:?}");
    let spelled = |host| format!("GET / HTTP/1.1\r\nX: y\r\nHost: {host}:{port}\r\nZ: z\r\n\r\n");
    let sent = spelled("lOCALhOST.");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let passed = spelled("localhost");
    assert_eq!(host.hears(passed.len()).await, passed);
}

#[tokio::test]
async fn a_name_does_not_lead_inside() {
    for inside in [
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fd00:ec2::254",
    ] {
        let names = Names::answering(&[&[inside]], 443);
        let egress = egress(&["registry.example:443"], false, &names).await;
        let error = refused(&egress, "registry.example", 443).await;
        assert!(
            matches!(error, Error::NotPublic { .. }),
            "{inside}: {error}"
        );
        assert_eq!(
            error.endpoint().unwrap().address.unwrap().ip().to_string(),
            inside
        );
        assert_eq!(names.asked().len(), 1);
    }
}

#[tokio::test]
async fn what_was_checked_is_what_is_connected_to() {
    let host = Host::start().await;
    let port = host.address.port();
    // A name server that changes its mind: a public address for the check, an inner one after it.
    let names = Names::answering(&[&["192.0.2.1"], &["127.0.0.1"]], port);
    let egress = egress(&[&format!("registry.example:{port}")], false, &names).await;
    for _ in 0..3 {
        let error = refused(&egress, "registry.example", port).await;
        assert!(matches!(error, Error::NotPublic { .. }), "{error}");
    }
    // Once a connection, never twice.
    assert_eq!(names.asked().len(), 3);
    assert_eq!(host.connections(), 0);
}

#[tokio::test]
async fn an_inner_address_among_public_ones_is_left_out() {
    let found = |ips: &[&str]| -> Vec<SocketAddr> {
        ips.iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 1))
            .collect()
    };
    let reach = Hosts::new(granted(&["a.example:1"], false)).reach("a.example", 1);
    let mut addresses = found(&["10.0.0.1", "1.1.1.1", "127.0.0.1"]);
    let (_, reach) = reach.unwrap();
    addresses.retain(|address| reach.admits(*address));
    assert_eq!(addresses, found(&["1.1.1.1"]));
}

#[tokio::test]
async fn by_hand_and_by_name_of_this_machine_it_leads_here() {
    let host = Host::start().await;
    let port = host.address.port();
    let names = Names::answering(&[&["127.0.0.1"]], port);
    for (name, by_hand) in [("inner.example", true), ("localhost", false)] {
        let egress = egress(&[&format!("{name}:{port}")], by_hand, &names).await;
        let (_, answer) = asks(&egress, &ask(&egress, name, port, Want::Probe)).await;
        let Some(Answer::Open(opened)) = answer else {
            panic!("{name}: {answer:?}");
        };
        assert_eq!(opened.remote, Some(host.address));
        assert_eq!((opened.dns_us, opened.tls), (Some(5), None));
    }
}

// --- Who may ask ---

#[tokio::test]
async fn without_the_token_there_is_no_answer() {
    let host = Host::start().await;
    let port = host.address.port();
    let names = Names::answering(&[&["127.0.0.1"]], port);
    let egress = egress(&[&format!("localhost:{port}")], true, &names).await;
    let right = ask(&egress, "localhost", port, Want::Probe);
    let mut almost = right.token.0.clone();
    almost.pop();
    for token in ["", "0", &almost, &format!("{}0", right.token.0)] {
        let wrong = Ask {
            token: Token(token.to_owned()),
            ..right.clone()
        };
        assert_eq!(asks(&egress, &wrong).await.1, None);
    }
    for line in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        &[b'a'; 3 * MAX_ASK],
    ] {
        assert_eq!(say(&egress, line).await.1, None);
    }
    assert_eq!((names.asked().len(), host.connections()), (0, 0));
    assert!(matches!(
        asks(&egress, &right).await.1,
        Some(Answer::Open(_))
    ));
    let other = Egress::open(Vec::new(), dialer(), Sinks::new(Handle::current()))
        .await
        .unwrap();
    assert_ne!(other.way().token, egress.way().token);
    assert_eq!(egress.way().token.0.len(), 64);
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_out_for_long() {
    let host = Host::start().await;
    let port = host.address.port();
    let hosts = granted(&[&format!("127.0.0.1:{port}")], false);
    let look_up = Names::answering(&[], port).look_up();
    let patience = Duration::from_millis(20);
    let sinks = Sinks::new(Handle::current());
    let egress = Egress::with(hosts, dialer(), look_up, patience, sinks).await;
    let egress = egress.unwrap();
    let mut silent = Vec::new();
    for _ in 0..ASKING {
        silent.push(TcpStream::connect(egress.way().address).await.unwrap());
    }
    let wanted = ask(&egress, "127.0.0.1", port, Want::Probe);
    let answer = asks(&egress, &wanted).await.1;
    assert!(matches!(answer, Some(Answer::Open(_))), "{answer:?}");
}

#[tokio::test]
async fn there_is_a_bound_to_what_is_open() {
    let host = Host::start().await;
    let port = host.address.port();
    let egress = egress(
        &[&format!("127.0.0.1:{port}")],
        false,
        &Names::answering(&[], port),
    )
    .await;
    let wanted = ask(&egress, "127.0.0.1", port, PLAIN);
    let mut open = Vec::new();
    for _ in 0..OPEN {
        let (stream, answer) = asks(&egress, &wanted).await;
        assert!(matches!(answer, Some(Answer::Open(_))), "{answer:?}");
        open.push(stream);
    }
    let error = refused(&egress, "127.0.0.1", port).await;
    assert!(matches!(&error, Error::NotRelayed { .. }), "{error}");
    assert!(error.to_string().contains("128 connections"), "{error}");
    drop(open);
    loop {
        let (_, answer) = asks(&egress, &wanted).await;
        if matches!(answer, Some(Answer::Open(_))) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn look_ups_that_nobody_waits_for_count_too() {
    // A resolver that is asked for and can't be stopped, as the system's is.
    let resolving = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&resolving);
    let look_up: LookUp = Box::new(move |_, _, _, held| {
        kept.lock().unwrap().push(held);
        Box::pin(std::future::ready(Err(Error::NotGranted {
            host: "the time is over".to_owned(),
            port: 1,
        })))
    });
    let hosts = granted(&["registry.example:443"], false);
    let sinks = Sinks::new(Handle::current());
    let egress = Egress::with(hosts, dialer(), look_up, Duration::from_secs(30), sinks);
    let egress = egress.await.unwrap();
    for _ in 0..OPEN {
        let error = refused(&egress, "registry.example", 443).await;
        assert!(matches!(error, Error::NotGranted { .. }), "{error}");
    }
    let error = refused(&egress, "registry.example", 443).await;
    assert!(error.to_string().contains("128 connections"), "{error}");
    assert_eq!(resolving.lock().unwrap().len(), OPEN);
    resolving.lock().unwrap().pop();
    let error = refused(&egress, "registry.example", 443).await;
    assert!(matches!(error, Error::NotGranted { .. }), "{error}");
}

// --- What is passed on ---

fn request(host: &Host, rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {}\r\n{rest}\r\n", host.address)
}

async fn held(host: &Host) -> Egress {
    let port = host.address.port();
    egress(
        &[&format!("127.0.0.1:{port}")],
        false,
        &Names::answering(&[], port),
    )
    .await
}

#[tokio::test]
async fn an_answer_comes_as_it_is_and_with_its_end() {
    let host = Host::answering(ANSWER, false).await;
    let egress = held(&host).await;
    let sent = request(&host, "");
    let (came, ending) = exchange(&egress, &host, sent.as_bytes()).await;
    assert_eq!(
        (String::from_utf8_lossy(&came).as_ref(), ending),
        (ANSWER, None)
    );
    assert_eq!(host.heard(), sent);
}

#[tokio::test]
async fn what_is_meant_for_another_host_or_hides_a_request_is_not_passed_on() {
    let host = Host::start().await;
    let egress = held(&host).await;
    let own = host.address.to_string();
    for (sent, says) in [
        (
            "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n".to_owned(),
            "other.example",
        ),
        (request(&host, "Host: other.example\r\n"), "more than one"),
        (
            format!("GET http://other.example/ HTTP/1.1\r\nHost: {own}\r\n\r\n"),
            "a path of this host",
        ),
        (
            format!("CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n\r\n"),
            "tunnels",
        ),
        (
            request(&host, "Upgrade: websocket\r\nConnection: upgrade\r\n"),
            "`Upgrade`",
        ),
        (
            request(&host, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
            "both",
        ),
        (
            request(&host, "Content-Length: 4\r\nContent-Length: 5\r\n"),
            "more than one",
        ),
        (request(&host, "X: a\r\n b\r\n"), "no strict HTTP/1.1"),
        (
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".to_owned(),
            "it is TLS",
        ),
    ] {
        let (came, ending) = exchange(&egress, &host, sent.as_bytes()).await;
        let Some(Ending::Refused(error @ Error::NotRelayed { .. })) = ending else {
            panic!("{sent:?}: {ending:?}");
        };
        assert!(error.to_string().contains(says), "{sent:?}: {error}");
        assert_eq!(came, b"");
    }
    assert_eq!(host.heard(), "");
}

#[tokio::test]
async fn what_follows_a_body_is_a_request_again() {
    let host = Host::start().await;
    let egress = held(&host).await;
    let smuggled = "GET /admin HTTP/1.1\r\nHost: other.example\r\n\r\n";
    for (head, body) in [
        ("Content-Length: 4\r\n", "abcd"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nabcd\r\n0\r\n\r\n"),
        ("Content-Length: 0\r\n", ""),
    ] {
        let host = Host::start().await;
        let egress = held(&host).await;
        let good = format!("{}{body}", request(&host, head));
        let sent = format!("{good}{good}{smuggled}");
        let (_, ending) = exchange(&egress, &host, sent.as_bytes()).await;
        assert!(matches!(ending, Some(Ending::Refused(_))), "{ending:?}");
        let passed = format!("{good}{good}");
        assert_eq!(host.hears(passed.len()).await, passed);
    }
    // In a body anything may stand.
    let length = smuggled.len();
    let sent = format!(
        "{}{smuggled}",
        request(&host, &format!("Content-Length: {length}\r\n"))
    );
    let port = host.address.port();
    let (mut stream, _) = asks(&egress, &ask(&egress, "127.0.0.1", port, PLAIN)).await;
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut first = [0; 4];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(host.hears(sent.len()).await, sent);
}

#[tokio::test]
async fn what_follows_a_refused_request_is_not_passed_on_either() {
    let host = Host::start().await;
    let egress = held(&host).await;
    let (good, bad) = (request(&host, ""), request(&host, "X: a\nY: b\r\n"));
    let sent = format!("{good}{bad}{good}{good}");
    let (_, ending) = exchange(&egress, &host, sent.as_bytes()).await;
    assert!(matches!(ending, Some(Ending::Refused(_))), "{ending:?}");
    // When the component hears it, and may end, people have heard it.
    assert_eq!(egress.teller().told().len(), 1);
    assert_eq!(host.hears(good.len()).await, good);
    // A new connection begins anew.
    let (_, answer) = asks(
        &egress,
        &ask(&egress, "127.0.0.1", host.address.port(), PLAIN),
    )
    .await;
    assert!(matches!(answer, Some(Answer::Open(_))), "{answer:?}");
    assert_eq!(host.heard(), good);
}

#[tokio::test]
async fn other_protocols_are_no_requests() {
    let host = Host::start().await;
    let egress = held(&host).await;
    for (sent, says) in [
        // HTTP/2 with prior knowledge, its SETTINGS behind it.
        (
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
            "no strict HTTP/1.1",
        ),
        (b"EHLO a.example\r\n\r\n", "no strict HTTP/1.1"),
        (b"\0\0\0\x04\0\0\0\0\0\r\n\r\n", "no strict HTTP/1.1"),
        (b"GET /\r\n\r\n", "no strict HTTP/1.1"),
    ] {
        let (came, ending) = exchange(&egress, &host, sent).await;
        let Some(Ending::Refused(error)) = ending else {
            panic!("{sent:?}: {ending:?}");
        };
        assert!(error.to_string().contains(says), "{sent:?}: {error}");
        assert_eq!(came, b"");
    }
    assert_eq!(host.heard(), "");
}

#[tokio::test]
async fn an_early_answer_opens_no_way_around_the_body() {
    // It answers before the body came, and would read what follows as a request.
    let host = Host::answering("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n", true).await;
    let egress = held(&host).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: other.example\r\n\r\n";
    let sent = request(&host, "Expect: 100-continue\r\nContent-Length: 60\r\n") + hidden;
    let (_, ending) = exchange(&egress, &host, sent.as_bytes()).await;
    assert!(matches!(ending, Some(Ending::Refused(_))), "{ending:?}");
    assert_eq!(host.heard(), "");
}

#[tokio::test]
async fn who_closes_its_half_ends_the_connection() {
    for sent in ["", "POST / HT", "POST / HTTP/1.1\r\nHost: x"] {
        let host = Host::start().await;
        let egress = held(&host).await;
        let port = host.address.port();
        let (mut stream, _) = asks(&egress, &ask(&egress, "127.0.0.1", port, PLAIN)).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!((rest, host.heard()), (Vec::new(), String::new()), "{sent}");
    }
}

#[tokio::test]
async fn chunks_with_trailers_or_extensions_are_not_passed_on() {
    let host = Host::start().await;
    let egress = held(&host).await;
    for body in [
        "0\r\nHost: other.example\r\n\r\n",
        "1;a=b\r\nx\r\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "zz\r\n",
    ] {
        let sent = format!("{}{body}", request(&host, "Transfer-Encoding: chunked\r\n"));
        let (_, ending) = exchange(&egress, &host, sent.as_bytes()).await;
        assert!(
            matches!(ending, Some(Ending::Refused(_))),
            "{body:?}: {ending:?}"
        );
        assert!(!host.heard().contains("other.example"), "{}", host.heard());
    }
}

#[tokio::test]
async fn a_connection_that_breaks_does_not_look_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Host {
        address: listener.local_addr().unwrap(),
        connections: Arc::default(),
        heard: Arc::default(),
    };
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")
            .await
            .unwrap();
        // Closed with something unread, it is reset.
    });
    let egress = held(&host).await;
    let (_, ending) = exchange(&egress, &host, request(&host, "").as_bytes()).await;
    let Some(Ending::Broken { kind, .. }) = ending else {
        panic!("{ending:?}");
    };
    assert_eq!(kind, Breakage::Reset);
}

#[tokio::test]
async fn nothing_is_held_for_a_component_that_is_gone() {
    let host = Host::start().await;
    let egress = held(&host).await;
    let port = host.address.port();
    let (stream, _) = asks(&egress, &ask(&egress, "127.0.0.1", port, PLAIN)).await;
    drop(stream);
    drop(egress);
    // The egress and what it had open are gone.
    tokio::task::yield_now().await;
}

// --- The library's client, as in the component ---

fn client(egress: &Egress) -> Client {
    Client::new(Config {
        egress: Some(egress.way().clone()),
        ..Config::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_client_asks_through_it_and_keeps_its_connection() {
    let host = Host::start().await;
    let client = client(&held(&host).await);
    assert!(
        client.send(get(&host, "")).await.is_err(),
        "the egress is gone"
    );
    let egress = held(&host).await;
    let client = self::client(&egress);
    for reused in [false, true] {
        let response = client.send(get(&host, "")).await.unwrap();
        assert_eq!(response.remote, Some(host.address));
        assert_eq!(response.timing.reused, reused);
        assert_eq!(response.timing.tcp.is_some(), !reused);
        assert_eq!(response.body.bytes(10).await.unwrap(), "hello");
    }
    assert_eq!(host.connections(), 1);
    let probe = client.connect_tcp("127.0.0.1", host.address.port(), Duration::from_secs(5));
    assert_eq!(probe.await.unwrap().remote, Some(host.address));
}

fn get(host: &Host, path: &str) -> Request {
    Request::get(format!("http://{}/{path}", host.address).parse().unwrap())
}

#[tokio::test]
async fn a_client_gets_the_errors_that_it_would_get_by_itself() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let plain = Host::answering("HTTP/1.1 400 Bad Request\r\n\r\n", false).await;
    let breaks = Host::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", false).await;
    let silent = Host::answering("", false).await;
    let garbage = Host::answering("SSH-2.0-x\r\n", false).await;
    let names = Names::answering(&[], 1);
    let hosts = [&plain, &breaks, &silent, &garbage].map(|host| host.address);
    let list: Vec<String> = hosts
        .iter()
        .chain([&closed])
        .map(ToString::to_string)
        .collect();
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let egress = egress(&list, false, &names).await;
    for url in [
        format!("http://{closed}/"),
        format!("https://{}/", plain.address),
        format!("http://{}/", breaks.address),
        format!("http://{}/", silent.address),
        format!("http://{}/", garbage.address),
        format!("https://{}/", garbage.address),
    ] {
        let mut errors = Vec::new();
        for client in [client(&egress), Client::new(Config::default()).unwrap()] {
            let error = match client.send(Request::get(url.parse().unwrap())).await {
                Ok(response) => response.body.bytes(100).await.unwrap_err(),
                Err(error) => error,
            };
            errors.push(error);
        }
        assert_eq!(errors[0], errors[1], "{url}");
    }
}

#[tokio::test]
async fn a_client_that_asks_for_another_host_gets_a_typed_error() {
    let host = Host::start().await;
    let egress = held(&host).await;
    let client = client(&egress);
    let request = get(&host, "").header("host".parse().unwrap(), "other.example".parse().unwrap());
    let error = client.send(request).await.unwrap_err();
    assert!(matches!(error, Error::NotRelayed { .. }), "{error:?}");
    assert!(error.to_string().contains("other.example"));
    let elsewhere = Request::get("http://other.example/".parse().unwrap());
    let error = client.send(elsewhere).await.unwrap_err();
    assert!(matches!(error, Error::NotGranted { .. }), "{error:?}");
    assert!(
        error
            .hint()
            .unwrap()
            .contains("--allow-host other.example:80")
    );
    assert_eq!(host.heard(), "");
}
