//! The one place where listeners are made.
//!
//! Clients that connect at the same moment wait in the kernel's queue until they are accepted. The usual length of
//! 128 (or 1024) is less than what a CI farm opens in one go; the kernel drops what does not fit, and each client
//! tries again only after one second, then three, then seven. So every listener asks for the longest queue that
//! the system allows (`net.core.somaxconn`).
//!
//! What an operator writes may stand for several addresses ([`ListenAddress`]): then there is a listener for each, and
//! [`Listeners`] accepts from all of them. An address that this machine does not have, as `::1` in many containers, is
//! left out where others of the same name are there.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};

use crate::config::ListenAddress;

/// The kernel takes `net.core.somaxconn` for anything longer.
const LONGEST_BACKLOG: i32 = i32::MAX;

/// Ports below this one are for privileged programs.
const FIRST_FREE_PORT: u16 = 1024;

/// Why nobody can listen at an address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The name has no address.
    #[error("cannot listen on {address}: the name cannot be resolved: {source}\n  fix: write an address of this machine, \
             or :{} for all of them", address.port())]
    Unresolved {
        /// What was written.
        address: ListenAddress,
        /// What the resolver said.
        source: io::Error,
    },
    /// The address is another machine's.
    #[error("cannot listen on {address}: {ip} is no address of this machine\n  fix: write one that it has (`ip address` \
             lists them), or :{} for all of them", address.port())]
    Elsewhere {
        /// What was written.
        address: ListenAddress,
        /// The address that was tried.
        ip: IpAddr,
    },
    /// The port is for privileged programs.
    #[error("cannot listen on {address}: only a privileged program may use the port {}\n  fix: choose a port from 1024 on, \
             or let the service have it (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)", address.port())]
    Privileged {
        /// What was written.
        address: ListenAddress,
    },
    /// Another program has the port, or the system refuses for another reason.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// What was written.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
}

impl ListenError {
    fn new(address: &ListenAddress, at: SocketAddr, source: io::Error) -> ListenError {
        let address = address.clone();
        match source.kind() {
            ErrorKind::AddrNotAvailable => ListenError::Elsewhere { address, ip: at.ip() },
            ErrorKind::PermissionDenied if at.port() < FIRST_FREE_PORT => ListenError::Privileged { address },
            _ => ListenError::Refused { address, source },
        }
    }

    /// Whether another program has the port.
    pub fn is_taken(&self) -> bool {
        matches!(self, ListenError::Refused { source, .. } if source.kind() == ErrorKind::AddrInUse)
    }
}

/// Listeners of one door; at least one.
#[derive(Debug)]
pub struct Listeners {
    all: Vec<TcpListener>,
    /// Where the next look begins, so that none of them waits for another.
    next: AtomicUsize,
}

impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Listeners {
        Listeners { all: vec![listener], next: AtomicUsize::new(0) }
    }
}

/// The addresses that were bound, with commas between.
impl fmt::Display for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
        let all: Vec<String> = self.all.iter().filter_map(|listener| bound(listener).ok()).collect();
        f.write_str(&all.join(", "))
    }
}

impl Listeners {
    /// Listens everywhere that `address` stands for.
    pub async fn bind(address: &ListenAddress) -> Result<Listeners, ListenError> {
        let mut port = address.port();
        let mut all: Vec<TcpListener> = Vec::new();
        let mut missing = None;
        for mut at in resolve(address)? {
            at.set_port(port);
            let is_every = matches!(address, ListenAddress::Every { .. });
            let bound = if is_every { listen_everywhere(port).await } else { listen_tcp(at).await };
            match bound {
                Ok(listener) => {
                    // All addresses of a name have one port, also where the system chooses it.
                    port = listener.local_addr().map_or(port, |bound| bound.port());
                    all.push(listener);
                }
                Err(source) => match ListenError::new(address, at, source) {
                    error @ ListenError::Elsewhere { .. } => missing = Some(error),
                    error => return Err(error),
                },
            }
        }
        match missing {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(Listeners { all, next: AtomicUsize::new(0) }),
        }
    }

    /// The port, the same on every address.
    pub fn port(&self) -> u16 {
        self.all.iter().find_map(|listener| listener.local_addr().ok()).map_or(0, |address| address.port())
    }

