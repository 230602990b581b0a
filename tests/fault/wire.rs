//! HTTP/1.1 as bytes: requests in, answers out, and the way to a server behind.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::content::Content;
use super::exchange::Seen;

/// An answer that is about to be sent.
pub(super) struct Reply {
    pub(super) status: u16,
    /// All headers but those of framing.
    pub(super) headers: Vec<(String, String)>,
    /// The length to announce, if any.
    pub(super) length: Option<u64>,
    pub(super) body: Body,
}

/// Where the bytes come from.
pub(super) enum Body {
    Bytes(Bytes),
    Stream(Box<BufReader<TcpStream>>),
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.headers.push((name.to_owned(), value));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Returns the head as it is sent.
    pub(super) fn head(&self, keep: bool) -> String {
        let mut head = format!("HTTP/1.1 {} Answer\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = self.length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        if !keep {
            head.push_str("Connection: close\r\n");
        }
        head + "\r\n"
    }
}

impl From<Content> for Reply {
    fn from(content: Content) -> Self {
        Self {
            status: content.status,
            headers: content.headers,
            length: Some(content.body.len() as u64),
            body: Body::Bytes(content.body),
        }
    }
}

impl Body {
    /// Returns the next bytes, at most so many; none at the end.
    pub(super) async fn next(&mut self, most: usize) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.split_to(most.min(bytes.len()))),
            Self::Stream(stream) => {
                let mut buffer = vec![0; most];
                let read = stream.read(&mut buffer).await?;
                buffer.truncate(read);
                Ok(buffer.into())
            }
        }
    }
}

/// Reads a request; nothing once the client is done or sends something else.
pub(super) async fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let (line, headers) = head(reader).await.ok()?;
    let mut parts = line.split_whitespace();
    let mut request = Seen {
        method: parts.next()?.to_owned(),
        target: parts.next()?.to_owned(),
        headers,
        body: Vec::new(),
    };
    let length = request.header("content-length").map_or(0, number);
    request.body = vec![0; usize::try_from(length).ok()?.min(LARGEST_BODY)];
    reader.read_exact(&mut request.body).await.ok()?;
    Some(request)
}

/// Asks the server behind. In HTTP/1.0, so that its body ends with the connection and is never
/// chunked.
pub(super) async fn ask(upstream: &str, request: &Seen) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let mut asked = format!("{} {} HTTP/1.0\r\n", request.method, request.target);
    let hop = ["connection", "content-length", "transfer-encoding"];
    for (name, value) in &request.headers {
        if !hop.contains(&name.to_ascii_lowercase().as_str()) {
            asked.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if !request.body.is_empty() {
        asked.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    asked.push_str("\r\n");
    stream.write_all(asked.as_bytes()).await?;
    stream.write_all(&request.body).await?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    let (line, mut headers) = head(&mut reader).await?;
    let status = line.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    let is_length = |name: &str| name.eq_ignore_ascii_case("content-length");
    let length = headers
        .iter()
        .find(|(name, _)| is_length(name))
        .map(|(_, value)| number(value));
    headers.retain(|(name, _)| !is_length(name) && !name.eq_ignore_ascii_case("connection"));
    Ok(Reply {
        status,
        headers,
        length,
        body: Body::Stream(Box::new(reader)),
    })
}

/// Waits until the client closes.
pub(super) async fn gone(reader: &mut BufReader<TcpStream>) {
    let mut ignored = [0; 1024];
    while matches!(reader.read(&mut ignored).await, Ok(1..)) {}
}

const LARGEST_BODY: usize = 64 << 20;
const LONGEST_HEAD: usize = 64 << 10;

type Head = (String, Vec<(String, String)>);

async fn head(reader: &mut BufReader<TcpStream>) -> io::Result<Head> {
    let (mut first, mut headers, mut length) = (None, Vec::new(), 0);
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line).await?;
        length += read;
        if read == 0 || length > LONGEST_HEAD {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        match (&first, line.split_once(':')) {
            (None, _) => first = Some(line.to_owned()),
            (Some(_), Some((name, value))) => {
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            (Some(first), None) => return Ok((first.clone(), headers)),
        }
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_default()
}
