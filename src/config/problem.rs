//! What can be wrong with a configuration: the place, the cause and the fix, each as data.
//!
//! ```text
//! tallystick.toml:3: unknown key `lisen`
//!   fix: did you mean `listen`?
//! ```

use std::fmt;
use std::io;

use super::said::SettingOrigin;

/// Everything found wrong with one configuration; never empty.
#[derive(Debug)]
pub struct ConfigError {
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {}\n  fix: {}", problem.place, problem.kind, problem.kind.fix())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// The problems in the order of the file; those of other places first.
    pub(crate) fn of(mut problems: Vec<Problem>) -> ConfigError {
        assert!(!problems.is_empty(), "an error without a problem says nothing");
        problems.sort_by_key(|problem| match &problem.place {
            SettingOrigin::File { line, .. } => *line,
            _ => 0,
        });
        ConfigError { problems }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> ConfigError {
        ConfigError { problems: vec![problem] }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug)]
pub struct Problem {
    /// Where to change it.
    pub place: SettingOrigin,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// The cause. [`ProblemKind::fix`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ProblemKind {
    /// The file cannot be read.
    #[error("cannot read the configuration: {source}")]
    Unreadable {
        /// Why.
        source: io::Error,
    },
    /// The file is longer than any configuration.
    #[error("the configuration is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The text is not TOML.
    #[error("not valid TOML: {why}")]
    Syntax {
        /// The parser's words.
        why: String,
    },
    /// A key that nothing reads: a typing error would otherwise silently leave the default in force.
    #[error("unknown key `{key}`")]
    UnknownKey {
        /// The key with its section.
        key: String,
        /// Known keys that look like it, best first.
        near: Vec<String>,
        /// Where a person finds all of them.
        listing: &'static str,
    },
    /// A value of the wrong shape or out of its range.
    #[error("`{key}` {why}")]
    Value {
        /// The key with its section.
        key: String,
        /// What is wrong with it, as the end of a sentence that starts with the key.
        why: String,
        /// What to write instead.
        fix: String,
    },
    /// What a key names cannot be used by the server.
    #[error("`{key}`: {why}")]
    Unusable {
        /// The key with its section.
        key: String,
        /// What is wrong, as a sentence.
        why: String,
        /// What to do.
        fix: String,
    },
    /// `checksum` names a database that is not configured.
    #[error("route {route}: checksum = \"{name}\", but there is no [sumdb.\"{name}\"]")]
    UnknownSumdb {
        /// Route number, from 1.
        route: usize,
        /// The name in `checksum`.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// `direct` with a wildcard host would let whoever asks choose the host that our version control connects to.
    #[error("route {route}: source \"direct\" with `{pattern}`, whose host is a wildcard")]
    DirectNeedsHost {
        /// Route number, from 1.
        route: usize,
        /// The pattern.
        pattern: String,
    },
    /// An earlier route takes everything that this one is for.
    #[error("route {route}: `{pattern}` is never reached, because route {earlier} matches it first{leak}")]
    Unreachable {
        /// Route number, from 1.
        route: usize,
        /// The pattern that is never reached.
        pattern: String,
        /// The route that takes its modules.
        earlier: usize,
        /// What it leads to, where that is worse than a useless line; empty or a clause with its comma.
        leak: &'static str,
    },
    /// The environment of the `go` command gives no usable source, and nothing else does.
    #[error("{cause}")]
    GoEnvironment {
        /// What is wrong.
        cause: String,
        /// What to do.
        fix: String,
    },
}

impl ProblemKind {
    /// What to do about it, as an imperative.
    pub fn fix(&self) -> String {
        match self {
            ProblemKind::Unreadable { .. } => {
                "name an existing, readable file with --config, or leave the flag out".to_owned()
            }
            ProblemKind::TooLarge { .. } => "name the right file with --config".to_owned(),
            ProblemKind::Syntax { .. } => "correct this line; the format is TOML (https://toml.io)".to_owned(),
            ProblemKind::UnknownKey { near, listing, .. } if near.is_empty() => {
                format!("remove it; {listing}")
            }
            ProblemKind::UnknownKey { near, .. } => format!("did you mean {}?", either(near)),
            ProblemKind::Value { fix, .. }
            | ProblemKind::Unusable { fix, .. }
            | ProblemKind::GoEnvironment { fix, .. } => fix.clone(),
            ProblemKind::UnknownSumdb { name, known, .. } => format!(
                "add [sumdb.\"{name}\"] with key and urls, or use one of: {}",
                known.iter().map(|k| format!("\"{k}\"")).chain(["\"compute\"".to_owned()]).collect::<Vec<_>>().join(", ")
            ),
            ProblemKind::DirectNeedsHost { .. } => {
                "name the host literally, as in \"git.corp.example/*\", or take the source from a module proxy".to_owned()
            }
            ProblemKind::Unreachable { route, earlier, .. } => {
                format!("first match wins: move route {route} above route {earlier}, or remove it")
            }
        }
    }
}

/// "`a`", "`a` or `b`", "`a`, `b` or `c`".
fn either(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
