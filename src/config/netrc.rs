//! The `netrc` of a route: logins for the hosts that serve go-import pages and repositories.
//!
//! ```text
//! machine gitlab.corp.example login ci password s3cret
//! ```
//!
//! `git` and the `go` command read the same file and disagree about its finer points, so it is
//! accepted only where both read the same: each line holds whole pairs of a word and its value, as
//! `go` wants them, and each machine has a login and a password. `default` is refused, because git
//! would send that password to any host that a go-import page names. Lines that begin with `#` and
//! macros (`macdef`, to the next empty line) are skipped.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize as _, Zeroizing};

use super::secret::is_exposed;
use crate::files;

/// A login is a short line, and a company has few Git hosts.
const MAX_BYTES: u64 = 64 << 10;

/// A netrc file that git and go read alike. Its text is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Netrc {
    text: Zeroizing<String>,
    secrets: Vec<Zeroizing<String>>,
}

/// Why a file is no usable netrc. No variant holds any of its bytes.
#[derive(Debug, thiserror::Error)]
pub enum NetrcError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("{} has mode {mode:04o}: others can read or replace its passwords", path.display())]
    LoosePermissions {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// Git and go would not read it alike, or would send a password to a host that it does not
    /// name.
    #[error("{}:{line}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The fault there; never its content.
        why: &'static str,
    },
}

impl NetrcError {
    /// Returns the remedy, as an imperative.
    pub fn fix(&self) -> String {
        match self {
            NetrcError::Io { .. } => {
                "make it readable for the user that runs tallystick, or correct the path".to_owned()
            }
            NetrcError::LoosePermissions { path, .. } => format!(
                "chmod 600 '{}', and choose new passwords if it was readable for long; a group may read it only where \
                 root owns it (mode 0640)",
                path.display()
            ),
            NetrcError::Malformed { .. } => {
                "write one line for each host: machine git.corp.example login USER password PASSWORD"
                    .to_owned()
            }
        }
    }
}

impl Netrc {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Netrc, NetrcError> {
        let io = |source| NetrcError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        // The open file is asked, so that nobody swaps it between the look and the reading.
        let found = file.metadata().map_err(io)?;
        if is_exposed(&found) {
            let mode = found.mode() & 0o7777;
            return Err(NetrcError::LoosePermissions { path: path.to_owned(), mode });
        }
        let malformed = |line, why| NetrcError::Malformed { path: path.to_owned(), line, why };
        let text = String::from_utf8(files::read(file, MAX_BYTES).map_err(io)?).map_err(|error| {
            error.into_bytes().zeroize();
            malformed(1, "it is not UTF-8 text")
        })?;
        let text = Zeroizing::new(text);
        let secrets = read_logins(&text).map_err(|(line, why)| malformed(line, why))?;
        Ok(Netrc { text, secrets })
    }

    /// The whole file, for git and go.
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }

    /// The texts that no message may show: each password, and each login with its password as HTTP
    /// sends it.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.as_str())
    }
}

impl fmt::Debug for Netrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Netrc(***)")
    }
}

/// A line, from 1, and what is wrong there.
type Fault = (usize, &'static str);

/// A machine, as far as it is read.
#[derive(Default)]
struct Login<'t> {
    line: usize,
    user: Option<&'t str>,
    password: Option<&'t str>,
}

impl<'t> Login<'t> {
    /// Adds the secrets of a machine that is complete.
    fn finish(self, secrets: &mut Vec<Zeroizing<String>>) -> Result<(), Fault> {
        let (Some(user), Some(password)) = (self.user, self.password) else {
            return Err((self.line, "this machine has no login or no password"));
        };
        let pair = Zeroizing::new(format!("{user}:{password}"));
        secrets.push(Zeroizing::new(STANDARD.encode(pair.as_bytes())));
        secrets.push(Zeroizing::new(password.to_owned()));
        Ok(())
    }
}

