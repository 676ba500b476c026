//! Canonical versions: `v1.2.3`, `v1.2.3-rc.1`, `v2.0.3+incompatible`.
//!
//! `vMAJOR.MINOR.PATCH[-PRERELEASE][+incompatible]`, with numbers of any size but without leading zeros, and a
//! prerelease of dot-separated, non-empty identifiers of ASCII letters, digits and `-`, where one that is all
//! digits has no leading zero either ([semver 2.0.0](https://semver.org), with `v` before it).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::escape::{escape, unescape};
use super::{ModuleError, WireError};

/// The greatest length of a version in bytes: with its suffix (`.ziphash`) it is one file name in every module
/// cache, and those end at 255 bytes; escaped capitals take two.
pub const MAX_VERSION_LEN: usize = 240;

const INCOMPATIBLE: &str = "+incompatible";

/// A canonical version.
///
/// The order is semantic-version precedence; the texts decide where that calls two versions equal, which happens
/// only to `v2.0.0` and `v2.0.0+incompatible`. Equality is equality of the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(String);

/// Why a text is not a canonical version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Longer than [`MAX_VERSION_LEN`].
    #[error("{len} bytes are more than {MAX_VERSION_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Not a semantic version: `latest`, `1.2.3`, `v1.02.3`, `v1.2.3-`.
    #[error("{version:?} is not a semantic version")]
    NotSemantic {
        /// The text.
        version: String,
    },
    /// A semantic version, but not its canonical form: `v1.2`, or `v1.2.3+meta`.
    #[error("{version:?} is not canonical (should be {canonical:?})")]
    NotCanonical {
        /// The text.
        version: String,
        /// The version that was probably meant.
        canonical: String,
    },
}

impl Version {
    /// Checks a plain version by the rules above.
    pub fn parse(version: &str) -> Result<Version, VersionError> {
        if version.len() > MAX_VERSION_LEN {
            return Err(VersionError::TooLong { len: version.len() });
        }
        let parts = VersionParts::parse(version)
            .ok_or_else(|| VersionError::NotSemantic { version: version.to_owned() })?;
        if !parts.is_canonical() {
            let canonical = parts.canonical();
            return Err(VersionError::NotCanonical { version: version.to_owned(), canonical });
        }
        Ok(Version(version.to_owned()))
    }

    /// See [`ModuleVersion::from_store`](super::ModuleVersion::from_store).
    pub(super) fn from_store(version: &str) -> Version {
        Version(version.to_owned())
    }

    /// The plain version: `v1.0.0-RC1`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version for URLs and file names: `v1.0.0-!r!c1`.
    pub fn escaped(&self) -> String {
        escape(&self.0)
    }

    /// Parses the spelling of URLs and file names.
    pub fn unescape(escaped: &str) -> Result<Version, WireError> {
        Ok(Version::parse(&unescape(escaped)?).map_err(ModuleError::Version)?)
    }

    /// The major version with its `v`: `v2`.
    pub fn major(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// The prerelease without its `-`: `rc.1`; empty for a release.
    pub fn prerelease(&self) -> &str {
        self.parts().prerelease
    }

    /// Whether it ends in `+incompatible`: a version ≥ v2 of a module without a go.mod.
    pub fn is_incompatible(&self) -> bool {
        self.0.ends_with(INCOMPATIBLE)
    }

    /// Semantic-version precedence alone, as x/mod's `semver.Compare`: build suffixes do not count.
    pub fn precedence(&self, other: &Version) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        compare_numbers(a.major, b.major)
            .then_with(|| compare_numbers(a.minor, b.minor))
            .then_with(|| compare_numbers(a.patch, b.patch))
            .then_with(|| compare_prereleases(a.prerelease, b.prerelease))
    }

    pub(super) fn parts(&self) -> VersionParts<'_> {
        VersionParts::parse(&self.0).expect("checked when the version was parsed")
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        self.precedence(other).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(version: &str) -> Result<Version, VersionError> {
        Version::parse(version)
    }
}

impl AsRef<str> for Version {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A semantic version taken apart; numbers stay decimal texts, because they have no greatest value.
pub(super) struct VersionParts<'a> {
    pub(super) major: &'a str,
    pub(super) minor: &'a str,
    pub(super) patch: &'a str,
    /// Without its `-`; empty where there is none.
    pub(super) prerelease: &'a str,
    /// Without its `+`; empty where there is none.
    pub(super) build: &'a str,
    /// Whether there are three numbers.
    is_full: bool,
}

