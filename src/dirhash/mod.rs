//! The `h1:` hash of a set of files: what a go.sum line says about a module's zip or its go.mod.
//!
//! It is SHA-256 over one line a file, `<hex SHA-256 of the content>  <name>\n`, sorted by name, in standard base64
//! after `h1:` ([`golang.org/x/mod/sumdb/dirhash`](https://pkg.go.dev/golang.org/x/mod/sumdb/dirhash)), as by
//! `sha256sum $(find . -type f | sort) | sha256sum`. In a module's zip every name is `<path>@<version>/<file>`; the
//! go.mod hash is over the single name `go.mod`:
//!
//! ```
//! use tallystick::dirhash::hash_go_mod;
//! // One line: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  go.mod\n"
//! assert_eq!(hash_go_mod(b"").to_string(), "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=");
//! ```

mod archive;
mod entry;
mod letters;
mod limits;
mod names;
mod read_at;
mod zip;

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

pub use self::limits::{ZipError, ZipLimits};
pub use self::read_at::ReadAt;
pub use self::zip::{HashedZip, ZipFiles, hash_zip, hash_zip_files};

/// An `h1:` hash. Prints as `h1:<base64>`, and parses only what prints back to itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct H1([u8; 32]);

/// The text is not `h1:` and the canonical base64 of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a hash of the form h1:<base64 of 32 bytes>")]
pub struct H1Error;

/// Why a set of files has no hash.
#[derive(Debug, thiserror::Error)]
pub enum DirhashError {
    /// A name holds a newline, so its line would not be one line.
    #[error("file name {name:?} holds a newline")]
    NewlineInName {
        /// The name.
        name: String,
    },
    /// The same name twice. x/mod hashes both; no directory or sound zip has it.
    #[error("file name {name:?} occurs twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A file could not be read.
    #[error("cannot read {name:?}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl H1 {
    /// Bytes of its text form.
    pub const LEN: usize = 47;

    /// The hash with these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> H1 {
        H1(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Appends `h1:<base64>`.
    pub fn push_text(&self, text: &mut String) {
        let mut base64 = [0; 44];
        STANDARD.encode_slice(self.0, &mut base64).expect("32 bytes are 44 characters");
        text.push_str("h1:");
        text.push_str(std::str::from_utf8(&base64).expect("base64 is ASCII"));
    }
}

impl fmt::Display for H1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(47);
        self.push_text(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for H1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for H1 {
    type Err = H1Error;

    fn from_str(text: &str) -> Result<H1, H1Error> {
        // STANDARD requires the padding and refuses trailing bits that are not zero: one spelling a hash.
        // A mirror does this millions of times, so without an allocation; 33 bytes are what 44 characters may stand for.
        let (base64, mut bytes) = (text.strip_prefix("h1:").ok_or(H1Error)?, [0; 33]);
        match STANDARD.decode_slice(base64, &mut bytes) {
            Ok(32) => Ok(H1(*bytes.first_chunk().expect("33 bytes begin with 32"))),
            _ => Err(H1Error),
        }
    }
}

/// The hash of a go.mod: the hash of a directory that holds only it.
pub fn hash_go_mod(go_mod: &[u8]) -> H1 {
    summarize(&[("go.mod".as_bytes(), Sha256::digest(go_mod).into())])
}

/// The hash of files by name, in whatever order they come. Each reader is read to its end before the next is taken,
/// so an iterator that opens files as it goes holds one open at a time.
pub fn hash_files<R: Read>(files: impl IntoIterator<Item = (String, R)>) -> Result<H1, DirhashError> {
    let mut lines: Vec<(String, [u8; 32])> = Vec::new();
    for (name, reader) in files {
        if name.contains('\n') {
            return Err(DirhashError::NewlineInName { name });
        }
        match hash_reader(reader) {
            Ok(digest) => lines.push((name, digest)),
            Err(source) => return Err(DirhashError::Read { name, source }),
        }
    }
    lines.sort_unstable();
    if let Some(pair) = lines.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(DirhashError::DuplicateName { name: pair[0].0.clone() });
    }
    let lines: Vec<_> = lines.iter().map(|(name, digest)| (name.as_bytes(), *digest)).collect();
    Ok(summarize(&lines))
}

/// The hash of a directory, given its files by their slash-separated names relative to it. The names in the hash
/// are `<prefix>/<name>`; for a module the prefix is `<path>@<version>`. Walking the directory is the caller's part.
pub fn hash_dir<R: Read>(
    prefix: &str,
    files: impl IntoIterator<Item = (String, R)>,
) -> Result<H1, DirhashError> {
    hash_files(files.into_iter().map(|(name, reader)| (format!("{prefix}/{name}"), reader)))
}

/// How much of a file is in memory while it is hashed.
const BUFFER_BYTES: usize = 64 << 10;

fn hash_reader(mut reader: impl Read) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The hash over the lines of files, which are sorted by name already.
fn summarize(lines: &[(&[u8], [u8; 32])]) -> H1 {
    let mut hasher = Sha256::new();
    for (name, digest) in lines {
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
        hasher.update(hex);
        hasher.update(b"  ");
        hasher.update(name);
        hasher.update(b"\n");
    }
    H1(hasher.finalize().into())
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_text_is_strict() {
        let text = "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=";
        assert_eq!(text.parse::<H1>().map(|h1| h1.to_string()).as_deref(), Ok(text));
        for bad in [
            "",
            "h1:",
            "G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=",
            "h2:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=",
            "H1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=",
            "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY",
            "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydZ=",
            "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=\n",
            "h1: G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=",
            "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykr",
            "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydYAAA==",
        ] {
            assert_eq!(bad.parse::<H1>(), Err(H1Error), "{bad:?}");
        }
    }

    #[test]
    fn order_of_files_does_not_matter() {
        let files = |names: &[&str]| -> Vec<(String, &[u8])> {
            names.iter().map(|name| (name.to_string(), b"x".as_slice())).collect()
        };
        let sorted = hash_files(files(&["a", "a/b", "b"])).unwrap();
        assert_eq!(hash_files(files(&["b", "a/b", "a"])).unwrap(), sorted);
        assert_eq!(hash_dir("m", files(&["b", "a"])).unwrap(), hash_files(files(&["m/a", "m/b"])).unwrap());
        assert!(matches!(hash_files(files(&["a", "b", "a"])), Err(DirhashError::DuplicateName { .. })));
        assert!(matches!(hash_files(files(&["a\nb"])), Err(DirhashError::NewlineInName { .. })));
    }
}
