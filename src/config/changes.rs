//! What differs between two configurations of one server, and which of it a reload cannot bring into
//! force.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Config;

/// Keys that decide what a server opens when it starts: its identity, its files, its ports, its
/// memory. `*` stands for a name. Every other key takes effect with a reload.
const AT_START: [&str; 17] = [
    "name",
    "data",
    "anchor",
    "listen",
    "metrics_listen",
    "log_format",
    "log_filter",
    "witnesses.required",
    "cache.tile_bytes",
    "cache.lookup_bytes",
    "cache.database_bytes",
    "sumdb.*.key",
    "sumdb.*.mode",
    "sumdb.*.poll",
    "sumdb.*.schedule",
    "sumdb.*.jobs",
    "sumdb.*.verify_interval",
];

/// What differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigChanges {
    /// Keys whose values differ, as `config show` names them.
    pub keys: Vec<String>,
    /// Those of them, and databases, that take effect at a start only.
    pub at_start: Vec<String>,
}

impl ConfigChanges {
    /// Compares a configuration with the one before it.
    pub fn between(before: &Config, after: &Config) -> ConfigChanges {
        let (old, new) = (values(before), values(after));
        let differs = |key: &&String| old.get(*key) != new.get(*key);
        let mut keys: Vec<String> = new.keys().filter(differs).cloned().collect();
        keys.extend(old.keys().filter(|key| !new.contains_key(*key)).cloned());
        let mut at_start: Vec<String> = keys.iter().filter(|key| is_at_start(key)).cloned().collect();
        if before.tls.files().is_some() != after.tls.files().is_some() {
            at_start.push("tls.cert".to_owned());
        }
        // A database that a route takes its lines from needs no section.
        let is_open = |name: &String| before.mirrored().any(|(open, _)| open == name);
        let opened = after.mirrored().filter(|(name, sumdb)| !sumdb.is_named && !is_open(name));
        at_start.extend(opened.map(|(name, _)| format!("sumdb.{name}")));
        ConfigChanges { keys, at_start }
    }
}

fn values(config: &Config) -> BTreeMap<String, Value> {
    config.entries().into_iter().map(|row| (row.key, row.value)).collect()
}

fn is_at_start(key: &str) -> bool {
    AT_START.iter().any(|pattern| match pattern.split_once('*') {
        None => *pattern == key,
        Some((start, end)) => key
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
            .is_some_and(|name| !name.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::reference::SERVER;
    use super::*;

    #[test]
    fn every_key_that_needs_a_restart_exists() {
        for pattern in AT_START {
            assert!(SERVER.key(pattern).is_some(), "{pattern} is no key");
            assert!(is_at_start(&pattern.replace('*', "sum.a.example")), "{pattern}");
        }
        for key in ["url", "route.1.source", "sumdb.a.example.hook_secret_file", "limits.deadline_seconds"] {
            assert!(!is_at_start(key), "{key}");
        }
    }
}
