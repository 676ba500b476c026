//! Settings as rows of `config show`. Credentials in URLs are replaced by `***`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use super::said::{Said, SettingOrigin};
use super::{ListenAddress, LogFormat, Mode, Schedule, Span, VerifyInterval};
use crate::module::PathPatterns;
use crate::note::VerifierKey;
use crate::source::{ServerUrl, SourceUrl};

/// One row of `config show`.
#[derive(Clone, Debug, Serialize)]
pub struct SettingRow {
    /// The key; routes are numbered from 1.
    pub key: String,
    /// The value in force; null where there is none.
    pub value: Value,
    /// Who set it, in words.
    pub origin: String,
}

impl SettingRow {
    pub(super) fn new(key: String, value: Value, origin: &SettingOrigin) -> SettingRow {
        SettingRow { key, value, origin: origin.to_string() }
    }
}

/// What has rows in `config show`: a setting has one, a section those of its settings.
pub(super) trait SettingRows {
    /// Appends the rows of what stands at `path`.
    fn entries(&self, path: &str, found: &mut Vec<SettingRow>);
}

impl<T: Shown> SettingRows for Said<T> {
    fn entries(&self, path: &str, found: &mut Vec<SettingRow>) {
        found.push(SettingRow::new(path.to_owned(), self.value.shown(), &self.origin));
    }
}

/// A value as `config show` has it.
pub(super) trait Shown {
    /// Returns it as JSON: what stands in the file, secrets hidden.
    fn shown(&self) -> Value;
}

macro_rules! shown_as_itself {
    ($($type:ty),*) => {
        $(impl Shown for $type {
            fn shown(&self) -> Value {
                json!(self)
            }
        })*
    };
}

macro_rules! shown_as_text {
    ($($type:ty),*) => {
        $(impl Shown for $type {
            fn shown(&self) -> Value {
                json!(self.to_string())
            }
        })*
    };
}

shown_as_itself!(bool, u32, u64, usize, NonZeroU32, NonZeroU64, String, PathBuf);
shown_as_text!(
    IpNet,
    ListenAddress,
    LogFormat,
    Mode,
    PathPatterns,
    Schedule,
    ServerUrl,
    SourceUrl,
    Span,
    VerifierKey,
    VerifyInterval
);

/// Keys for lengths of time in seconds say so.
impl Shown for Duration {
    fn shown(&self) -> Value {
        json!(self.as_secs())
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> Value {
        self.as_ref().map_or(Value::Null, Shown::shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> Value {
        self.iter().map(Shown::shown).collect()
    }
}