/// Checks every line, and returns the secrets.
fn read_logins(text: &str) -> Result<Vec<Zeroizing<String>>, Fault> {
    let (mut secrets, mut login, mut is_macro) = (Vec::new(), None::<Login<'_>>, false);
    for (line, words) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if is_macro || words.trim_start().starts_with('#') {
            is_macro &= !words.is_empty();
            continue;
        }
        let mut words = words.split_whitespace();
        while let Some(word) = words.next() {
            if word == "default" {
                return Err((
                    line,
                    "`default` would send its password to every host that a module's page names",
                ));
            }
            let Some(value) = words.next() else {
                return Err((line, "a word has no value on the same line"));
            };
            if value.starts_with('"') {
                return Err((line, "a value begins with a quotation mark, which go would send along"));
            }
            match (word, &mut login) {
                ("machine", _) => {
                    let next = Login { line, ..Login::default() };
                    login.replace(next).map_or(Ok(()), |login| login.finish(&mut secrets))?;
                }
                ("macdef", _) => is_macro = true,
                ("login", Some(login)) if login.user.is_none() => login.user = Some(value),
                ("password", Some(login)) if login.password.is_none() => login.password = Some(value),
                ("account", Some(_)) => secrets.push(Zeroizing::new(value.to_owned())),
                _ => {
                    return Err((
                        line,
                        "a word is none of machine, login, password, account and macdef, or stands twice or before its machine",
                    ));
                }
            }
        }
    }
    login.ok_or((1, "it names no machine"))?.finish(&mut secrets)?;
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_git_and_go_read_alike_is_accepted() {
        let text = "# machine old.example login x password y\n\nmachine a.example login ci password s3cret\n\
                    machine b.example\n\tlogin u\n\tpassword p:w\nmacdef init\nmachine is no word here\n\nmachine c.example login v account z password w";
        let secrets = read_logins(text).unwrap();
        let secrets: Vec<&str> = secrets.iter().map(|secret| secret.as_str()).collect();
        // printf ci:s3cret | base64
        assert_eq!(secrets, ["Y2k6czNjcmV0", "s3cret", "dTpwOnc=", "p:w", "z", "djp3", "w"]);
    }

    #[test]
    fn what_they_read_differently_is_refused_with_its_line_and_without_its_words() {
        let good = "machine a.example login ci password s3cret\n";
        for (line, text) in [
            (1, String::new()),
            (1, "machine a.example login ci\n".to_owned()),
            (2, format!("{good}machine b.example password s3cret")),
            (2, format!("{good}default login ci password s3cret")),
            (2, format!("{good}machine b.example login ci password")),
            (1, "machine\na.example login ci password s3cret".to_owned()),
            (1, "machine a.example login ci pasword s3cret".to_owned()),
            (1, "login ci password s3cret".to_owned()),
            (1, "machine a.example login ci password \"s3cret\"".to_owned()),
            (2, format!("{good}password s3cret")),
        ] {
            let Err((found, why)) = read_logins(&text) else { panic!("accepted: {text}") };
            assert_eq!(found, line, "{text}: {why}");
            assert!(!why.contains("s3cret"), "{why}");
        }
    }

    #[test]
    fn the_file_is_private_and_short() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netrc");
        let read = |text: &[u8], mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Netrc::read(&path)
        };
        let good = b"machine a.example login ci password s3cret\n";
        let netrc = read(good, 0o600).unwrap();
        assert_eq!(netrc.expose().as_bytes(), good);
        assert_eq!(format!("{netrc:?}"), "Netrc(***)");
        for mode in [0o604, 0o620, 0o666] {
            let error = read(good, mode).unwrap_err();
            assert!(matches!(error, NetrcError::LoosePermissions { .. }), "{error}");
            assert!(error.fix().contains("chmod 600") && !error.to_string().contains("s3cret"), "{error}");
        }
        for bad in [&[0xff, 0xfe][..], &vec![b'#'; 100_000]] {
            assert!(read(bad, 0o600).is_err());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Netrc::read(&path), Err(NetrcError::Io { .. })));
    }
}
