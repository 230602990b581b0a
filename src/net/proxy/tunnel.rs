//! `CONNECT`: a connection through a proxy over which anything can be spoken.

use std::io;

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::ProxyFault;

/// The longest head of an answer, in bytes. No proxy says much before a tunnel.
const MOST_HEAD: usize = 16 << 10;

/// The longest word of a proxy's own that is shown.
const LONGEST_REASON: usize = 80;

/// Asks for a tunnel to `authority`, a host and port. `login` is the value of `Proxy-Authorization`,
/// which the proxy alone sees.
pub(in crate::net) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    authority: &str,
    login: Option<&HeaderValue>,
) -> Result<(), ProxyFault> {
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(login) = login {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(login.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let broken = |error: io::Error| ProxyFault::Garbled {
        detail: format!("it broke the connection ({error})"),
    };
    stream.write_all(&head).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let answer = answer(stream).await?;
    read(&answer, login.is_some())
}

/// Reads a head to its end and not a byte further: what follows is the peer's.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, ProxyFault> {
    let garbled = |detail: &str| ProxyFault::Garbled {
        detail: detail.to_owned(),
    };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == MOST_HEAD {
            return Err(garbled("its head does not end"));
        }
        let byte = stream.read_u8().await;
        let byte = byte.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof if head.is_empty() => {
                garbled("it closed the connection without one")
            }
            io::ErrorKind::UnexpectedEof => garbled("it closed the connection in the middle"),
            _ => ProxyFault::Garbled {
                detail: error.to_string(),
            },
        })?;
        head.push(byte);
        // Whatever this is, it will not become HTTP.
        if !b"HTTP/".starts_with(&head[..head.len().min(5)]) {
            return Err(garbled("it speaks no HTTP"));
        }
    }
    Ok(head)
}

fn read(head: &[u8], sent: bool) -> Result<(), ProxyFault> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let status = lines.next().and_then(|line| {
        let (version, rest) = line.split_once(' ')?;
        let digits = rest.split(' ').next()?;
        let known = matches!(version, "HTTP/1.1" | "HTTP/1.0") && digits.len() == 3;
        known.then(|| digits.parse::<u16>().ok())?
    });
    let Some(status) = status else {
        return Err(ProxyFault::Garbled {
            detail: "its first line has no status".to_owned(),
        });
    };
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: Vec<_> = headers.map(|(name, value)| (name, value.trim())).collect();
    refusal(status, &headers, sent).map_or(Ok(()), Err)
}

/// Returns what a status of a proxy's comes to, unless it is a success.
pub(in crate::net) fn refusal(
    status: u16,
    headers: &[(&str, &str)],
    sent: bool,
) -> Option<ProxyFault> {
    let all = |wanted: &'static str| {
        let named = headers
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        named.map(|(_, value)| *value)
    };
    match status {
        200..=299 => None,
        407 => Some(ProxyFault::Login {
            sent,
            schemes: all("proxy-authenticate")
                .filter_map(|value| value.split([' ', ',']).next())
                .map(|scheme| shown(scheme).to_ascii_lowercase())
                .take(5)
                .collect(),
        }),
        status => {
            // Squid's own code for it, or RFC 9209's.
            let words = all("x-squid-error").chain(all("proxy-status"));
            let reason = words.map(shown).find(|word| !word.is_empty());
            Some(ProxyFault::Refused { status, reason })
        }
    }
}

fn shown(word: &str) -> String {
    let printable = word.chars().filter(|byte| (' '..='~').contains(byte));
    printable.take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(answer: &[u8]) -> (Result<(), ProxyFault>, String, Vec<u8>) {
        let (mut client, mut proxy) = tokio::io::duplex(64 << 10);
        proxy.write_all(answer).await.unwrap();
        let login = HeaderValue::from_static("Basic eDp5");
        let result = tunnel(&mut client, "a.example:443", Some(&login)).await;
        let mut sent = vec![0; 1000];
        let read = proxy.read(&mut sent).await.unwrap();
        sent.truncate(read);
        drop(proxy);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        (result, String::from_utf8(sent).unwrap(), rest)
    }

    #[tokio::test]
    async fn a_tunnel_is_open_when_the_proxy_says_so() {
        let (result, sent, rest) =
            ask(b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\nSSH-2.0").await;
        assert_eq!(result, Ok(()));
        assert_eq!(rest, b"SSH-2.0");
        insta::assert_snapshot!(sent.replace('\r', ""), @r"
        CONNECT a.example:443 HTTP/1.1
        Host: a.example:443
        Proxy-Authorization: Basic eDp5
        ");
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        let mut words = Vec::new();
        for answer in [
            "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"a\"\r\n\r\n",
            "HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM x\r\n\r\n",
            "HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/2 200\r\n\r\n",
            "\x15\x03\x01",
        ] {
            let (result, ..) = ask(answer.as_bytes()).await;
            words.push(result.unwrap_err().to_string());
        }
        insta::assert_snapshot!(words.join("\n"), @r"
        does not take the login (407)
        does not take the login (407), and offers negotiate, ntlm alone
        answered 403 (ERR_ACCESS_DENIED 0)
        answered 502
        gave no valid answer: its first line has no status
        gave no valid answer: it speaks no HTTP
        ");
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_cut_off() {
        let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
        endless.resize(MOST_HEAD + 100, b'x');
        let (result, ..) = ask(&endless).await;
        assert!(matches!(result, Err(ProxyFault::Garbled { .. })));
        let (mut client, proxy) = tokio::io::duplex(1000);
        drop(proxy);
        assert!(tunnel(&mut client, "a:1", None).await.is_err());
    }
}