    /// Waits for a connection to any of them.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        poll_fn(|context| {
            for n in 0..self.all.len() {
                let listener = &self.all[(first.wrapping_add(n)) % self.all.len()];
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Checks without listening whether this machine has such an address and may use such a port. A
/// port that another program has is no error here: it may be that of the server that runs.
pub fn check_address(address: &ListenAddress) -> Result<(), ListenError> {
    let mut missing = None;
    let mut is_there = false;
    for mut at in resolve(address)? {
        if at.port() >= FIRST_FREE_PORT {
            at.set_port(0);
        }
        match std::net::TcpListener::bind(at) {
            Ok(_) => is_there = true,
            Err(source) if source.kind() == ErrorKind::AddrInUse => is_there = true,
            Err(source) => match ListenError::new(address, at, source) {
                error @ ListenError::Elsewhere { .. } => missing = Some(error),
                error => return Err(error),
            },
        }
    }
    missing.filter(|_| !is_there).map_or(Ok(()), Err)
}

/// The addresses that an operator's words stand for, each once; at least one.
fn resolve(address: &ListenAddress) -> Result<Vec<SocketAddr>, ListenError> {
    let (host, port) = match address {
        ListenAddress::Every { port } => return Ok(vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port))]),
        ListenAddress::One(one) => return Ok(vec![*one]),
        ListenAddress::Named { host, port } => (host.as_str(), *port),
    };
    let unresolved = |source| ListenError::Unresolved { address: address.clone(), source };
    let mut all: Vec<SocketAddr> = Vec::new();
    for found in (host, port).to_socket_addrs().map_err(unresolved)? {
        if !all.contains(&found) {
            all.push(found);
        }
    }
    if all.is_empty() {
        return Err(unresolved(io::Error::new(ErrorKind::NotFound, "it has no address")));
    }
    Ok(all)
}

/// Listens on every address of the machine, IPv4 and IPv6, whatever `net.ipv6.bindv6only` says; on
/// IPv4 alone where there is no IPv6.
async fn listen_everywhere(port: u16) -> io::Result<TcpListener> {
    let both = || {
        let socket = TcpSocket::new_v6()?;
        set_ipv6_v6only(&socket, false)?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
        socket.listen(LONGEST_BACKLOG.unsigned_abs())
    };
    match both() {
        Err(error) if has_no_ipv6(&error) => listen_tcp((Ipv4Addr::UNSPECIFIED, port).into()).await,
        bound => bound,
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.raw_os_error() == Some(unsupported) || error.kind() == ErrorKind::AddrNotAvailable
}

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
    async fn a_door_may_have_several_addresses_and_all_of_them_accept() {
        let every = Listeners::bind(&":0".parse().expect("an address")).await.expect("a free port");
        let named = Listeners::bind(&"localhost:0".parse().expect("a name")).await.expect("a free port");
        assert!(every.port() != 0 && named.to_string().contains(&format!("127.0.0.1:{}", named.port())));
        for (listeners, ip) in [
            (&every, IpAddr::from(Ipv4Addr::LOCALHOST)),
            (&every, Ipv6Addr::LOCALHOST.into()),
            (&named, Ipv4Addr::LOCALHOST.into()),
            (&named, Ipv6Addr::LOCALHOST.into()),
        ] {
            let has_it = std::net::TcpListener::bind((ip, 0)).is_ok();
            let names_it = |name: &str| {
                let mut found = (name, 0).to_socket_addrs().expect("a name of this machine");
                found.any(|address| address.ip() == ip)
            };
            if !has_it || (std::ptr::eq(listeners, &named) && !names_it("localhost")) {
                eprintln!("SKIPPED in part: this machine has no {ip}, or its localhost has not");
                continue;
            }
            let connected = TcpStream::connect((ip, listeners.port()));
            let _client = connected.unwrap_or_else(|error| panic!("{ip}: {error}"));
            let (_, peer) = listeners.accept().await.expect("a connection");
            assert_eq!(peer.ip().to_canonical(), ip);
        }
    }

    #[test]
    fn an_address_of_another_machine_is_named_before_anybody_listens() {
        // TEST-NET-1: no machine has it.
        let elsewhere = "192.0.2.1:8470".parse().expect("an address");
        let error = check_address(&elsewhere).expect_err("it is not ours");
        assert!(matches!(error, ListenError::Elsewhere { .. }), "{error}");
        let nobody = "name.invalid:8470".parse().expect("a name");
        let error = check_address(&nobody).expect_err("it does not exist");
        assert!(matches!(error, ListenError::Unresolved { .. }), "{error}");
        for fine in [":0", "127.0.0.1:0", "localhost:0"] {
            check_address(&fine.parse().expect(fine)).expect(fine);
        }
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
