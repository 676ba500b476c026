//! A secret in a file of its own: one line, never shown.
//!
//! ```text
//! head -c 32 /dev/urandom | base64 > hook.secret && chmod 600 hook.secret
//! ```
//!
//! And which modes any file with a secret may have, the log's key and the key of its certificate too:
//!
//! | mode | owner | |
//! |---|---|---|
//! | others or the group may write | any | refused: they can put another secret there |
//! | others may read | any | refused |
//! | the group may read | root | accepted: so Debian's `ssl-cert` and Kubernetes hand a secret to one service |
//! | the group may read | another user | refused: it is the user's own group by default, or everybody's |
//! | only the owner | any | accepted |

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A secret is a short line; a larger file is something else.
const MAX_BYTES: u64 = 4096;
/// Shorter ones can be guessed by trying.
const MIN_BYTES: usize = 16;

/// The bytes of a secret. They are wiped when it is dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a file holds no usable secret. No variant holds any of its bytes.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{}: {source}\n  fix: make it readable for the user that runs tallystick", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("{} has mode {mode:04o}: others can read or replace the secret\n  fix: chmod 600 '{}', and choose a new secret if it was readable for long; a group may read it only where root owns it (mode 0640)", path.display(), path.display())]
    LoosePermissions {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// It is no secret.
    #[error("{}: {why}\n  fix: put one line of at least {MIN_BYTES} random characters into it: head -c 32 /dev/urandom | base64", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong; never its content.
        why: &'static str,
    },
}

/// Whether others than its owner can read or replace a secret in this file.
pub fn is_exposed(file: &Metadata) -> bool {
    exposed(file.mode(), file.uid())
}

fn exposed(mode: u32, owner: u32) -> bool {
    let is_of_root = owner == 0;
    mode & 0o007 != 0 || mode & 0o030 != 0 || (mode & 0o040 != 0 && !is_of_root)
}

/// Whether others than its owner can replace what is in this file.
pub fn is_writable_by_others(file: &Metadata) -> bool {
    file.mode() & 0o022 != 0
}

impl Secret {
    /// Reads the one line of a file.
    pub fn read(path: &Path) -> Result<Secret, SecretError> {
        let io = |source| SecretError::Io { path: path.to_owned(), source };
        let malformed = |why| SecretError::Malformed { path: path.to_owned(), why };
        let file = File::open(path).map_err(io)?;
        // Of the file that is open, so that nobody puts another in its place between the look and the reading.
        let found = file.metadata().map_err(io)?;
        if is_exposed(&found) {
            let mode = found.mode() & 0o7777;
            return Err(SecretError::LoosePermissions { path: path.to_owned(), mode });
        }
        // Sized once: a buffer that grows would leave copies of the secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 1));
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(malformed("it is too long for a secret"));
        }
        while bytes.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            bytes.pop();
        }
        if bytes.contains(&b'\n') {
            return Err(malformed("it has more than one line"));
        }
        if bytes.len() < MIN_BYTES {
            return Err(malformed("it is too short for a secret"));
        }
        Ok(Secret(bytes))
    }

    /// The bytes, to compute with.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_group_may_read_what_root_owns_and_nothing_else() {
        const ROOT: u32 = 0;
        const OTHER: u32 = 1000;
        for (mode, of_root, of_other) in [
            (0o400, true, true),
            (0o600, true, true),
            (0o700, true, true),
            (0o440, true, false),
            (0o640, true, false),
            (0o660, false, false),
            (0o620, false, false),
            (0o650, false, false),
            (0o644, false, false),
            (0o604, false, false),
            (0o602, false, false),
            (0o601, false, false),
            (0o666, false, false),
            (0o777, false, false),
        ] {
            assert_eq!(!exposed(0o100_000 | mode, ROOT), of_root, "{mode:o} of root");
            assert_eq!(!exposed(0o100_000 | mode, OTHER), of_other, "{mode:o} of another user");
        }
    }

    #[test]
    fn a_secret_is_one_private_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hook.secret");
        let read = |text: &[u8], mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Secret::read(&path)
        };
        let secret = read(b"0123456789abcdef\n", 0o600).unwrap();
        assert_eq!(
            (secret.expose(), format!("{secret:?}")),
            (&b"0123456789abcdef"[..], "Secret(***)".to_owned())
        );
        assert_eq!(read(b"0123456789abcdef\r\n", 0o400).unwrap().expose().len(), 16);
        for mode in [0o604, 0o620, 0o602, 0o660, 0o777] {
            let error = read(b"0123456789abcdef\n", mode).unwrap_err().to_string();
            assert!(error.contains("chmod 600") && !error.contains("0123"), "{mode:o}: {error}");
        }
        for bad in [&b"short\n"[..], b"", b"0123456789abcdef\n0123456789abcdef\n", &[b'x'; 5000]] {
            let error = read(bad, 0o600).unwrap_err();
            assert!(matches!(error, SecretError::Malformed { .. }), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Secret::read(&path), Err(SecretError::Io { .. })));
    }
}
