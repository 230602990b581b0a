//! A place that connections are tried to, and never made.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// An address whose SYNs are dropped: its queue of connections is full, and nobody accepts any.
pub struct BlackHole {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BlackHole {
    /// Opens one.
    pub fn open() -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, start) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            super::runtime().block_on(async move {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
                let listener = socket.listen(0).unwrap();
                let address = listener.local_addr().unwrap();
                let mut queued = Vec::new();
                // The queue holds one or two more than it was asked to.
                while let Ok(Ok(stream)) = timeout(FULL_AFTER, TcpStream::connect(address)).await {
                    queued.push(stream);
                }
                started.send(address).unwrap();
                let _ = stopped.await;
            });
        });
        Self {
            address: start.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Returns the host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// On loopback a connection that is made at all is made at once.
const FULL_AFTER: Duration = Duration::from_millis(50);
