//! Whose a connection on loopback is, where the system tells.

use std::net::SocketAddr;

/// Says whether the process at the other end belongs to another user. Where the system does not tell, nobody is
/// said to.
#[cfg(target_os = "linux")]
pub fn is_of_another_user(peer: SocketAddr, listener: SocketAddr) -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    // A socket for both kinds of addresses is listed with the newer ones.
    let tables = read("/proc/self/net/tcp") + &read("/proc/self/net/tcp6");
    linux::is_of_another_user(&tables, peer, listener)
}

/// Says that nobody is of another user: this system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn is_of_another_user(_: SocketAddr, _: SocketAddr) -> bool {
    false
}

/// The kernel's tables of sockets (proc_pid_net(5)).
#[cfg(target_os = "linux")]
mod linux {
    use super::*;

    pub fn is_of_another_user(tables: &str, peer: SocketAddr, listener: SocketAddr) -> bool {
        let (peer, listener) = (written(peer), written(listener));
        let mut ours = None;
        let mut theirs = None;
        for line in tables.lines() {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (Some(local), Some(remote), Some(state)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let user = fields.nth(3);
            if listener.iter().any(|it| it == local) && state == LISTENING {
                ours = user;
            } else if peer.iter().any(|it| it == local) && listener.iter().any(|it| it == remote) {
                theirs = user;
            }
        }
        // A socket that is in no table was closed, or is not to be seen: it is nobody that waits.
        ours.is_some() && ours != theirs
    }

    const LISTENING: &str = "0A";

    /// An address as the tables have it: words of the machine's own order, alone and mapped into IPv6.
    fn written(address: SocketAddr) -> Vec<String> {
        let SocketAddr::V4(address) = address else {
            return Vec::new();
        };
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let (ip, port) = (word(address.ip().octets()), address.port());
        let (zero, mark) = (word([0; 4]), word([0, 0, 0xff, 0xff]));
        vec![
            format!("{ip}:{port:04X}"),
            format!("{zero}{zero}{mark}{ip}:{port:04X}"),
        ]
    }

    #[cfg(test)]
    mod tests {
        use tokio::net::{TcpListener, TcpStream};

        use super::*;

        #[tokio::test]
        async fn a_connection_of_this_process_is_of_this_user() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listening = listener.local_addr().unwrap();
            let stream = TcpStream::connect(listening).await.unwrap();
            let peer = stream.local_addr().unwrap();
            assert!(!super::super::is_of_another_user(peer, listening));
            // The kernel's tables, with another number for the user of this one socket.
            let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
            let own = &written(peer)[0];
            let edited: Vec<String> = table.lines().map(|line| theirs(line, own)).collect();
            assert!(is_of_another_user(&edited.join("\n"), peer, listening));
            // Mapped into IPv6 it is the same connection.
            let mapped = |text: &str| {
                let [(short, long), (from, to)] =
                    [peer, listening].map(|it| (written(it)[0].clone(), written(it)[1].clone()));
                text.replace(&short, &long).replace(&from, &to)
            };
            let moved: Vec<String> = edited
                .iter()
                .map(|line| {
                    if line.contains(own.as_str()) && !line.contains(" 0A ") {
                        mapped(line)
                    } else {
                        line.clone()
                    }
                })
                .collect();
            assert!(is_of_another_user(&moved.join("\n"), peer, listening));
            assert!(!is_of_another_user("", peer, listening));
        }

        fn theirs(line: &str, socket: &str) -> String {
            let mut fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if fields.get(1) == Some(&socket) {
                fields[7] = "4242";
            }
            fields.join(" ")
        }
    }
}
