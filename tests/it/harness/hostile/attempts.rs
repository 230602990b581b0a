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

/// The launcher's interface `filling` (wasm/wit/launcher.wit), as the canonical ABI passes it.
mod filling {
    #[link(wasm_import_module = "shipgate:launcher/filling@0.1.0")]
    unsafe extern "C" {
        #[link_name = "[static]sink.open"]
        pub fn open(
            path: *const u8,
            length: usize,
            size: u64,
            there: *const [u64; 2],
            ranges: usize,
            result: *mut [usize; 4],
        );
        #[link_name = "[method]sink.ticket"]
        pub fn ticket(sink: usize, result: *mut [usize; 2]);
        #[link_name = "[method]sink.write"]
        pub fn write(
            sink: usize,
            offset: u64,
            bytes: *const u8,
            length: usize,
            result: *mut [usize; 4],
        );
        #[link_name = "[resource-drop]sink"]
        pub fn drop(sink: usize);
    }
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
        ["many-names", count] => {
            let count: usize = count.parse().unwrap();
            let asked = (0..count).map(|number| ask(&format!("{number}.example"), "80", HTTP));
            let open = asked.filter(Result::is_ok).count();
            match open {
                0 => Err("none of them".into()),
                _ => Ok(format!("{open} of them")),
            }
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
        ["sink", path, size] => Sink::open(path, number(size)).map(|sink| sink.ticket()),
        ["sink", path, size, offset, text] => {
            let sink = Sink::open(path, number(size))?;
            sink.write(number(offset), text.as_bytes()).map(|()| "written".into())
        }
        ["sink-many", path, count] => {
            let mut open = Vec::new();
            for _ in 0..number(count) {
                open.push(Sink::open(path, 1 << 40)?);
            }
            Ok(format!("{} at once", open.len()))
        }
        ["sink-scattered", path] => {
            let sink = Sink::open(path, 1 << 40)?;
            for number in 0..100_000 {
                sink.write(number * 2, b"x")?;
            }
            Ok("it remembers everything".into())
        }
        // Has an answer written into a file: for a sink that is open, or that was dropped before.
        ["sink-fetch", host, port, path, size, how] => {
            let sink = Sink::open(path, number(size))?;
            let ticket = sink.ticket();
            let open = (*how == "open").then_some(sink);
            let head = format!(
                "GET /blob HTTP/1.1\r\nHost: {host}:{port}\r\nshipgate-sink: {ticket} 0-{size}\r\n\r\n"
            );
            let came = send(host, port, head.as_bytes())?;
            // What comes next says that it is written.
            std::thread::sleep(std::time::Duration::from_millis(50));
            drop(open);
            Ok(came)
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
        // Begins a line, has the launcher say something about a connection, and goes on.
        ["interrupted", address, bytes] => {
            eprint!("begun");
            let _ = TcpStream::connect(address);
            std::io::stderr().write_all(&unescape(bytes)).map_err(text)?;
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
        ["rename", from, to] => fs::rename(from, to)
            .map(|()| "renamed".into())
            .map_err(text),
        ["hard-link", from, to] => fs::hard_link(from, to)
            .map(|()| "linked".into())
            .map_err(text),
        ["half-close", host, port, bytes] => {
            let mut stream = ask(host, port, HTTP)?;
            stream.get_mut().write_all(&unescape(bytes)).map_err(text)?;
            stream
                .get_mut()
                .shutdown(std::net::Shutdown::Write)
                .map_err(text)?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).map_err(text)?;
            Ok(String::from_utf8_lossy(&rest).into_owned())
        }
        // A name that has another address at the second look-up: the file of names is granted to be written.
        ["rebind", name, port, file, first, second] => {
            let mut said = Vec::new();
            for address in [first, second] {
                fs::write(file, format!("{address} {name}\n")).map_err(text)?;
                match ask(name, port, HTTP) {
                    Ok(_) => return Ok(format!("{name} at {address}")),
                    Err(reason) => said.push(reason),
                }
            }
            Err(said.join(" "))
        }
        // With grants of a pipeline there is a line in it that says what to try.
        words => {
            let pipeline = words.iter().find(|word| word.ends_with(".yml"));
            let text = pipeline.and_then(|path| fs::read_to_string(path).ok());
            let line = text
                .as_deref()
                .and_then(|text| text.split_once("# attempt: "));
            match line.and_then(|(_, rest)| rest.lines().next()) {
                Some(line) => attempt(&line.split(' ').collect::<Vec<_>>()),
                None => Err(format!("no such attempt: {words:?}")),
            }
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

/// A file that the launcher fills.
struct Sink(usize);

impl Sink {
    fn open(path: &str, size: u64) -> Result<Self, String> {
        let mut result = [0; 4];
        // SAFETY: the path outlives the call, and the result has room for what comes back.
        unsafe {
            filling::open(path.as_ptr(), path.len(), size, std::ptr::null(), 0, &mut result);
        }
        told(result).map(Self)
    }

    fn ticket(&self) -> String {
        let mut result = [0; 2];
        // SAFETY: as above; the text is allocated for the caller, who never frees it.
        unsafe {
            filling::ticket(self.0, &mut result);
            text(result[0], result[1])
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let mut result = [0; 4];
        // SAFETY: as above.
        unsafe {
            filling::write(self.0, offset, bytes.as_ptr(), bytes.len(), &mut result);
        }
        told(result).map(drop)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // SAFETY: it is dropped once.
        unsafe { filling::drop(self.0) }
    }
}

/// Reads a `result` whose error is a variant: either a handle, or the error's words.
fn told([failed, value, start, length]: [usize; 4]) -> Result<usize, String> {
    match (failed & 0xff, value & 0xff) {
        (0, _) => Ok(value),
        (_, 0) => Err("no room".into()),
        // SAFETY: the launcher has put the text there.
        _ => Err(unsafe { text(start, length) }),
    }
}

unsafe fn text(start: usize, length: usize) -> String {
    // SAFETY: the caller's.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, length) };
    String::from_utf8_lossy(bytes).into_owned()
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
    let brief =
        fs::read_to_string("/.shipgate-launcher/brief.json").map_err(|it| it.to_string())?;
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
    if length >> 31 == 1 {
        Err(piece)
    } else {
        Ok(piece)
    }
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
