//! Module paths and versions: what a checksum database may be asked about.
//!
//! A module version is a path and a canonical semantic version that fit each other, as in
//! [`golang.org/x/mod/module`](https://pkg.go.dev/golang.org/x/mod/module) `Check`. It has two spellings:
//!
//! | spelling | example | where |
//! |---|---|---|
//! | plain | `github.com/BurntSushi/toml@v1.3.2` | go.sum, go.mod, patterns, everything that people read |
//! | escaped | `github.com/!burnt!sushi/toml@v1.3.2` | URLs and file names: `!x` stands for the capital `X` |
//!
//! The escaped spelling exists because file systems may fold case; a capital letter in it is an error. Values of
//! these types are valid by construction, so nothing downstream checks again. Both parsers are strict: what they
//! accept prints back to itself.
//!
//! ```
//! use tallystick::module::ModuleVersion;
//! let toml = ModuleVersion::unescape("github.com/!burnt!sushi/toml@v1.3.2")?;
//! assert_eq!(toml.to_string(), "github.com/BurntSushi/toml@v1.3.2");
//! assert_eq!(toml.escaped(), "github.com/!burnt!sushi/toml@v1.3.2");
//! # Ok::<(), tallystick::module::WireError>(())
//! ```
//!
//! Differences from x/mod, all of them stricter: paths and versions have a greatest length, and a version must be
//! canonical (`v1.2.3`, never `v1.2` or `v1.2.3+meta`; `+incompatible` is the one build suffix).

mod escape;
pub mod gomod;
mod path;
mod pattern;
mod pseudo;
mod version;

use std::fmt;
use std::str::FromStr;

pub use escape::EscapeError;
pub use path::{MAX_PATH_LEN, ModulePath, PathError};
pub use pattern::{NearMiss, PathPatterns};
pub use pseudo::{PseudoVersion, PseudoVersionError};
pub use version::{MAX_VERSION_LEN, Version, VersionError};

pub(crate) use path::is_windows_reserved;

/// A module path and a version that is valid for it, such as `gopkg.in/yaml.v3@v3.0.1`.
///
/// Ordered by path, then by version precedence, as go.sum files are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleVersion {
    /// The module path, plain.
    pub path: ModulePath,
    /// The version, plain.
    pub version: Version,
}

/// Why a path and a version do not make a module version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// The text has no `@` between path and version.
    #[error("missing @version after the module path")]
    MissingVersion,
    /// The path is not a module path.
    #[error("malformed module path: {0}")]
    Path(#[from] PathError),
    /// The version is not a canonical semantic version.
    #[error("malformed version: {0}")]
    Version(#[from] VersionError),
    /// Both are valid, but the path's suffix names another major version (`example.com/m/v2@v1.0.0`).
    #[error("version {version} is not valid for {path}: should be {expected}, not {major}")]
    MajorMismatch {
        /// The module path.
        path: String,
        /// The version that does not fit it.
        version: String,
        /// What the path allows: `v2`, or `v0 or v1`.
        expected: String,
        /// The version's own major version, such as `v1`.
        major: String,
    },
}

/// Why the escaped spelling of a module version was refused. Servers answer each of these with 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not `path@vX.Y.Z[-pre][+incompatible]` at all.
    #[error("invalid module@version syntax")]
    Syntax,
    /// The version ends in `/go.mod`: one look-up answers for both hashes, the suffix is only for go.sum lines.
    #[error("a version is looked up without the /go.mod suffix")]
    GoModSuffix,
    /// A capital letter, or a `!` that no lower-case letter follows.
    #[error("bad escape in module path or version: {0}")]
    Escape(#[from] EscapeError),
    /// The syntax fits, but it is not a module version: a malformed path, a malformed version, or a version that
    /// is not valid for its path.
    #[error(transparent)]
    Module(#[from] ModuleError),
}

impl ModuleVersion {
    /// Joins a path and a version if the path's major suffix allows the version.
    pub fn new(path: ModulePath, version: Version) -> Result<ModuleVersion, ModuleError> {
        match path.major_mismatch(&version) {
            None => Ok(ModuleVersion { path, version }),
            Some(expected) => Err(ModuleError::MajorMismatch {
                expected,
                major: version.major().to_owned(),
                path: path.as_str().to_owned(),
                version: version.as_str().to_owned(),
            }),
        }
    }

    /// A module version that was checked before it was stored, in a row whose checksum was just verified: a check
    /// costs more than the read.
    pub(crate) fn from_store(path: &str, version: &str) -> ModuleVersion {
        ModuleVersion { path: ModulePath::from_store(path), version: Version::from_store(version) }
    }

    /// Parses the plain spelling of path and version, as they stand in go.sum and go.mod.
    pub fn from_parts(path: &str, version: &str) -> Result<ModuleVersion, ModuleError> {
        ModuleVersion::new(ModulePath::parse(path)?, Version::parse(version)?)
    }

    /// The escaped spelling, for URLs and file names: `github.com/!burnt!sushi/toml@v1.3.2`.
    pub fn escaped(&self) -> String {
        format!("{}@{}", self.path.escaped(), self.version.escaped())
    }

    /// Parses the escaped spelling, strictly: the part of a look-up URL after `/lookup/`.
    pub fn unescape(wire: &str) -> Result<ModuleVersion, WireError> {
        let (path, version) = wire.split_once('@').ok_or(WireError::Syntax)?;
        if version.ends_with("/go.mod") {
            return Err(WireError::GoModSuffix);
        }
        if path.is_empty() || !version::has_wire_syntax(version) {
            return Err(WireError::Syntax);
        }
        let (path, version) = (escape::unescape(path)?, escape::unescape(version)?);
        Ok(ModuleVersion::from_parts(&path, &version)?)
    }
}

impl fmt::Display for ModuleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.path, self.version)
    }
}

