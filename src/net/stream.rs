//! An open connection, plain or TLS, that remembers how it came about.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderValue;
use hyper_util::client::legacy::connect::{Connected, Connection};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::error::Endpoint;
use super::relayed::Relayed;
use super::tls::TlsInfo;

/// What hyper reads from and writes to.
pub(super) struct Stream {
    pub(super) transport: Transport,
    pub(super) facts: Arc<Facts>,
}

/// What is known of a connection for as long as it lives.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) endpoint: Box<Endpoint>,
    pub(super) dns: Option<Duration>,
    pub(super) tcp: Duration,
    pub(super) tls: Option<(Duration, TlsInfo)>,
    pub(super) first_bytes: FirstBytes,
    /// The proxy that requests are handed to one by one, if they are.
    pub(super) forwarder: Option<Forwarder>,
    /// Whether requests name their whole URL: whoever is at the other end needs it.
    pub(super) absolute: bool,
    /// What the forwarder is sent with each request.
    pub(super) proxy_login: Option<HeaderValue>,
    used: AtomicBool,
}

/// A proxy that requests are handed to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Forwarder {
    /// The proxy and where it is written down.
    pub name: String,
    /// Whether it is sent a login.
    pub login: bool,
}

impl Facts {
    pub(super) fn new(
        endpoint: Box<Endpoint>,
        dns: Option<Duration>,
        tcp: Duration,
        tls: Option<(Duration, TlsInfo)>,
        first_bytes: FirstBytes,
    ) -> Self {
        Self {
            endpoint,
            dns,
            tcp,
            tls,
            first_bytes,
            forwarder: None,
            absolute: false,
            proxy_login: None,
            used: AtomicBool::new(false),
        }
    }

    pub(super) fn forwarded(mut self, forwarder: Option<Forwarder>, absolute: bool) -> Self {
        self.forwarder = forwarder;
        self.absolute = absolute;
        self
    }

    /// Says whether plain HTTP was spoken to a TLS server.
    pub(super) fn is_tls_server(&self) -> bool {
        self.tls.is_none() && self.first_bytes.are_of_a_tls_server()
    }

    /// Says whether an earlier request has gone over this connection, and marks it as used.
    pub(super) fn take_for_request(&self) -> bool {
        self.used.swap(true, Ordering::Relaxed)
    }
}

/// The bytes of the first read, which tell what the peer really speaks.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstBytes(Arc<OnceLock<Box<[u8]>>>);

impl FirstBytes {
    /// Enough for the head and first words of a web server's error page.
    const KEPT: usize = 512;

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.get().map_or(&[], |bytes| bytes)
    }

    /// Returns the first few bytes, escaped.
    pub(super) fn shown(&self) -> String {
        const SHOWN: usize = 16;
        let bytes = self.bytes();
        bytes
            .get(..SHOWN)
            .unwrap_or(bytes)
            .escape_ascii()
            .to_string()
    }

    pub(super) fn are_http(&self) -> bool {
        self.bytes().starts_with(b"HTTP/")
    }

    /// Says whether a TLS server answered plain HTTP, by an alert or, as Go and nginx do, in words.
    pub(super) fn are_of_a_tls_server(&self) -> bool {
        const WORDS: [&[u8]; 2] = [
            b"Client sent an HTTP request to an HTTPS server",
            b"The plain HTTP request was sent to HTTPS port",
        ];
        let bytes = self.bytes();
        let says = |words: &[u8]| bytes.windows(words.len()).any(|window| window == words);
        self.are_tls() || self.are_http() && WORDS.iter().any(|words| says(words))
    }

    /// Says whether the bytes begin a TLS record: a content type and the major version 3.
    pub(super) fn are_tls(&self) -> bool {
        matches!(self.bytes(), [0x14..=0x17, 0x03, ..])
    }

    /// Keeps the beginning of the first bytes that it is given.
    pub(super) fn keep(&self, bytes: &[u8]) {
        if self.0.get().is_some() {
            return;
        }
        let kept = bytes.get(..Self::KEPT).unwrap_or(bytes);
        let _ = self.0.set(kept.into());
    }
}

pub(super) enum Transport {
    Plain(Tcp),
    /// Through the egress of a launcher, which does the rest.
    Relayed(Box<Relayed>),
    Tls(Box<TlsStream<Tcp>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
            .proxy(self.facts.absolute)
            .extra(Arc::clone(&self.facts))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Transport::Relayed(relayed) => Pin::new(relayed).poll_read(context, buffer),
            Transport::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Transport::Relayed(relayed) => Pin::new(relayed).poll_write(context, bytes),
            Transport::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, slices),
            Transport::Relayed(relayed) => Pin::new(relayed).poll_write_vectored(context, slices),
            Transport::Tls(tls) => Pin::new(tls).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(tcp) => tcp.is_write_vectored(),
            Transport::Relayed(relayed) => relayed.is_write_vectored(),
            Transport::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Transport::Relayed(relayed) => Pin::new(relayed).poll_flush(context),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Transport::Relayed(relayed) => Pin::new(relayed).poll_shutdown(context),
            Transport::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

/// What bytes to a host travel over, and the first of them that were read.
pub(super) struct Tcp {
    carrier: Carrier,
    first_bytes: FirstBytes,
    begun: bool,
}

/// What carries a connection.
pub(super) enum Carrier {
    /// A connection of its own.
    Tcp(TcpStream),
    /// TLS with a proxy.
    Tls(Box<TlsStream<Tcp>>),
}

impl Tcp {
    pub(super) fn new(carrier: Carrier, first_bytes: FirstBytes) -> Self {
        Self {
            carrier,
            first_bytes,
            begun: false,
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.carrier).poll_read(context, buffer))?;
        if !self.begun {
            self.begun = true;
            if let Some(read) = buffer.filled().get(before..) {
                self.first_bytes.keep(read);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_shutdown(context)
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(context, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
