//! go.sum lines: the two hashes that stand for a module version.
//!
//! ```text
//! rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=
//! rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=
//! ```
//!
//! The first line hashes the module's zip, the second, with `/go.mod` after the version, its go.mod alone. There are
//! two readers. [`ModuleLines::parse`] is for the text of a record in a log: exactly these two lines for one module
//! version, one space between words, nothing else; what it accepts prints back to itself. [`parse_go_sum`] is for
//! go.sum files that people and the `go` command have written: any lines in any order, any white space.

mod file;

use std::fmt;

pub use file::{GoSumError, GoSumFile, GoSumReason, NumberedLine, OddLine, Oddity, parse_go_sum};

use crate::dirhash::{H1, H1Error};
use crate::module::{ModuleError, ModuleVersion};

/// The suffix of the version in the line that hashes the go.mod alone.
const GO_MOD: &str = "/go.mod";

/// The two go.sum lines of a module version: what a record of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleLines {
    /// The module version.
    pub module: ModuleVersion,
    /// The hash of its zip.
    pub zip: H1,
    /// The hash of its go.mod.
    pub go_mod: H1,
}

/// Why a text is not the two lines of a module version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleLinesError {
    /// Not two lines of three words with single spaces, each ending in a newline.
    #[error("not two go.sum lines")]
    Form,
    /// The path or the version of the first line is not valid.
    #[error("not a module version")]
    Module(#[from] ModuleError),
    /// A hash is malformed, or of another kind than `h1:`.
    #[error("malformed hash")]
    Hash(#[from] H1Error),
    /// The second line is not for the go.mod of the first line's module version.
    #[error("the second line is not for the go.mod of {module}")]
    OtherModule {
        /// The module version of the first line.
        module: ModuleVersion,
    },
}

impl ModuleLines {
    /// The text of the record: both lines, each with its newline.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(2 * (self.module.path.as_str().len() + 96));
        self.push_text(&mut text);
        text
    }

    /// Appends the text of the record: a data tile is 256 of them.
    pub fn push_text(&self, text: &mut String) {
        let (path, version) = (self.module.path.as_str(), self.module.version.as_str());
        LineParts { path, version, zip: self.zip, go_mod: self.go_mod }.push_text(text);
    }

    /// Parses the text of a record, strictly.
    pub fn parse(text: &str) -> Result<ModuleLines, ModuleLinesError> {
        let form = || ModuleLinesError::Form;
        let (first, second) = text.strip_suffix('\n').and_then(|t| t.split_once('\n')).ok_or_else(form)?;
        let [path, version, zip] = words(first).ok_or_else(form)?;
        let [go_mod_path, go_mod_version, go_mod] = words(second).ok_or_else(form)?;
        let module = ModuleVersion::from_parts(path, version)?;
        if go_mod_path != path || go_mod_version.strip_suffix(GO_MOD) != Some(version) {
            return Err(ModuleLinesError::OtherModule { module });
        }
        Ok(ModuleLines { module, zip: zip.parse()?, go_mod: go_mod.parse()? })
    }

    /// The two lines of `module` in the text of a record that may have more: some logs' records do, and hashes of another
    /// kind than `h1:` may come. `None` unless each of the two is there exactly once, well-formed.
    pub fn find(text: &str, module: &ModuleVersion) -> Option<ModuleLines> {
        let (path, version) = (module.path.as_str(), module.version.as_str());
        let (mut zip, mut go_mod) = (None, None);
        for [_, word, hash] in text.lines().filter_map(words).filter(|line| line[0] == path) {
            let slot = match word.strip_prefix(version) {
                Some("") => &mut zip,
                Some(GO_MOD) => &mut go_mod,
                _ => continue,
            };
            if !hash.starts_with("h1:") {
                continue;
            }
            if slot.replace(hash.parse().ok()?).is_some() {
                return None;
            }
        }
        Some(ModuleLines { module: module.clone(), zip: zip?, go_mod: go_mod? })
    }
}

/// What a record says, borrowed from its text: for those who go through millions of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineParts<'a> {
    /// The module's path.
    pub path: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The hash of its zip.
    pub zip: H1,
    /// The hash of its go.mod.
    pub go_mod: H1,
}

impl<'a> LineParts<'a> {
    /// Parses the text of a record as strictly as [`ModuleLines::parse`], but for the rules of paths and versions: what is
    /// accepted prints back to itself, and path and version may be anything without white space.
    pub fn parse(text: &'a str) -> Option<LineParts<'a>> {
        let (path, rest) = split_at_space(text)?;
        let (version, rest) = split_at_space(rest)?;
        let (zip, rest) = (rest.get(..H1::LEN)?, rest.get(H1::LEN..)?.strip_prefix('\n')?);
        let rest = rest.strip_prefix(path)?.strip_prefix(' ')?.strip_prefix(version)?;
        let go_mod = rest.strip_prefix(GO_MOD)?.strip_prefix(' ')?.strip_suffix('\n')?;
        let plain = |word: &str| !word.is_empty() && memchr::memchr(b'\n', word.as_bytes()).is_none();
        let parts = LineParts { path, version, zip: zip.parse().ok()?, go_mod: go_mod.parse().ok()? };
        (plain(path) && plain(version)).then_some(parts)
    }

    /// Appends the text of the record.
    pub fn push_text(&self, text: &mut String) {
        for (suffix, hash) in [("", &self.zip), (GO_MOD, &self.go_mod)] {
            for word in [self.path, " ", self.version, suffix, " "] {
                text.push_str(word);
            }
            hash.push_text(text);
            text.push('\n');
        }
    }
}

impl fmt::Display for ModuleLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// As `split_once(' ')`, in half the time.
pub(crate) fn split_at_space(text: &str) -> Option<(&str, &str)> {
    let at = memchr::memchr(b' ', text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

/// Splits a line at its single spaces.
fn words(line: &str) -> Option<[&str; 3]> {
    let mut words = line.split(' ');
    let three = [words.next()?, words.next()?, words.next()?];
    (words.next().is_none() && !line.contains('\n')).then_some(three)
}

/// What a go.sum line hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKind {
    /// The whole module, as its zip.
    Zip,
    /// The go.mod alone.
    GoMod,
}

/// A line of a go.sum file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoSumLine {
    /// The module version, without the `/go.mod` suffix.
    pub module: ModuleVersion,
    /// Which of its two hashes this is.
    pub kind: LineKind,
    /// The hash.
    pub hash: H1,
}

impl LineKind {
    /// What the hash is of, for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            LineKind::Zip => "zip",
            LineKind::GoMod => "go.mod",
        }
    }
}

impl ModuleLines {
    /// The hash that a go.sum line of this kind must have.
    pub(crate) fn hash(&self, kind: LineKind) -> H1 {
        match kind {
            LineKind::Zip => self.zip,
            LineKind::GoMod => self.go_mod,
        }
    }
}

impl fmt::Display for GoSumLine {
    /// The line without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.kind {
            LineKind::Zip => "",
            LineKind::GoMod => GO_MOD,
        };
        write!(f, "{} {}{suffix} {}", self.module.path, self.module.version, self.hash)
    }
}
