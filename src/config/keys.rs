//! The log's key on disk, and a witness's.
//!
//! ```text
//! <data>/keys/                                   mode 0700
//!     sum.corp.example+1c2d3e4f.skey             mode 0600: PRIVATE+KEY+sum.corp.example+1c2d3e4f+… and a newline
//!     sum.corp.example+1c2d3e4f.vkey             mode 0644: sum.corp.example+1c2d3e4f+… and a newline
//! ```
//! The file name is the key's name and its ID, where what is not a letter, a digit, `-`, `_` or an inner `.` is written
//! `%XX` (so `tallystick.local/ab12cd34` becomes `tallystick.local%2Fab12cd34`): it can never leave the directory.
//!
//! A file appears whole or not at all, and is never overwritten: written under another name, synced, linked to its own
//! name, and the directory synced. The secret file comes first, because the public one can be made from it; whoever
//! finds it missing makes it again. `keys/` is locked meanwhile, so that two first starts make one key.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::secret::is_exposed;
use crate::note::{CosignatureSigner, CosignatureVerifier, KeyId, KeyName, SignerKey, VerifierKey};
use crate::visible;

/// A key is one short line; a larger file is something else.
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// A rotation has two keys, and old ones may stay; more files than this are not a key directory.
const MAX_KEY_FILES: usize = 64;

/// File names end at 255 bytes, and `+`, eight digits, `.skey` and the temporary name need their share.
const MAX_FILE_STEM_BYTES: usize = 200;

/// What can be wrong with the key files. No variant holds key bytes.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file or directory cannot be read or written.
    #[error("{}: {source}\n  fix: make it accessible to the user that runs tallystick, or choose another --data", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read or write the secret key.
    #[error(
        "{} has mode {mode:04o}: others can read or replace the log's signing key\n  fix: chmod 600 '{}' (and if it was readable for long, make a new log with a new key)",
        path.display(), path.display()
    )]
    LoosePermissions {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error("{}: {why}\n  fix: put the right key file back from your backup; without it the log cannot sign", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong; never its content.
        why: String,
    },
    /// The public file beside a secret one holds another key: clients would be told a key that never signs.
    #[error("{} is not the verifier key of the secret key beside it\n  fix: remove it; it is made again at the next start", path.display())]
    Mismatch {
        /// The public file.
        path: PathBuf,
    },
    /// The key on disk has another name than the one that was asked for.
    #[error(
        "the name is \"{wanted}\", but the key in {} is that of \"{found}\"; a log's name is part of its key and cannot change\n  fix: leave the name out or set it to \"{found}\", or choose another --data for a new log", directory.display()
    )]
    NameDiffers {
        /// `--name` or `name`.
        wanted: String,
        /// The key's.
        found: String,
        /// The directory of the keys.
        directory: PathBuf,
    },
    /// Several keys, and nothing says which.
    #[error("{} holds {count} keys\n  fix: leave only the log's key there; move the others away", directory.display())]
    Several {
        /// The directory of the keys.
        directory: PathBuf,
        /// How many would do.
        count: usize,
    },
    /// `key new` where there is a key.
    #[error(
        "there is already a key: {}; a key is never overwritten\n  fix: use it (tallystick key show), or choose another --data for a new log", path.display()
    )]
    Exists {
        /// Its file.
        path: PathBuf,
    },
    /// There is no key where one is needed.
    #[error("there is no key in {}\n  fix: name the right directory with --data, or the configuration with --config or TALLYSTICK_CONFIG; a new log's key is made by `tallystick serve`, a lost one comes from your backup", directory.display())]
    Missing {
        /// The directory of the keys.
        directory: PathBuf,
    },
    /// Not a name that a key can have.
    #[error(
        "\"{}\" cannot be the name of a log: {why}\n  fix: use the host name of the server, as in sum.corp.example",
        visible::escape_line(.name)
    )]
    BadName {
        /// The name.
        name: String,
        /// Why.
        why: String,
    },
    /// The operating system gives no random bytes.
    #[error(
        "no random bytes from the operating system: {why}\n  fix: see that getrandom works here (an old kernel or a sandbox may refuse it)"
    )]
    NoRandomness {
        /// Its words.
        why: String,
    },
}

