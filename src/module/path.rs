//! Module paths: `golang.org/x/text`, `rsc.io/quote/v3`, `gopkg.in/yaml.v3`.
//!
//! A path is elements joined by `/`. The first is a lower-case host name with a dot in it; the others are ASCII
//! letters, digits and `-._~`. What Windows cannot store is refused, so that a module is the same everywhere.
//! A last element `/vN` (N ≥ 2) names the major version; `gopkg.in` writes `.vN` instead, for every N.

use std::fmt;
use std::str::FromStr;

use super::escape::{escape, unescape};
use super::version::Version;
use super::{ModuleError, WireError};

/// The greatest length of a module path in bytes.
///
/// x/mod has no limit. The longest public paths have about 200 bytes; in a module cache the path, prefixed by the
/// cache's own directory, must stay below the 4,096 bytes of a file name, and so must URLs at most proxies.
pub const MAX_PATH_LEN: usize = 1024;

/// A valid module path, in its plain spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModulePath(String);

/// Why a text is not a module path. Where several reasons hold, the one that x/mod finds first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No text at all.
    #[error("empty string")]
    Empty,
    /// Longer than [`MAX_PATH_LEN`].
    #[error("{len} bytes are more than {MAX_PATH_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Begins with `-`, which commands would take for a flag.
    #[error("leading dash")]
    LeadingDash,
    /// Contains `//`.
    #[error("double slash")]
    DoubleSlash,
    /// Ends in `/`.
    #[error("trailing slash")]
    TrailingSlash,
    /// Begins with `/`.
    #[error("empty path element")]
    EmptyElement,
    /// An element of dots only, such as `..`.
    #[error("invalid path element {element:?}")]
    Dots {
        /// The element.
        element: String,
    },
    /// An element that begins with a dot.
    #[error("leading dot in path element")]
    LeadingDot,
    /// An element that ends in a dot.
    #[error("trailing dot in path element")]
    TrailingDot,
    /// A character that no element may hold.
    #[error("invalid char {char:?}")]
    Char {
        /// The first such character.
        char: char,
    },
    /// An element that Windows reserves for a device, such as `con` or `lpt1.go`.
    #[error("{name:?} disallowed as path element component on Windows")]
    WindowsReserved {
        /// The reserved part of the element, as written.
        name: String,
    },
    /// An element like `abcdef~1`, which Windows takes for the short form of another name.
    #[error("trailing tilde and digits in path element")]
    WindowsShortName,
    /// The first element has no dot, so it is not a host name.
    #[error("missing dot in first path element")]
    NoDotInHost,
    /// The first element has a character that host names do not have, such as a capital letter.
    #[error("invalid char {char:?} in first path element")]
    HostChar {
        /// The first such character.
        char: char,
    },
    /// The last element looks like a major version, but is not one: `/v1`, `/v02`, `/v1.2`, or a `gopkg.in` path
    /// without `.vN`.
    #[error("invalid version")]
    MajorSuffix,
}

impl ModulePath {
    /// Checks a plain path by the rules above.
    pub fn parse(path: &str) -> Result<ModulePath, PathError> {
        check(path)?;
        Ok(ModulePath(path.to_owned()))
    }

    /// See [`ModuleVersion::from_store`](super::ModuleVersion::from_store).
    pub(super) fn from_store(path: &str) -> ModulePath {
        ModulePath(path.to_owned())
    }

    /// The plain path: `github.com/BurntSushi/toml`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path for URLs and file names: `github.com/!burnt!sushi/toml`.
    pub fn escaped(&self) -> String {
        escape(&self.0)
    }

    /// Parses the spelling of URLs and file names.
    pub fn unescape(escaped: &str) -> Result<ModulePath, WireError> {
        Ok(ModulePath::parse(&unescape(escaped)?).map_err(ModuleError::Path)?)
    }

    /// The first element, a host name: `github.com`.
    pub fn host(&self) -> &str {
        first_element(&self.0)
    }

