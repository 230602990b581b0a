//! A component that tries one thing that it must not be able to do, and says how it went.
//!
//! It is compiled by the tests with rustc alone, so it has the standard library and no crates.

use std::ffi::CString;
use std::fs;
use std::io::Write;
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
        ["link", target, link] => {
            let [target, path] = [target, link].map(|path| CString::new(*path).unwrap());
            // SAFETY: both are strings that end with NUL and outlive the call.
            if unsafe { symlink(target.as_ptr(), path.as_ptr()) } != 0 {
                return Err(format!("no link: {}", std::io::Error::last_os_error()));
            }
            fs::read_to_string(link).map_err(text)
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
            fs::write("/.shipgate-launcher/exit-code", "0").map_err(text)?;
            Err("it ends as an error".into())
        }
        other => Err(format!("no such attempt: {other:?}")),
    }
}
