//! Bodies that go into files, as the component's own client gets them.

use std::fs::{self, File};
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use shipgate::net::{Piece, Response, Sink as Named};

use super::*;
use crate::sink::Sink;

/// A client behind an egress, and a file of ten bytes that its hosts may fill.
struct Place {
    folder: tempfile::TempDir,
    sinks: Sinks,
    sink: Sink,
    client: Client,
    host: Host,
    _egress: Egress,
}

impl Place {
    async fn facing(answer: &'static str, stays: bool) -> Self {
        let host = Host::answering(answer, stays).await;
        let hosts = granted(&[&host.address.to_string()], false);
        let sinks = Sinks::new(Handle::current());
        let look_up = Names::answering(&[], host.address.port()).look_up();
        let patience = Duration::from_secs(30);
        let egress = Egress::with(hosts, dialer(), look_up, patience, sinks.clone()).await;
        let egress = egress.unwrap();
        let client = Client::new(Config {
            egress: Some(egress.way().clone()),
            ..Config::default()
        });
        let folder = tempfile::tempdir().unwrap();
        let file = File::create_new(folder.path().join("a")).unwrap();
        drop(file);
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.path().join("a"));
        let sink = sinks.open(Arc::new(file.unwrap()), 10, []).unwrap();
        Self {
            folder,
            sinks,
            sink,
            client: client.unwrap(),
            host,
            _egress: egress,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a")
    }

    async fn ask(&self, range: Range<u64>) -> Response {
        self.ask_by(self.sink.ticket(), range).await
    }

    async fn ask_by(&self, ticket: &str, range: Range<u64>) -> Response {
        let url = format!("http://{}/blob", self.host.address)
            .parse()
            .unwrap();
        let mut request = Request::get(url);
        request.sink = Some(Named {
            ticket: ticket.to_owned(),
            range,
        });
        self.client.send(request).await.unwrap()
    }
}

/// Returns the bytes that came here, how many were placed, and the error that it ended with.
async fn pieces(mut response: Response) -> (Vec<u8>, u64, Option<Error>) {
    let (mut here, mut placed) = (Vec::new(), 0);
    loop {
        match response.body.piece().await {
            Ok(Some(Piece::Here(bytes))) => here.extend_from_slice(&bytes),
            Ok(Some(Piece::Placed(size))) => placed += size,
            Ok(None) => return (here, placed, None),
            Err(error) => return (here, placed, Some(error)),
        }
    }
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";

#[tokio::test]
async fn a_whole_body_goes_into_the_file_and_no_byte_of_it_inside() {
    let place = Place::facing(WHOLE, true).await;
    let response = place.ask(0..10).await;
    assert_eq!(response.body.expected(), Some(10));
    assert_eq!(pieces(response).await, (Vec::new(), 10, None));
    assert_eq!(fs::read(place.path()).unwrap(), b"0123456789");
    // What names the sink is not the host's business.
    let heard = place.host.heard();
    assert!(heard.starts_with("GET /blob HTTP/1.1\r\n"), "{heard}");
    let (heard, ticket) = (heard.to_lowercase(), place.sink.ticket());
    assert!(
        !heard.contains("shipgate-sink") && !heard.contains(ticket),
        "{heard}"
    );
    // The connection is used again, for what has to do with no file too.
    assert_eq!(pieces(place.ask(0..10).await).await, (Vec::new(), 10, None));
    let url = format!("http://{}/", place.host.address).parse().unwrap();
    let mut plain = place.client.send(Request::get(url)).await.unwrap();
    let bytes = plain.body.chunk().await.unwrap();
    assert_eq!(bytes, Some(Bytes::from_static(b"0123456789")));
    assert_eq!(place.host.connections(), 1);
}

#[tokio::test]
async fn a_part_goes_to_its_place_after_the_words_before_it() {
    let part = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 206 P\r\ncontent-range: bytes 3-6/10\r\ncontent-length: 4\r\n\r\nabcd";
    let place = Place::facing(part, true).await;
    assert_eq!(pieces(place.ask(3..9).await).await, (Vec::new(), 4, None));
    assert_eq!(fs::read(place.path()).unwrap(), b"\0\0\0abcd");
}

#[tokio::test]
async fn what_does_not_fit_comes_as_it_is() {
    // A host that would like its body to be taken for one that was written, and does not know the ticket.
    let lying = "HTTP/1.1 200 OK\r\nshipgate-placed: 00 10\r\ntransfer-encoding: chunked\r\n\r\n4\r\n\u{0}\u{0}\u{0}\u{1}\r\n0\r\n\r\n";
    for (answer, body) in [
        (
            "HTTP/1.1 404 N\r\ncontent-length: 10\r\n\r\n0123456789",
            &b"0123456789"[..],
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd", b"abcd"),
        (lying, b"\0\0\0\x01"),
    ] {
        let place = Place::facing(answer, true).await;
        assert_eq!(
            pieces(place.ask(0..10).await).await,
            (body.to_vec(), 0, None)
        );
        assert_eq!(fs::read(place.path()).unwrap(), b"");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_whole_one() {
    let place = Place::facing("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234", false).await;
    let (here, placed, error) = pieces(place.ask(0..10).await).await;
    assert_eq!((here, placed), (Vec::new(), 5));
    match error {
        Some(Error::BodyInterrupted {
            received,
            expected,
            detail,
            ..
        }) => assert_eq!(
            (received, expected, detail.as_str()),
            (5, Some(10), "end of file before message length reached")
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_the_file_does_not_take_comes_inside() {
    let place = Place::facing(WHOLE, true).await;
    // A ticket that is nobody's is as good as none.
    let unknown = place.ask_by("00", 0..10).await;
    assert_eq!(pieces(unknown).await, (b"0123456789".to_vec(), 0, None));
    // A disk that takes nothing.
    let read_only = Arc::new(File::open(place.path()).unwrap());
    let sink = place.sinks.open(read_only, 10, []).unwrap();
    let full = place.ask_by(sink.ticket(), 0..10).await;
    assert_eq!(pieces(full).await, (b"0123456789".to_vec(), 0, None));
    // One that was dropped before the answer came.
    let ticket = sink.ticket().to_owned();
    drop(sink);
    let late = place.ask_by(&ticket, 0..10).await;
    assert_eq!(pieces(late).await, (b"0123456789".to_vec(), 0, None));
    assert_eq!(fs::read(place.path()).unwrap(), b"");
}

#[tokio::test]
async fn a_sink_that_is_malformed_ends_the_stream_and_is_told() {
    let host = Host::start().await;
    let names = Names::answering(&[], host.address.port());
    let egress = egress(&[&host.address.to_string()], false, &names).await;
    for value in [
        "",
        "x",
        "../x 0-9",
        "a 9-0",
        "a 0-9\r\nshipgate-sink: a 0-9",
    ] {
        let head = format!(
            "GET / HTTP/1.1\r\nhost: {}\r\nshipgate-sink: {value}\r\n\r\n",
            host.address
        );
        let (_, ending) = exchange(&egress, &host, head.as_bytes()).await;
        assert!(
            matches!(ending, Some(Ending::Refused(Error::NotRelayed { .. }))),
            "{value}: {ending:?}"
        );
    }
    assert_eq!(host.heard(), "");
}
