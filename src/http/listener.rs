//! The one place where listeners are made.
//!
//! Clients that connect at the same moment wait in the kernel's queue until they are accepted. The usual length of
//! 128 (or 1024) is less than what a CI farm opens in one go; the kernel drops what does not fit, and each client
//! tries again only after one second, then three, then seven. So every listener asks for the longest queue that
//! the system allows (`net.core.somaxconn`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};

/// The kernel takes `net.core.somaxconn` for anything longer.
const LONGEST_BACKLOG: i32 = i32::MAX;

/// Listens on an address and port.
pub async fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    with_longest_backlog(TcpListener::bind(address).await?)
}

/// Listens on a Unix socket, whose file must not be there yet.
pub fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    with_longest_backlog(UnixListener::bind(path)?)
}

/// A second `listen` on the same socket changes nothing but the length of its queue.
fn with_longest_backlog<L: AsFd>(listener: L) -> io::Result<L> {
    rustix::net::listen(&listener, LONGEST_BACKLOG)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    /// More than the usual queue of 128, less than what a process may open at the least.
    const CLIENTS: usize = 300;

    /// How many of them the system lets wait: it lets one more wait than it says.
    fn clients() -> usize {
        let longest = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
        longest.and_then(|text| text.trim().parse().ok()).unwrap_or(CLIENTS).min(CLIENTS)
    }

    #[tokio::test]
    async fn clients_that_come_at_once_wait_in_the_queue() {
        let listener = listen_tcp(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        // Nobody accepts. A client that finds the queue full is not answered at all.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(30));
        let waiting: Vec<io::Result<TcpStream>> = (0..clients()).map(connect).collect();
        assert!(waiting.iter().all(Result::is_ok), "{:?}", waiting.iter().find(|one| one.is_err()));

        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        let _listener = listen_unix(&path).expect("a free path");
        let connect = |_| {
            let socket = rustix::net::socket_with(
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::STREAM,
                rustix::net::SocketFlags::NONBLOCK,
                None,
            )?;
            let address = rustix::net::SocketAddrUnix::new(&path)?;
            rustix::net::connect(&socket, &address).map(|()| UnixStream::from(socket))
        };
        let waiting: Vec<rustix::io::Result<UnixStream>> = (0..clients()).map(connect).collect();
        assert!(waiting.iter().all(Result::is_ok), "{:?}", waiting.iter().find(|one| one.is_err()));
    }
}