    /// Splits off the major version: `("rsc.io/quote", "/v3")`, `("gopkg.in/yaml", ".v3")`, `("rsc.io/quote", "")`.
    pub fn split_major(&self) -> (&str, &str) {
        split_major(&self.0).expect("checked when the path was parsed")
    }

    /// What versions the path allows, in words, if `version` is not among them.
    pub(super) fn major_mismatch(&self, version: &Version) -> Option<String> {
        let (_, suffix) = self.split_major();
        let suffix =
            if suffix.starts_with('.') { suffix.strip_suffix("-unstable").unwrap_or(suffix) } else { suffix };
        if suffix == ".v1" && version.as_str().starts_with("v0.0.0-") {
            // gopkg.in/check.v1 and others are required by pseudo-versions from before their first tag was seen.
            return None;
        }
        let major = version.major();
        match suffix.get(1..) {
            None if major == "v0" || major == "v1" || version.is_incompatible() => None,
            None => Some("v0 or v1".to_owned()),
            Some(expected) if expected == major => None,
            Some(expected) => Some(expected.to_owned()),
        }
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ModulePath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<ModulePath, PathError> {
        ModulePath::parse(path)
    }
}

impl AsRef<str> for ModulePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

fn first_element(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

fn check(path: &str) -> Result<(), PathError> {
    if !is_plain(path) {
        check_rules(path)?;
    }
    split_major(path).map(|_| ()).ok_or(PathError::MajorSuffix)
}

/// Whether a path is one of those that nearly all are: every rule but that of the last element is kept, told in one pass. A no
/// says nothing: [`check_rules`] knows.
fn is_plain(path: &str) -> bool {
    let (mut in_host, mut host_has_dot) = (true, false);
    // Where the element begins, and where the part of it before its first dot ends.
    let (mut element, mut stem_end) = (0, None);
    let mut last = b'/';
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => {}
            b'-' if at > 0 => {}
            b'A'..=b'Z' | b'_' if !in_host => {}
            b'.' if last != b'/' => {
                host_has_dot |= in_host;
                stem_end = stem_end.or(Some(at));
            }
            b'/' if last != b'/' && last != b'.' => {
                if may_be_reserved(&path[element..stem_end.unwrap_or(at)]) {
                    return false;
                }
                (element, stem_end, in_host) = (at + 1, None, false);
            }
            _ => return false,
        }
        last = byte;
    }
    let ends_well = last != b'/' && last != b'.' && path.len() <= MAX_PATH_LEN;
    ends_well && host_has_dot && !may_be_reserved(&path[element..stem_end.unwrap_or(path.len())])
}

/// Devices have names of three or four characters, so only elements of that length are compared.
fn may_be_reserved(stem: &str) -> bool {
    matches!(stem.len(), 3 | 4) && is_windows_reserved(stem)
}

/// The rules one by one, in the order of x/mod.
fn check_rules(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > MAX_PATH_LEN {
        return Err(PathError::TooLong { len: path.len() });
    }
    if path.starts_with('-') {
        return Err(PathError::LeadingDash);
    }
    if path.contains("//") {
        return Err(PathError::DoubleSlash);
    }
    if path.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    path.split('/').try_for_each(check_element)?;
    let host = first_element(path);
    if !host.contains('.') {
        return Err(PathError::NoDotInHost);
    }
    if let Some(char) = host.chars().find(|c| !matches!(c, '-' | '.' | '0'..='9' | 'a'..='z')) {
        return Err(PathError::HostChar { char });
    }
    Ok(())
}