/// A key with its public side: a log's, or a witness's.
trait Pair: FromStr<Err: fmt::Display> + Sized {
    type Public: fmt::Display;

    fn generate(name: KeyName, seed: [u8; 32]) -> Self;
    fn name(&self) -> &KeyName;
    fn id(&self) -> KeyId;
    fn verifier(&self) -> Self::Public;
    fn to_skey(&self) -> Zeroizing<String>;
}

macro_rules! pair {
    ($signer:ty, $public:ty) => {
        impl Pair for $signer {
            type Public = $public;

            fn generate(name: KeyName, seed: [u8; 32]) -> Self {
                <$signer>::generate(name, seed)
            }
            fn name(&self) -> &KeyName {
                self.name()
            }
            fn id(&self) -> KeyId {
                self.id()
            }
            fn verifier(&self) -> $public {
                self.verifier()
            }
            fn to_skey(&self) -> Zeroizing<String> {
                self.to_skey()
            }
        }
    };
}
pair!(SignerKey, VerifierKey);
pair!(CosignatureSigner, CosignatureVerifier);

/// Where the keys of a data directory are.
pub fn directory(data: &Path) -> PathBuf {
    data.join("keys")
}

/// SHA-256 of the verifier key's text as 16 groups of 4 hexadecimal digits, to be compared by eye or on the phone.
pub fn fingerprint(key: &impl fmt::Display) -> String {
    let digest = Sha256::digest(key.to_string().as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    grouped(&digits)
}

/// Returns digits in groups of four, as people compare them.
pub(crate) fn grouped(digits: &str) -> String {
    let groups: Vec<&str> =
        digits.as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

/// The log's signing key; none if there is no key yet. `name`, where given, must be the key's.
pub fn load(data: &Path, name: Option<&str>) -> Result<Option<SignerKey>, KeyFileError> {
    load_pair(data, name)
}

/// A witness's key; none if there is no key yet. `name`, where given, must be the key's.
pub fn load_cosigner(data: &Path, name: Option<&str>) -> Result<Option<CosignatureSigner>, KeyFileError> {
    load_pair(data, name)
}

fn load_pair<P: Pair>(data: &Path, name: Option<&str>) -> Result<Option<P>, KeyFileError> {
    let directory = directory(data);
    let mut keys = Vec::new();
    for path in files(&directory, "skey")? {
        keys.push((path.clone(), read_signer(&path)?));
    }
    let Some((path, key)) = choose(keys, name, &directory, |key: &P| key.name().as_str().to_owned())? else {
        return Ok(None);
    };
    complete(&path, &key.verifier())?;
    Ok(Some(key))
}

/// The log's public key and its file, without touching the secret one: for `env` and `key show` by users who may not read that.
pub fn load_verifier(data: &Path, name: Option<&str>) -> Result<(PathBuf, VerifierKey), KeyFileError> {
    let directory = directory(data);
    let mut keys = Vec::new();
    for path in files(&directory, "vkey")? {
        let key = parse(&path, &read(&path)?)?;
        keys.push((path, key));
    }
    if keys.is_empty() {
        // Stopped between the two files: loading the secret one makes the public one.
        let key = load(data, name)?.ok_or(KeyFileError::Missing { directory: directory.clone() })?.verifier();
        keys.push((key_path(&directory, key.name(), key.id(), "vkey"), key));
    }
    let chosen = choose(keys, name, &directory, |key: &VerifierKey| key.name().as_str().to_owned())?;
    chosen.ok_or(KeyFileError::Missing { directory })
}

/// Makes the log's key; refused where there is any. Without a name it gets `tallystick.local/<8 hex>`, the digits from
/// the key itself: so no two trial logs share a name, and throwing one away never looks like a fork to a client.
///
/// `before` is called with its public side before the key gets its place.
pub fn create(
    data: &Path,
    name: Option<&str>,
    before: impl FnOnce(&VerifierKey) -> io::Result<()>,
) -> Result<SignerKey, KeyFileError> {
    create_pair(data, name, before)
}

/// Makes a witness's key; refused where there is any key.
pub fn create_cosigner(data: &Path, name: Option<&str>) -> Result<CosignatureSigner, KeyFileError> {
    create_pair(data, name, |_| Ok(()))
}

/// The log's key, made now if there is none; true with it when it is new. `before` as in [`create`].
pub fn load_or_create(
    data: &Path,
    name: Option<&str>,
    before: impl FnOnce(&VerifierKey) -> io::Result<()>,
) -> Result<(SignerKey, bool), KeyFileError> {
    let _lock = lock(data)?;
    match load(data, name)? {
        Some(key) => Ok((key, false)),
        None => Ok((generate(data, name, before)?, true)),
    }
}

fn create_pair<P: Pair>(
    data: &Path,
    name: Option<&str>,
    before: impl FnOnce(&P::Public) -> io::Result<()>,
) -> Result<P, KeyFileError> {
    let _lock = lock(data)?;
    if let Some(path) = files(&directory(data), "skey")?.into_iter().next() {
        return Err(KeyFileError::Exists { path });
    }
    generate(data, name, before)
}

fn generate<P: Pair>(
    data: &Path,
    name: Option<&str>,
    before: impl FnOnce(&P::Public) -> io::Result<()>,
) -> Result<P, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| KeyFileError::NoRandomness { why: error.to_string() })?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => default_name(&seed),
    };
    let parsed = match name.parse::<KeyName>() {
        Ok(_) if encode(&name).len() > MAX_FILE_STEM_BYTES => {
            Err("it is too long for a file name".to_owned())
        }
        // A name stands beside the fingerprint that people compare. Keys that have such a name already still sign and verify.
        Ok(_) if !name.chars().all(visible::is_plain) => {
            Err("it has characters that are not seen, or that a terminal obeys".to_owned())
        }
        Ok(parsed) => Ok(parsed),
        Err(error) => Err(error.to_string()),
    };
    let key = P::generate(parsed.map_err(|why| KeyFileError::BadName { name, why })?, *seed);
    let verifier = key.verifier();
    before(&verifier).map_err(io_error(data))?;
    let path = key_path(&directory(data), key.name(), key.id(), "skey");
    place(&path, &[key.to_skey().as_bytes(), b"\n"], 0o600)?;
    // If we stop here, the next load makes the public file.
    complete(&path, &verifier)?;
    Ok(key)
}

