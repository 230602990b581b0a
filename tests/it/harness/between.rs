//! A forward proxy: it leads every name to one address, and keeps the head of each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A running proxy.
pub struct Between {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Rule {
    upstream: String,
    /// The value of `Proxy-Authorization` that it insists on.
    login: Option<String>,
}

impl Between {
    /// Starts one that leads to `upstream`, a host and port.
    pub fn to(upstream: &str) -> Self {
        Self::start(upstream, None)
    }

    /// Starts one that insists on this value of `Proxy-Authorization`.
    pub fn with_login(upstream: &str, login: &str) -> Self {
        Self::start(upstream, Some(login.to_owned()))
    }

    fn start(upstream: &str, login: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let stopped = Arc::new(AtomicBool::new(false));
        let rule = Rule {
            upstream: upstream.to_owned(),
            login,
        };
        std::thread::spawn({
            let (heads, stopped) = (heads.clone(), stopped.clone());
            move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let (rule, heads) = (rule.clone(), heads.clone());
                    std::thread::spawn(move || serve(stream.unwrap(), &rule, &heads));
                }
            }
        });
        Self {
            address,
            heads,
            stopped,
        }
    }

    /// Returns the host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Serves one request a connection.
fn serve(mut stream: TcpStream, rule: &Rule, heads: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let head = read_head(&mut reader)?;
    heads.lock().unwrap().push(head.clone());
    let named = |line: &&str| line.to_lowercase().starts_with("proxy-authorization: ");
    let login = head.lines().find(named);
    let login = login
        .and_then(|line| line.split_once(": "))
        .map(|(_, value)| value);
    if rule.login.is_some() && rule.login.as_deref() != login {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refusal.as_bytes()).ok();
    }
    let length = content_length(&head);
    let mut upstream = TcpStream::connect(&rule.upstream).ok()?;
    if head.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    } else {
        let (line, rest) = head.split_once("\r\n")?;
        let mut words = line.split(' ');
        let (method, url) = (words.next()?, words.next()?);
        let path = url.strip_prefix("http://")?.find('/')? + "http://".len();
        let kept = |line: &&str| !line.to_lowercase().starts_with("proxy-") && !line.is_empty();
        let rest: Vec<&str> = rest.split("\r\n").filter(kept).collect();
        let path = &url[path..];
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{}\r\nConnection: close\r\n\r\n",
            rest.join("\r\n")
        );
        upstream.write_all(head.as_bytes()).ok()?;
        let mut body = reader.take(length.unwrap_or(0));
        std::io::copy(&mut body, &mut upstream).ok()?;
        return answer(upstream, &mut stream, method == "HEAD");
    }
    let (mut from, mut to) = (reader, upstream.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut upstream, &mut stream);
    stream.shutdown(Shutdown::Both).ok()
}

/// Passes one answer on, and says that the connection ends with it.
fn answer(upstream: TcpStream, stream: &mut TcpStream, is_head: bool) -> Option<()> {
    let mut reader = BufReader::new(upstream);
    let head = read_head(&mut reader)?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(head.as_bytes()).ok()?;
    let length = if is_head {
        Some(0)
    } else {
        content_length(&head)
    };
    let mut body = reader.take(length.unwrap_or(u64::MAX));
    std::io::copy(&mut body, stream).ok()?;
    stream.shutdown(Shutdown::Both).ok()
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn content_length(head: &str) -> Option<u64> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.parse().ok())?
    })
}
