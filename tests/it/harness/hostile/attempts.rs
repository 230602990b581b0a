//! A component that tries one thing that it must not be able to do, and says how it went.
//!
//! It is compiled by the tests with rustc alone, so it has the standard library and no crates.

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;

unsafe extern "C" {
    fn symlink(target: *const core::ffi::c_char, link: *const core::ffi::c_char) -> i32;
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match attempt(&words) {
        Ok(found) => {
            println!("allowed: {found}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("denied: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(words: &[&str]) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    match words {
        ["bind", address] => TcpListener::bind(address)
            .map(|_| "listening".into())
            .map_err(text),
        ["udp", address] => {
            let socket = UdpSocket::bind("0.0.0.0:0").map_err(text)?;
            socket
                .send_to(b"secret", address)
                .map(|_| "sent".into())
                .map_err(text)
        }
        ["connect", address] => TcpStream::connect(address)
            .map(|_| "connected".into())
            .map_err(text),
        ["probe", host, port] => ask(host, port, "\"probe\"").map(|_| "connected".into()),
        ["send", host, port, bytes] => send(host, port, &unescape(bytes)),
        ["many", host, port, count] => {
            let mut open = Vec::new();
            for _ in 0..count.parse().unwrap() {
                open.push(ask(host, port, HTTP)?);
            }
            Ok(format!("{} at once", open.len()))
        }
        ["guess", host, port] => {
            let (address, token) = way()?;
            let wrong: String = token.chars().rev().collect();
            converse(&address, &line(&wrong, host, port, HTTP)).map(|(_, answer)| answer)
        }
        ["flood-egress"] => {
            let (address, _) = way()?;
            let mut stream = TcpStream::connect(address).map_err(text)?;
            for _ in 0..10_000 {
                stream.write_all(&[b'x'; 4096]).map_err(text)?;
            }
            Ok("it took everything".into())
        }
        ["resolve", name] => {
            let mut found = (*name, 80).to_socket_addrs().map_err(text)?;
            found
                .next()
                .map(|address| address.to_string())
                .ok_or("no address".into())
        }
        ["read", path] => fs::read_to_string(path).map_err(text),
        ["write", path] => fs::write(path, "hostile")
            .map(|()| "written".into())
            .map_err(text),
        ["write", path, text] => fs::write(path, text)
            .map(|()| "written".into())
            .map_err(|error| error.to_string()),
        ["remove", path] => fs::remove_file(path)
            .map(|()| "removed".into())
            .map_err(text),
        ["link", target, link] => {
            make_link(target, link)?;
            fs::read_to_string(link).map_err(text)
        }
        // Where the launcher writes that the run is cancelled; then it waits for it.
        ["lie-in-wait", target] => {
            let made: Vec<bool> = ["/.shipgate-launcher", "/.shipgate-component"]
                .iter()
                .flat_map(|folder| ["cancel", "abort.part"].map(|name| format!("{folder}/{name}")))
                .map(|link| make_link(target, &link).is_ok())
                .collect();
            fs::write("/.shipgate-component/listening", "").map_err(text)?;
            eprintln!("links: {made:?}");
            loop {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        ["list", folder, count] => {
            let mut open = Vec::new();
            for _ in 0..count.parse().unwrap() {
                open.push(fs::read_dir(folder).map_err(text)?);
            }
            let mut names = Vec::new();
            for entry in open.remove(0) {
                names.push(entry.map_err(text)?.file_name().into_string().unwrap());
            }
            names.sort();
            Ok(format!("{names:?}"))
        }
        ["print", bytes] => {
            std::io::stdout().write_all(&unescape(bytes)).map_err(text)?;
            Ok("printed".into())
        }
        ["environment"] => Ok(format!("{:?}", std::env::vars().collect::<Vec<_>>())),
        ["spawn"] => {
            let child = std::process::Command::new("/bin/sh").spawn();
            child.map(|_| "started".into()).map_err(text)
        }
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["memory"] => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![1u8; 1 << 20]);
            }
        }
        ["flood"] => loop {
            // A closed stream would end the flood.
            let _ = std::io::stdout().write_all(&[b'x'; 4096]);
        },
        ["succeed-falsely"] => {
            fs::write("/.shipgate-component/exit-code", "0").map_err(text)?;
            Err("it ends as an error".into())
        }
        other => Err(format!("no such attempt: {other:?}")),
    }
}

fn make_link(target: &str, link: &str) -> Result<(), String> {
    let [target, link] = [target, link].map(|path| CString::new(path).unwrap());
    // SAFETY: both are strings that end with NUL and outlive the call.
    if unsafe { symlink(target.as_ptr(), link.as_ptr()) } != 0 {
        return Err(format!("no link: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}

const HTTP: &str = r#"{"http":{"tls":false}}"#;

/// Returns the address and the token of the egress, from the launcher's brief.
fn way() -> Result<(String, String), String> {
    let brief = fs::read_to_string("/.shipgate-launcher/brief.json").map_err(|it| it.to_string())?;
    let value = |name: &str| {
        let (_, rest) = brief.split_once(&format!("\"{name}\":\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    value("address")
        .zip(value("token"))
        .ok_or_else(|| format!("no egress in {brief}"))
}

fn line(token: &str, host: &str, port: &str, want: &str) -> String {
    let host = host.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "{{\"token\":\"{token}\",\"host\":\"{host}\",\"port\":{port},\"want\":{want},\"timeout-us\":5000000}}\n"
    )
}

/// Sends a line and returns the answer's.
fn converse(address: &str, line: &str) -> Result<(BufReader<TcpStream>, String), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(text)?;
    stream.write_all(line.as_bytes()).map_err(text)?;
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    stream.read_line(&mut answer).map_err(text)?;
    if answer.is_empty() {
        return Err("no answer".into());
    }
    Ok((stream, answer))
}

/// Asks the egress for a host.
fn ask(host: &str, port: &str, want: &str) -> Result<BufReader<TcpStream>, String> {
    let (address, token) = way()?;
    let (stream, answer) = converse(&address, &line(&token, host, port, want))?;
    if answer.starts_with("{\"open\"") {
        Ok(stream)
    } else {
        Err(answer.trim_end().to_owned())
    }
}

/// Sends bytes to a host and returns the beginning of what comes back.
fn send(host: &str, port: &str, bytes: &[u8]) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = ask(host, port, HTTP)?;
    stream.get_mut().write_all(bytes).map_err(text)?;
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).map_err(text)?;
    let length = u32::from_be_bytes(frame);
    let mut piece = vec![0; (length & !(1 << 31)) as usize];
    stream.read_exact(&mut piece).map_err(text)?;
    let piece = String::from_utf8_lossy(&piece).into_owned();
    if length >> 31 == 1 { Err(piece) } else { Ok(piece) }
}

/// Turns `\r`, `\n` and `\xNN` into what they stand for.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend(plain.bytes());
        rest = match escape.split_at(1) {
            ("r", rest) => {
                bytes.push(b'\r');
                rest
            }
            ("n", rest) => {
                bytes.push(b'\n');
                rest
            }
            (_, rest) => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                &rest[2..]
            }
        };
    }
    bytes.extend(rest.bytes());
    bytes
}
