//! A setting and who said it, so that `config show` and each error can name the one place where it is changed.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

/// The place that gave a setting its value, strongest first: flag, environment, file, `go env`, default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
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

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingOrigin::Flag(flag) => write!(f, "flag {flag}"),
            SettingOrigin::Environment(name) => write!(f, "environment {name}"),
            SettingOrigin::File { file, line } => write!(f, "{}:{line}", file.display()),
            SettingOrigin::GoEnv(name) => write!(f, "go env {name}"),
            SettingOrigin::Default => f.write_str("default"),
        }
    }
}

/// A value and who said it. It is used like the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<T> {
    /// The value in force.
    pub value: T,
    /// Who said it.
    pub origin: SettingOrigin,
}

impl<T> Said<T> {
    /// A value that nobody said.
    pub(super) fn by_default(value: T) -> Said<T> {
        Said { value, origin: SettingOrigin::Default }
    }

    /// A value that may be left out.
    pub(super) fn optional(said: Option<Said<T>>) -> Said<Option<T>> {
        said.map_or_else(|| Said::by_default(None), |said| said.map(Some))
    }

    /// Whether nobody said it.
    pub fn is_by_default(&self) -> bool {
        self.origin == SettingOrigin::Default
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Said<U> {
        Said { value: change(self.value), origin: self.origin }
    }
}

impl<T> Deref for Said<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Display> fmt::Display for Said<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
