//! The effective configuration as rows: key, value, origin.

use serde_json::{Value, json};

use super::rows::{SettingRow, SettingRows};
use super::{Config, LogWitness, RouteSection};
use crate::source::SourceList;

impl Config {
    /// Every setting in force, those of the lists at the end.
    pub fn entries(&self) -> Vec<SettingRow> {
        let mut found = Vec::new();
        SettingRows::entries(self, "", &mut found);
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

impl SettingRows for RouteSection {
    fn entries(&self, path: &str, found: &mut Vec<SettingRow>) {
        for (key, value) in [
            ("modules", json!(self.patterns)),
            ("source", source_value(self.route.source.as_ref())),
            ("checksum", json!(self.route.checksum.to_string())),
        ] {
            found.push(SettingRow::new(format!("{path}.{key}"), value, &self.origin));
        }
        self.netrc.entries(&format!("{path}.netrc"), found);
    }
}

impl SettingRows for LogWitness {
    fn entries(&self, path: &str, found: &mut Vec<SettingRow>) {
        for (key, value) in [
            ("name", json!(self.name)),
            ("url", json!(self.url.to_string())),
            ("key", json!(self.key.to_string())),
        ] {
            found.push(SettingRow::new(format!("{path}.{key}"), value, &self.origin));
        }
    }
}

/// As it would be written in the file: an array whose elements stand for commas, bars inside.
fn source_value(list: Option<&SourceList>) -> Value {
    let text = list.map(SourceList::to_string).unwrap_or_default();
    json!(text.split(',').filter(|element| !element.is_empty()).collect::<Vec<_>>())
}
