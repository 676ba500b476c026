//! The effective configuration as rows: key, value, origin. Credentials in URLs are replaced by `***`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use super::said::{Said, SettingOrigin};
use super::{Config, LogFormat, LogWitness, Mode, RouteSection, Schedule, Span, VerifyInterval};
use crate::note::VerifierKey;
use crate::source::{ServerUrl, SourceList, SourceUrl};

/// One row of `config show`.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The key; routes are numbered from 1.
    pub key: String,
    /// The value in force; null where there is none.
    pub value: Value,
    /// Who set it, in words.
    pub origin: String,
}

impl Entry {
    fn new(key: String, value: Value, origin: &SettingOrigin) -> Entry {
        Entry { key, value, origin: origin.to_string() }
    }
}

/// What has rows in `config show`: a setting has one, a section those of its settings.
pub(super) trait Entries {
    /// Appends the rows of what stands at `path`.
    fn entries(&self, path: &str, found: &mut Vec<Entry>);
}

impl Config {
    /// Every setting in force, those of the lists at the end.
    pub fn entries(&self) -> Vec<Entry> {
        let mut found = Vec::new();
        Entries::entries(self, "", &mut found);
        for (name, sumdb) in &self.sumdbs {
            sumdb.entries(&format!("sumdb.{name}"), &mut found);
        }
        for (i, route) in self.routes.iter().enumerate() {
            route.entries(&format!("route.{}", i + 1), &mut found);
        }
        for (i, witness) in self.witnesses.all.iter().enumerate() {
            witness.entries(&format!("witness.{}", i + 1), &mut found);
        }
        found
    }
}

impl<T: Shown> Entries for Said<T> {
    fn entries(&self, path: &str, found: &mut Vec<Entry>) {
        found.push(Entry::new(path.to_owned(), self.value.shown(), &self.origin));
    }
}

impl Entries for RouteSection {
    fn entries(&self, path: &str, found: &mut Vec<Entry>) {
        for (key, value) in [
            ("modules", json!(self.patterns)),
            ("source", source_value(self.route.source.as_ref())),
            ("checksum", json!(self.route.checksum.to_string())),
        ] {
            found.push(Entry::new(format!("{path}.{key}"), value, &self.origin));
        }
    }
}

impl Entries for LogWitness {
    fn entries(&self, path: &str, found: &mut Vec<Entry>) {
        for (key, value) in [
            ("name", json!(self.name)),
            ("url", json!(self.url.to_string())),
            ("key", json!(self.key.to_string())),
        ] {
            found.push(Entry::new(format!("{path}.{key}"), value, &self.origin));
        }
    }
}

/// As it would be written in the file: an array whose elements stand for commas, bars inside.
fn source_value(list: Option<&SourceList>) -> Value {
    let text = list.map(SourceList::to_string).unwrap_or_default();
    json!(text.split(',').filter(|element| !element.is_empty()).collect::<Vec<_>>())
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

shown_as_itself!(bool, u32, u64, usize, NonZeroU32, NonZeroU64, String, PathBuf, SocketAddr);
shown_as_text!(IpNet, LogFormat, Mode, Schedule, ServerUrl, SourceUrl, Span, VerifierKey, VerifyInterval);

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
