//! A small HTTP service: the target of gates, the sink of notices, the proxy that lies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Reply, fetch};

/// A service that answers as a function says and remembers what it was asked.
pub struct Service {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What the service does with a request.
pub enum Answer {
    /// Answers with this status, these headers and this body.
    Reply(u16, Vec<(String, String)>, Vec<u8>),
    /// Never answers, and keeps the connection.
    Silence,
}

impl Answer {
    /// Answers with a status and a text.
    pub fn text(status: u16, body: &str) -> Self {
        Self::Reply(status, Vec::new(), body.as_bytes().to_vec())
    }
}

impl Service {
    /// Starts a service on a free port.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let answer: Arc<dyn Fn(&Request) -> Answer + Send + Sync> = Arc::new(answer);
        let accepting = std::thread::spawn({
            let (requests, stopped) = (requests.clone(), stopped.clone());
            move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    let (requests, answer) = (requests.clone(), answer.clone());
                    let stopped = stopped.clone();
                    std::thread::spawn(move || {
                        serve(stream.unwrap(), &requests, &stopped, &*answer)
                    });
                }
            }
        });
        Self {
            address,
            requests,
            stopped,
            accepting: Some(accepting),
        }
    }

    /// Starts a service that always answers with this status and text.
    pub fn constant(status: u16, body: &'static str) -> Self {
        Self::start(move |_| Answer::text(status, body))
    }

    /// Starts a proxy in front of `upstream` whose replies pass through `lie`.
    pub fn lying(
        upstream: String,
        lie: impl Fn(&Request, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |request| {
            // Asked as one client, so that bodies come whole and framing is ours.
            let kept = ["accept", "authorization", "range"];
            let headers: Vec<_> = request
                .headers
                .iter()
                .filter(|(name, _)| kept.contains(&name.to_lowercase().as_str()))
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let mut reply = fetch(
                &request.method,
                &upstream,
                &request.target,
                &headers,
                &request.body,
            );
            lie(request, &mut reply);
            Answer::Reply(reply.status, reply.headers, reply.body)
        })
    }

    /// Returns the host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(
    stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    stopped: &AtomicBool,
    answer: &(dyn Fn(&Request) -> Answer + Send + Sync),
) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut reader = BufReader::new(stream);
    // A probe that only connects sends no request.
    let Some(request) = read(&mut reader) else {
        return;
    };
    requests.lock().unwrap().push(request.clone());
    let mut stream = reader.into_inner();
    match answer(&request) {
        Answer::Reply(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Answer\r\nConnection: close\r\n");
            for (name, value) in &headers {
                if !["connection", "content-length"].contains(&name.to_lowercase().as_str()) {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
            }
            let length = headers
                .iter()
                .find(|(name, _)| {
                    request.method == "HEAD" && name.eq_ignore_ascii_case("content-length")
                })
                .map_or_else(|| body.len().to_string(), |(_, value)| value.clone());
            head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
            // The client may have gone; that is its right.
            let _ = stream.write_all(head.as_bytes());
            if request.method != "HEAD" {
                let _ = stream.write_all(&body);
            }
        }
        Answer::Silence => {
            let mut rest = [0; 16];
            let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            while !stopped.load(Ordering::SeqCst) {
                if matches!(stream.read(&mut rest), Ok(0)) {
                    return;
                }
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap_or(0));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}
