//! The effective configuration as rows: key, value, origin. Credentials in URLs are replaced by `***`.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Config, LogFormat, Origin, Span};
use crate::source::SourceList;

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

impl Config {
    /// Every setting in force, in the order of the reference.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self
            .scalars()
            .into_iter()
            .map(|(key, value)| Entry { key: key.to_owned(), value, origin: self.origin(key).to_string() })
            .collect();
        let mut add = |key: String, value: Value, origin: &Origin| {
            entries.push(Entry { key, value, origin: origin.to_string() });
        };
        for (name, sumdb) in &self.sumdbs {
            add(format!("sumdb.{name}.key"), json!(sumdb.key.to_string()), &sumdb.key_origin);
            let urls: Vec<String> = sumdb.urls.iter().map(ToString::to_string).collect();
            add(format!("sumdb.{name}.urls"), json!(urls), &sumdb.urls_origin);
            add(format!("sumdb.{name}.mode"), json!(sumdb.mode.as_str()), &sumdb.mode_origin);
            add(format!("sumdb.{name}.poll"), json!(Span(sumdb.poll).to_string()), &sumdb.poll_origin);
            let schedule = sumdb.schedule.as_ref().map(ToString::to_string);
            for (key, value) in [
                ("schedule", json!(schedule)),
                ("jobs", json!(sumdb.jobs)),
                ("requests_per_second", json!(sumdb.requests_per_second)),
                ("bytes_per_second", json!(sumdb.bytes_per_second)),
                ("hook_secret_file", json!(sumdb.hook_secret_file)),
            ] {
                let origin = sumdb.origins.get(key).cloned().unwrap_or(Origin::Default);
                add(format!("sumdb.{name}.{key}"), value, &origin);
            }
            let interval = json!(sumdb.verify_interval.to_string());
            add(format!("sumdb.{name}.verify_interval"), interval, &sumdb.verify_interval_origin);
        }
        for (i, section) in self.routes.iter().enumerate() {
            let number = i + 1;
            add(format!("route.{number}.modules"), json!(section.patterns), &section.origin);
            add(
                format!("route.{number}.source"),
                source_value(section.route.source.as_ref()),
                &section.origin,
            );
            add(
                format!("route.{number}.checksum"),
                json!(section.route.checksum.to_string()),
                &section.origin,
            );
        }
        for (i, witness) in self.witnesses.all.iter().enumerate() {
            let number = i + 1;
            add(format!("witness.{number}.name"), json!(witness.name), &witness.origin);
            add(format!("witness.{number}.url"), json!(witness.url.to_string()), &witness.origin);
            add(format!("witness.{number}.key"), json!(witness.key.to_string()), &witness.origin);
        }
        entries
    }

    fn scalars(&self) -> Vec<(&'static str, Value)> {
        let (limits, cache) = (&self.limits, &self.cache);
        let log_format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        vec![
            ("name", json!(self.name)),
            ("url", json!(self.url.as_ref().map(ToString::to_string))),
            ("data", json!(self.data)),
            ("anchor", json!(self.anchor)),
            ("listen", json!(self.listen)),
            ("metrics_listen", json!(self.metrics_listen)),
            ("tls.cert", json!(self.tls.as_ref().map(|tls| &tls.cert))),
            ("tls.key", json!(self.tls.as_ref().map(|tls| &tls.key))),
            (
                "trusted_proxies",
                json!(self.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>()),
            ),
            ("roots", json!(self.roots)),
            ("git_config", json!(self.git_config)),
            ("contact", json!(self.contact)),
            ("redirects.hosts", json!(self.redirects.hosts)),
            ("redirects.private_sources", json!(self.redirects.private_sources)),
            ("log_format", json!(log_format)),
            ("log_filter", json!(self.log_filter)),
            ("witnesses.quorum", json!(self.witnesses.quorum)),
            ("witnesses.required", json!(self.witnesses.required)),
            ("witnesses.timeout_seconds", json!(self.witnesses.timeout.as_secs())),
            ("freshness", json!(Span(self.freshness).to_string())),
            ("limits.connections", json!(limits.connections)),
            ("limits.deadline_seconds", json!(limits.deadline.as_secs())),
            ("limits.concurrency", json!(limits.concurrency)),
            ("limits.zip_bytes", json!(limits.zip_bytes)),
            ("limits.client_misses_per_minute", json!(limits.client_misses_per_minute)),
            ("limits.misses_per_minute", json!(limits.misses_per_minute)),
            ("limits.negative_cache_seconds", json!(limits.negative_cache.as_secs())),
            ("cache.tile_bytes", json!(cache.tile_bytes)),
            ("cache.lookup_bytes", json!(cache.lookup_bytes)),
            ("cache.database_bytes", json!(cache.database_bytes)),
        ]
    }
}

/// As it would be written in the file: an array whose elements stand for commas, bars inside.
fn source_value(list: Option<&SourceList>) -> Value {
    let text = list.map(SourceList::to_string).unwrap_or_default();
    json!(text.split(',').filter(|element| !element.is_empty()).collect::<Vec<_>>())
}
