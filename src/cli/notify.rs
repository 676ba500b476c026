//! systemd's notify protocol: what the service manager is told of a server's life.
//!
//! A datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names, a path or, after `@`,
//! a name in the abstract namespace (sd_notify(3)):
//!
//! ```text
//! READY=1                                 it listens, the log is open
//! RELOADING=1, MONOTONIC_USEC=…           a reload begins; READY=1 ends it, done or refused
//! STOPPING=1                              it ends
//! STATUS=…                                a line for `systemctl status`
//! ```
//!
//! Without the variable nobody is told anything. What cannot be sent is logged and changes nothing:
//! a service manager that went away must not end the server.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use crate::clock::kernel_monotonic;

/// The variable that names the socket.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The way to the service manager, where there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<OsString>,
}

impl ServiceManager {
    /// The one that has started this process.
    pub(super) fn of_process() -> ServiceManager {
        ServiceManager { socket: std::env::var_os(NOTIFY_SOCKET).filter(|name| !name.is_empty()) }
    }

    /// The server answers from now on.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// A reload begins.
    pub(super) fn reloading(&self) {
        let now = kernel_monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading the configuration"));
    }

    /// The server ends.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    fn tell(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, text.as_bytes()) {
            tracing::warn!(%error, socket = %socket.display(), "the service manager cannot be told");
        }
    }
}

/// A status is one line: a line break would begin another variable.
fn line(status: &str) -> String {
    status.replace(char::is_control, " ")
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(Path::new(socket))?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read its socket must not hold the server up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_socket_are_told_and_a_missing_one_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let name = format!("tallystick-test-{}", std::process::id());
        let sockets = [
            (UnixDatagram::bind(&path).expect("a free path"), path.clone().into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a short name"))
                    .expect("a free name"),
                format!("@{name}").into(),
            ),
        ];
        for (socket, name) in sockets {
            ServiceManager { socket: Some(name) }.ready("1 record\nERRNO=5");
            let mut message = [0; 256];
            let length = socket.recv(&mut message).expect("a datagram");
            assert_eq!(&message[..length], b"READY=1\nSTATUS=1 record ERRNO=5");
        }
        ServiceManager { socket: Some(directory.path().join("nobody").into_os_string()) }.stopping("end");
        ServiceManager::default().ready("nobody listens");
    }
}
