//! The socket's file: made where nobody can be earlier, replaced only by the holder of the log's
//! lock.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use crate::http::listener::listen_unix;

/// The socket's name in the data directory.
pub(super) const SOCKET_FILE: &str = "control.sock";
/// A socket's path must be shorter than this, with the zero at its end; longer ones take a detour.
const MAX_SOCKET_PATH_BYTES: usize = 108;
/// The pause after a failed accept, as when descriptors run out: long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The listening socket. Its file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens in the data directory `data`. Call it only while holding the log's lock: the file
    /// that may lie there was left by a process that was killed, and is replaced.
    pub(crate) fn bind(data: &Path) -> io::Result<Socket> {
        let path = data.join(SOCKET_FILE);
        // Made in a directory that only we may enter, and moved when its mode is right: so nobody
        // else can ever connect.
        let private = tempfile::Builder::new()
            .prefix(".control-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(data)?;
        let made = private.path().join("s");
        let listener = via(private.path(), "s", listen_unix)?;
        fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
        fs::rename(&made, &path)?;
        Ok(Socket { listener, path })
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept commands; trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The next server replaces it anyway.
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the server of the data directory; `None` when no server listens.
pub(super) async fn connect(data: &Path) -> io::Result<Option<UnixStream>> {
    let connected = match via(data, SOCKET_FILE, |path| std::os::unix::net::UnixStream::connect(path)) {
        Ok(stream) => stream,
        // Refused: the file was left by a process that was killed.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    connected.set_nonblocking(true)?;
    UnixStream::from_std(connected).map(Some)
}

/// Uses the socket `file` of `directory` by a path that is short enough: through the open directory
/// if need be.
fn via<T>(directory: &Path, file: &str, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = directory.join(file);
    if path.as_os_str().len() < MAX_SOCKET_PATH_BYTES {
        return act(&path);
    }
    let directory = fs::File::open(directory)?;
    act(&PathBuf::from(format!("/proc/self/fd/{}/{file}", directory.as_raw_fd())))
}