fn check_element(element: &str) -> Result<(), PathError> {
    if element.is_empty() {
        return Err(PathError::EmptyElement);
    }
    if element.bytes().all(|b| b == b'.') {
        return Err(PathError::Dots { element: element.to_owned() });
    }
    if element.starts_with('.') {
        return Err(PathError::LeadingDot);
    }
    if element.ends_with('.') {
        return Err(PathError::TrailingDot);
    }
    if let Some(char) =
        element.chars().find(|c| !matches!(c, '-' | '.' | '_' | '~' | '0'..='9' | 'A'..='Z' | 'a'..='z'))
    {
        return Err(PathError::Char { char });
    }
    let short = element.split('.').next().unwrap_or_default();
    if is_windows_reserved(short) {
        return Err(PathError::WindowsReserved { name: short.to_owned() });
    }
    match short.rsplit_once('~') {
        Some((_, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Err(PathError::WindowsShortName)
        }
        _ => Ok(()),
    }
}

/// Whether Windows reserves `name`, the part of a file name before its first dot, for a device.
pub(crate) fn is_windows_reserved(name: &str) -> bool {
    let numbered = |device: &str| {
        name.len() == 4
            && name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(device))
            && matches!(name.as_bytes()[3], b'1'..=b'9')
    };
    ["con", "prn", "aux", "nul"].iter().any(|device| name.eq_ignore_ascii_case(device))
        || numbered("com")
        || numbered("lpt")
}

/// Splits a path before its major version; `None` where the last element is a malformed one.
fn split_major(path: &str) -> Option<(&str, &str)> {
    if path.starts_with("gopkg.in/") {
        return split_gopkg_major(path);
    }
    let start = path.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    if start == path.len() || !path[..start].ends_with("/v") {
        return Some((path, ""));
    }
    let number = &path[start..];
    if number.contains('.') || number.starts_with('0') || number == "1" {
        return None;
    }
    Some(path.split_at(start - "/v".len()))
}

/// `gopkg.in` paths always end in `.vN`, or `.vN-unstable`, and N may be 0 or 1.
fn split_gopkg_major(path: &str) -> Option<(&str, &str)> {
    let stable = path.strip_suffix("-unstable").unwrap_or(path);
    let start = stable.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = &stable[start..];
    if !stable[..start].ends_with(".v") || number.is_empty() {
        return None;
    }
    let split = start - ".v".len();
    if number.starts_with('0') && &path[split..] != ".v0" {
        return None;
    }
    Some(path.split_at(split))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts() {
        for (path, major) in [
            ("rsc.io/quote", ""),
            ("rsc.io/quote/v3", "/v3"),
            ("gopkg.in/yaml.v3", ".v3"),
            ("gopkg.in/yaml.v0", ".v0"),
            ("gopkg.in/src-d/go-git.v4-unstable", ".v4-unstable"),
            ("github.com/BurntSushi/toml", ""),
            ("example.com", ""),
            ("golang.org/toolchain", ""),
            ("example.com/v", ""),
        ] {
            assert_eq!(ModulePath::parse(path).expect(path).split_major().1, major);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20_000))]
        /// From pieces that paths are made of, and others: what is plain breaks no rule, and most of what keeps them is plain.
        #[test]
        fn a_plain_path_keeps_the_rules(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "a", "b9", "v2", "x.y", "con", "AUX", "lpt1", "com0", "nul.go", "/", "//", ".", "..", "-", "_", "~", "~1", "é", " ",
                    "Z", "!", "/", "/",
                ]),
                0..9,
            ),
            host in proptest::sample::select(vec!["", "x.io/", "a-b.c/", "con.io/", "nodot/", "A.io/", "x_y.io/", ".x/", "x./", "-x.io/"]),
        ) {
            let path = format!("{host}{}", pieces.concat());
            let rules = check_rules(&path);
            let unusual = path.contains('~');
            proptest::prop_assert_eq!(is_plain(&path), rules.is_ok() && !unusual, "{:?}: {:?}", path, rules);
        }
    }

    #[test]
    fn limits_length() {
        let longest = format!("example.com/{}", "a".repeat(MAX_PATH_LEN - "example.com/".len()));
        assert!(ModulePath::parse(&longest).is_ok());
        let len = MAX_PATH_LEN + 1;
        assert_eq!(ModulePath::parse(&format!("{longest}a")), Err(PathError::TooLong { len }));
    }
}
