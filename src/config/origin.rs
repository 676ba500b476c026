//! Where a value came from. Every setting keeps its origin, so that `config show` and each error can name the
//! one place where it is changed.

use std::fmt;
use std::path::PathBuf;

/// The place that gave a setting its value, strongest first: flag, environment, file, `go env`, default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag, such as `--listen`.
    Flag(&'static str),
    /// An environment variable, such as `TALLYSTICK_LISTEN` or `GOPROXY`.
    Environment(String),
    /// The configuration file and the line (from 1) where the value starts.
    File {
        /// The file as it was named.
        file: PathBuf,
        /// Line number, from 1.
        line: usize,
    },
    /// What `go env` answers for this variable.
    GoEnv(String),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => write!(f, "flag {flag}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::File { file, line } => write!(f, "{}:{line}", file.display()),
            Origin::GoEnv(name) => write!(f, "go env {name}"),
            Origin::Default => f.write_str("default"),
        }
    }
}