/// `tallystick.local/` and the first 8 hexadecimal digits of the public key's SHA-256.
fn default_name(seed: &[u8; 32]) -> String {
    let nameless = "tallystick.local".parse().expect("a host name is a key name");
    let digest = Sha256::digest(SignerKey::generate(nameless, *seed).verifier().public_bytes());
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("tallystick.local/{digits}")
}

/// Makes the public file beside `skey` if it is missing, and refuses one that holds another key.
fn complete(skey: &Path, verifier: &impl fmt::Display) -> Result<(), KeyFileError> {
    let path = skey.with_extension("vkey");
    match read(&path) {
        Ok(text) if text.trim_end() == verifier.to_string() => Ok(()),
        Ok(_) => Err(KeyFileError::Mismatch { path }),
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            match place(&path, &[verifier.to_string().as_bytes(), b"\n"], 0o644) {
                // Another process was faster, with the same bytes.
                Err(KeyFileError::Exists { .. }) => Ok(()),
                other => other,
            }
        }
        Err(error) => Err(error),
    }
}

/// The only key, or the only one of that name.
fn choose<K>(
    mut keys: Vec<(PathBuf, K)>,
    wanted: Option<&str>,
    directory: &Path,
    name_of: impl Fn(&K) -> String,
) -> Result<Option<(PathBuf, K)>, KeyFileError> {
    let first = keys.first().map(|(_, key)| name_of(key));
    if let Some(wanted) = wanted {
        keys.retain(|(_, key)| name_of(key) == wanted);
    }
    match (keys.len(), first, wanted) {
        (0, Some(found), Some(wanted)) => Err(KeyFileError::NameDiffers {
            wanted: wanted.to_owned(),
            found,
            directory: directory.to_owned(),
        }),
        (0 | 1, ..) => Ok(keys.pop()),
        (count, ..) => Err(KeyFileError::Several { directory: directory.to_owned(), count }),
    }
}

