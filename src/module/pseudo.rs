//! Pseudo-versions: names that the `go` command makes for commits without a tag.
//!
//! | form | after |
//! |---|---|
//! | `vX.0.0-yyyymmddhhmmss-abcdef123456` | no tag |
//! | `vX.Y.Z-pre.0.yyyymmddhhmmss-abcdef123456` | the tag `vX.Y.Z-pre` |
//! | `vX.Y.(Z+1)-0.yyyymmddhhmmss-abcdef123456` | the tag `vX.Y.Z` |
//!
//! The last two may end in `+incompatible`, and so does their tag then.

use super::Version;

/// A pseudo-version taken apart; see [`Version::pseudo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PseudoVersion<'a> {
    /// The commit's time in UTC, as 14 digits `yyyymmddhhmmss`. It need not be a real date.
    pub timestamp: &'a str,
    /// The commit, usually the first 12 digits of its hash.
    pub revision: &'a str,
    version: &'a Version,
}

/// Why a pseudo-version has no tag that it could come after.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PseudoVersionError {
    /// `vX.0.0-…+incompatible`: it says that there is no tag, and that the tag is incompatible.
    #[error("lacks base version, but has build metadata")]
    IncompatibleWithoutBase,
    /// `vX.Y.0-0.…`: the tag would have a negative patch number.
    #[error("version before {version} would have negative patch number")]
    NegativePatch {
        /// The version without its time and revision.
        version: String,
    },
}

impl Version {
    /// Takes a pseudo-version apart; `None` for any other version.
    pub fn pseudo(&self) -> Option<PseudoVersion<'_>> {
        let parts = self.parts();
        let (start, revision) = parts.prerelease.rsplit_once('-')?;
        let (base, timestamp) = start.split_at_checked(start.len().checked_sub(14)?)?;
        let is_revision = !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_time = timestamp.bytes().all(|b| b.is_ascii_digit());
        let fits = match base {
            "" => parts.minor == "0" && parts.patch == "0",
            _ => base == "0." || base.ends_with(".0."),
        };
        (is_revision && is_time && fits).then_some(PseudoVersion { timestamp, revision, version: self })
    }
}

impl PseudoVersion<'_> {
    /// The tag that the commit comes after; `None` where there was none.
    pub fn base(&self) -> Result<Option<Version>, PseudoVersionError> {
        let parts = self.version.parts();
        let tail = self.timestamp.len() + "-".len() + self.revision.len();
        let before = &parts.prerelease[..parts.prerelease.len() - tail];
        let build = if parts.build.is_empty() { "" } else { "+incompatible" };
        let release = format!("v{}.{}", parts.major, parts.minor);
        let base = match before {
            "" if build.is_empty() => return Ok(None),
            "" => return Err(PseudoVersionError::IncompatibleWithoutBase),
            "0." => {
                let version = format!("{release}.{}", parts.patch);
                let patch = decrement(parts.patch).ok_or(PseudoVersionError::NegativePatch { version })?;
                format!("{release}.{patch}{build}")
            }
            before => {
                let prerelease = before.strip_suffix(".0.").expect("checked when it was taken apart");
                format!("{release}.{}-{prerelease}{build}", parts.patch)
            }
        };
        Ok(Some(Version::parse(&base).expect("a shorter version of a canonical one is canonical")))
    }
}

/// Subtracts one from a decimal number of any size; `None` for zero.
fn decrement(decimal: &str) -> Option<String> {
    let last = decimal.rfind(|c| c != '0')?;
    let mut digits = decimal.as_bytes()[..last].to_vec();
    digits.push(decimal.as_bytes()[last] - 1);
    digits.resize(decimal.len(), b'9');
    let text: String = digits.into_iter().map(char::from).collect();
    let trimmed = text.trim_start_matches('0');
    Some(if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() })
}
