//! How large a module's zip may be, and why a zip has no hash.

use std::io;

/// The greatest sizes that a module's zip may have. The defaults are those of x/mod/zip, so that what the `go`
/// command can use is never refused; a server may want less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZipLimits {
    /// The zip itself, in bytes: [`MAX_ZIP_BYTES`](ZipLimits::MAX_ZIP_BYTES).
    pub zip_bytes: u64,
    /// All of its files unpacked, in bytes: [`MAX_UNPACKED_BYTES`](ZipLimits::MAX_UNPACKED_BYTES).
    pub unpacked_bytes: u64,
    /// The go.mod in its root, in bytes: [`MAX_GO_MOD_BYTES`](ZipLimits::MAX_GO_MOD_BYTES).
    pub go_mod_bytes: u64,
    /// The LICENSE in its root, in bytes: [`MAX_LICENSE_BYTES`](ZipLimits::MAX_LICENSE_BYTES).
    pub license_bytes: u64,
    /// Entries, directories included: [`MAX_ENTRIES`](ZipLimits::MAX_ENTRIES).
    pub entries: usize,
}

impl ZipLimits {
    /// `MaxZipFile` of x/mod/zip.
    pub const MAX_ZIP_BYTES: u64 = 500 << 20;
    /// `MaxZipFile` of x/mod/zip, which bounds the unpacked files too.
    pub const MAX_UNPACKED_BYTES: u64 = 500 << 20;
    /// `MaxGoMod` of x/mod/zip.
    pub const MAX_GO_MOD_BYTES: u64 = 16 << 20;
    /// `MaxLICENSE` of x/mod/zip.
    pub const MAX_LICENSE_BYTES: u64 = 16 << 20;
    /// x/mod has no such limit. The largest modules have some ten thousand files; this bounds our memory for a zip
    /// of empty ones to less than 200 MiB.
    pub const MAX_ENTRIES: usize = 1 << 18;
}

impl Default for ZipLimits {
    fn default() -> ZipLimits {
        ZipLimits {
            zip_bytes: ZipLimits::MAX_ZIP_BYTES,
            unpacked_bytes: ZipLimits::MAX_UNPACKED_BYTES,
            go_mod_bytes: ZipLimits::MAX_GO_MOD_BYTES,
            license_bytes: ZipLimits::MAX_LICENSE_BYTES,
            entries: ZipLimits::MAX_ENTRIES,
        }
    }
}

/// Why a zip has no hash. All but [`ZipError::Io`] say that the zip itself is at fault, and will be again.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// The bytes could not be read. The zip may be sound.
    #[error("cannot read the zip")]
    Io(#[source] io::Error),
    /// Not a zip, or cut off, or with a directory that does not fit it.
    #[error("not a sound zip: {reason}")]
    Malformed {
        /// What does not fit.
        reason: &'static str,
    },
    /// Larger than a limit, in what it is or in what it declares.
    #[error("{what} too large: {size} is more than {limit}")]
    TooLarge {
        /// What is too large: `zip`, `unpacked files`, `go.mod`, `LICENSE`, `number of entries`, `directory`.
        what: &'static str,
        /// How large it is, in bytes (entries for their number).
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// An entry has a name that no module's zip has.
    #[error("bad file name \"{name}\" in zip: {reason}")]
    Name {
        /// The name, escaped.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry has a character in its name that the go command does not unpack.
    #[error("bad file name \"{name}\" in zip: the go command allows no U+{:04X} in file names", u32::from(*.char))]
    Char {
        /// The name, escaped.
        name: String,
        /// The first such character.
        char: char,
    },
    /// An entry cannot be read, or is not what the directory says of it.
    #[error("bad entry \"{name}\" in zip: {reason}")]
    Entry {
        /// The entry, escaped.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Refuses what is larger than its limit.
pub(super) fn check_limit(what: &'static str, size: u64, limit: u64) -> Result<(), ZipError> {
    if size > limit { Err(ZipError::TooLarge { what, size, limit }) } else { Ok(()) }
}
