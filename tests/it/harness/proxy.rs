//! nginx before a registry: its log is the independent witness of requests and bytes.

use std::fs;
use std::path::PathBuf;

use super::{Process, fetch, tool, wait_for};

/// A running nginx that passes everything on and logs it.
pub struct Proxy {
    _process: Process,
    address: String,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// One line of the log.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Access {
    pub method: String,
    pub path: String,
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
}

impl Access {
    /// Says whether a blob was asked for.
    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }
}

impl Proxy {
    /// Starts a proxy before `upstream`, a host and port.
    pub fn before(upstream: &str) -> Self {
        Self::limited(upstream, "0")
    }

    /// Starts a proxy that sends at most `rate` bytes a second and connection, for instance `500k`.
    pub fn limited(upstream: &str, rate: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display();
        let log = folder.path().join("access.log");
        // Another process may take the port between our look and nginx's bind.
        for _ in 0..5 {
            let port = free_port();
            let address = format!("127.0.0.1:{port}");
            let configuration = folder.path().join("nginx.conf");
            fs::write(
                &configuration,
                format!(
                    "daemon off; master_process off; pid {home}/pid; error_log stderr notice;
events {{ worker_connections 256; }}
http {{
  log_format witness '$request_method $request_uri $status $body_bytes_sent';
  access_log {home}/access.log witness;
  client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3;
  uwsgi_temp_path {home}/4; scgi_temp_path {home}/5;
  client_max_body_size 0; keepalive_timeout 5s; limit_rate {rate};
  server {{
    listen {address};
    location = /witness {{ stub_status; access_log off; }}
    location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_request_buffering off; }}
  }}
}}
"
                ),
            )
            .unwrap();
            let arguments = ["-e", "stderr", "-c", configuration.to_str().unwrap()];
            let mut process =
                Process::server(&tool("nginx"), &arguments, &folder.path().join("log"));
            let up = wait_for("nginx to listen", || {
                if process.ended_within(std::time::Duration::ZERO).is_some() {
                    return Some(false);
                }
                std::net::TcpStream::connect(&address).ok().map(|_| true)
            });
            if up {
                return Self {
                    _process: process,
                    address,
                    log,
                    _folder: folder,
                };
            }
            assert!(
                process.log().contains("Address already in use"),
                "{}",
                process.log()
            );
        }
        panic!("no port for nginx in five attempts");
    }

    /// Returns the host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns all requests so far, once nginx is done with each of them.
    pub fn accesses(&self) -> Vec<Access> {
        // A request is logged when it is finished, after the client has its last byte.
        wait_for("the proxy's connections to close", || {
            let status = fetch("GET", &self.address, "/witness", &[], b"");
            let body = String::from_utf8(status.body).unwrap();
            body.starts_with("Active connections: 1 ").then_some(())
        });
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines().map(parse).collect()
    }
}

fn parse(line: &str) -> Access {
    let fields: Vec<_> = line.split(' ').collect();
    let [method, path, status, bytes] = fields[..] else {
        panic!("not a line of our log: {line}");
    };
    Access {
        method: method.into(),
        path: path.into(),
        status: status.parse().unwrap(),
        bytes: bytes.parse().unwrap(),
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