impl<'a> VersionParts<'a> {
    /// Also takes the short forms `v1` and `v1.2`, so that the error can name what was meant.
    fn parse(version: &'a str) -> Option<VersionParts<'a>> {
        let mut parts =
            VersionParts { major: "", minor: "0", patch: "0", prerelease: "", build: "", is_full: false };
        let rest;
        (parts.major, rest) = split_number(version.strip_prefix('v')?)?;
        if rest.is_empty() {
            return Some(parts);
        }
        let rest_of_minor;
        (parts.minor, rest_of_minor) = split_number(rest.strip_prefix('.')?)?;
        if rest_of_minor.is_empty() {
            return Some(parts);
        }
        let mut rest;
        (parts.patch, rest) = split_number(rest_of_minor.strip_prefix('.')?)?;
        parts.is_full = true;
        if let Some(tail) = rest.strip_prefix('-') {
            (parts.prerelease, rest) = tail.split_at(tail.find('+').unwrap_or(tail.len()));
            if !parts.prerelease.split('.').all(|id| is_identifier(id) && !has_leading_zero(id)) {
                return None;
            }
        }
        if let Some(build) = rest.strip_prefix('+') {
            (parts.build, rest) = (build, "");
            if !build.split('.').all(is_identifier) {
                return None;
            }
        }
        rest.is_empty().then_some(parts)
    }

    /// Whether the text was one with three numbers, and without build metadata other than the one that means something.
    fn is_canonical(&self) -> bool {
        self.is_full && (self.build.is_empty() || self.build == &INCOMPATIBLE[1..])
    }

    fn canonical(&self) -> String {
        let dash = if self.prerelease.is_empty() { "" } else { "-" };
        let build = if self.build == &INCOMPATIBLE[1..] { INCOMPATIBLE } else { "" };
        format!("v{}.{}.{}{dash}{}{build}", self.major, self.minor, self.patch, self.prerelease)
    }
}

/// Splits a decimal number without leading zeros from the start.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (!number.is_empty() && (number == "0" || !number.starts_with('0'))).then_some((number, rest))
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && is_number(text)
}

fn compare_numbers(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn compare_prereleases(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        // A release comes after all of its prereleases.
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Iterator::cmp_by would say this, with a longer list after its own prefix, but is not stable yet.
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (is_number(a), is_number(b)) {
                (true, true) => compare_numbers(a, b),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The version syntax of look-up URLs: `^v[0-9]+\.[0-9]+\.[0-9]+(-[^@]*)?(\+incompatible)?$`.
///
/// It is what sum.golang.org checks before anything else, so it says which errors are called syntax errors.
pub(super) fn has_wire_syntax(version: &str) -> bool {
    let digits_then = |text: &str| {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        (rest < text.len()).then_some(text.len() - rest)
    };
    let Some(mut rest) = version.strip_prefix('v') else { return false };
    for separator in [".", ".", ""] {
        let Some(tail) = digits_then(rest).and_then(|end| rest[end..].strip_prefix(separator)) else {
            return false;
        };
        rest = tail;
    }
    if rest.starts_with('-') {
        return !rest.contains('@');
    }
    rest.is_empty() || rest == INCOMPATIBLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_semver_says() {
        // The chain of semver.org, section 11, and numbers beyond 64 bits.
        let chain = [
            "v1.0.0-alpha",
            "v1.0.0-alpha.1",
            "v1.0.0-alpha.beta",
            "v1.0.0-beta",
            "v1.0.0-beta.2",
            "v1.0.0-beta.11",
            "v1.0.0-rc.1",
            "v1.0.0",
            "v2.0.0",
            "v2.0.0+incompatible",
            "v2.0.99999999999999999999",
            "v2.0.100000000000000000000",
        ];
        for (i, a) in chain.iter().enumerate() {
            for (j, b) in chain.iter().enumerate() {
                let (a, b) = (Version::parse(a).expect(a), Version::parse(b).expect(b));
                assert_eq!(a.cmp(&b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn names_the_canonical_form() {
        for (version, canonical) in [
            ("v1", "v1.0.0"),
            ("v1.2", "v1.2.0"),
            ("v1.2.3+meta", "v1.2.3"),
            ("v1.2.3-a+incompatible.x", "v1.2.3-a"),
        ] {
            let error = VersionError::NotCanonical { version: version.into(), canonical: canonical.into() };
            assert_eq!(Version::parse(version), Err(error));
        }
    }

    #[test]
    fn limits_length() {
        let longest = format!("v1.0.0-{}", "a".repeat(MAX_VERSION_LEN - "v1.0.0-".len()));
        assert!(Version::parse(&longest).is_ok());
        let len = MAX_VERSION_LEN + 1;
        assert_eq!(Version::parse(&format!("{longest}a")), Err(VersionError::TooLong { len }));
    }
}