/// The files with this extension, sorted; none where the directory does not exist.
fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, KeyFileError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error(directory))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(io_error(directory))?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    if paths.len() > MAX_KEY_FILES {
        return Err(KeyFileError::Several { directory: directory.to_owned(), count: paths.len() });
    }
    paths.sort();
    Ok(paths)
}

fn read_signer<P: Pair>(path: &Path) -> Result<P, KeyFileError> {
    let found = fs::metadata(path).map_err(io_error(path))?;
    if is_exposed(&found) {
        let mode = found.permissions().mode() & 0o7777;
        return Err(KeyFileError::LoosePermissions { path: path.to_owned(), mode });
    }
    parse(path, &read(path)?)
}

fn parse<K: std::str::FromStr<Err: std::fmt::Display>>(path: &Path, text: &str) -> Result<K, KeyFileError> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.parse()
        .map_err(|error: K::Err| KeyFileError::Malformed { path: path.to_owned(), why: error.to_string() })
}

fn read(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    // Sized once: a string that grows would leave copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES as usize + 1));
    let file = File::open(path).map_err(io_error(path))?;
    file.take(MAX_KEY_FILE_BYTES + 1).read_to_string(&mut text).map_err(io_error(path))?;
    if text.len() as u64 > MAX_KEY_FILE_BYTES {
        let why = format!("it is longer than {MAX_KEY_FILE_BYTES} bytes");
        return Err(KeyFileError::Malformed { path: path.to_owned(), why });
    }
    Ok(text)
}

/// Creates the file with all its bytes, or nothing; an existing one stays as it is.
fn place(path: &Path, parts: &[&[u8]], mode: u32) -> Result<(), KeyFileError> {
    let directory = path.parent().expect("key files are in the keys directory");
    let mut file =
        tempfile::Builder::new().prefix(".new-").tempfile_in(directory).map_err(io_error(directory))?;
    // In parts, so that no copy of the secret is made just to end it with a newline.
    let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| {
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()
    });
    written.map_err(io_error(path))?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => KeyFileError::Io { path: path.to_owned(), source: error.error },
    })?;
    sync_directory(directory)
}

/// Makes the directories, and holds the lock on `keys/` until dropped.
fn lock(data: &Path) -> Result<File, KeyFileError> {
    let path = directory(data);
    DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io_error(&path))?;
    sync_directory(data)?;
    let handle = File::open(&path).map_err(io_error(&path))?;
    rustix::fs::flock(&handle, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| KeyFileError::Io { path, source: error.into() })?;
    Ok(handle)
}

fn sync_directory(path: &Path) -> Result<(), KeyFileError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path, source }
}

fn key_path(directory: &Path, name: &KeyName, id: KeyId, extension: &str) -> PathBuf {
    directory.join(format!("{}+{id}.{extension}", encode(name.as_str())))
}

/// A name as part of a file name.
fn encode(name: &str) -> String {
    let plain =
        |i: usize, byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && i > 0);
    name.bytes()
        .enumerate()
        .map(|(i, byte)| if plain(i, byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_directory() {
        let table = [
            ("sum.corp.example", "sum.corp.example"),
            ("tallystick.local/ab12cd34", "tallystick.local%2Fab12cd34"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("a%b", "a%25b"),
            ("é", "%C3%A9"),
        ];
        for (name, want) in table {
            assert_eq!(encode(name), want);
        }
    }

    /// The public key and digest are those of RFC 8032, 7.1, test 1, hashed by coreutils' sha256sum.
    #[test]
    fn the_default_name_comes_from_the_public_key() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        assert_eq!(default_name(&seed), "tallystick.local/21fe31df");
    }
}