impl FromStr for ModuleVersion {
    type Err = ModuleError;

    /// Parses the plain spelling `path@version`.
    fn from_str(text: &str) -> Result<ModuleVersion, ModuleError> {
        let (path, version) = text.split_once('@').ok_or(ModuleError::MissingVersion)?;
        ModuleVersion::from_parts(path, version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_round_trips() {
        for wire in [
            "golang.org/toolchain@v0.0.1-go1.26.8.linux-amd64",
            "github.com/!azure/go-autorest@v1.0.0-!r!c1",
            "gopkg.in/check.v1@v0.0.0-20161208181325-20d25e280405",
            "github.com/mattn/go-sqlite3@v2.0.3+incompatible",
            "gopkg.in/src-d/go-git.v4-unstable@v4.1.0",
        ] {
            let module = ModuleVersion::unescape(wire).expect(wire);
            assert_eq!(module.escaped(), wire);
            assert_eq!(module.to_string().parse::<ModuleVersion>(), Ok(module));
        }
    }

    #[test]
    fn wire_form_rejects() {
        use EscapeError::*;
        let module = |path, version| WireError::Module(ModuleVersion::from_parts(path, version).unwrap_err());
        for (wire, error) in [
            ("", WireError::Syntax),
            ("example.com/m", WireError::Syntax),
            ("@v1.0.0", WireError::Syntax),
            ("example.com/m@", WireError::Syntax),
            ("example.com/m@v1", WireError::Syntax),
            ("example.com/m@v1.0", WireError::Syntax),
            ("example.com/m@1.0.0", WireError::Syntax),
            ("example.com/m@v1.0.0+meta", WireError::Syntax),
            ("example.com/m@v1.0.0@v1.0.0", WireError::Syntax),
            ("example.com/m@v1.0.0-a@b", WireError::Syntax),
            ("example.com/m@latest", WireError::Syntax),
            ("example.com/m@v1.0.0/go.mod", WireError::GoModSuffix),
            ("example.com/m@v1.0.0-pre/go.mod", WireError::GoModSuffix),
            ("example.com/M@v1.0.0", WireError::Escape(UpperCase { letter: 'M' })),
            ("example.com/m@v1.0.0-RC1", WireError::Escape(UpperCase { letter: 'R' })),
            ("example.com/!!m@v1.0.0", WireError::Escape(BadEscape { position: 12 })),
            ("example.com/!1@v1.0.0", WireError::Escape(BadEscape { position: 12 })),
            ("example.com/m!@v1.0.0", WireError::Escape(BadEscape { position: 13 })),
            ("example.com/é@v1.0.0", WireError::Escape(NotAscii { position: 12 })),
            ("example.com//m@v1.0.0", module("example.com//m", "v1.0.0")),
            ("example.com/../m@v1.0.0", module("example.com/../m", "v1.0.0")),
            ("example.com/m/v2@v1.0.0", module("example.com/m/v2", "v1.0.0")),
            ("example.com/m@v2.0.0", module("example.com/m", "v2.0.0")),
            ("example.com/m@v1.0.0-a/b", module("example.com/m", "v1.0.0-a/b")),
            ("example.com/m@v1.0.0-01", module("example.com/m", "v1.0.0-01")),
            ("example.com/m@v01.0.0", module("example.com/m", "v01.0.0")),
            ("example.com/m@v1.0.0-", module("example.com/m", "v1.0.0-")),
        ] {
            assert_eq!(ModuleVersion::unescape(wire), Err(error), "{wire}");
        }
    }
}
