//! The configuration of a witness: a small file of its own, since a witness is a process of its
//! own, with a key of its own.
//!
//! ```toml
//! name   = "witness.corp.example/w1"      # part of its key, forever
//! data   = "/var/lib/tallystick-witness"  # its key and its memory
//! listen = "127.0.0.1:8475"
//!
//! [[log]]
//! key = "sum.corp.example+1c2d3e4f+AQ…"   # a log's verifier key; again for each key it signs with
//!
//! [[log]]
//! origin = "example.com/log42"            # the first line of its checkpoints, where that is not the key's name
//! key    = "example.com/key-2026+…"
//! ```
//!
//! Flags win over the file. Paths in the file are relative to the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::declare::settings;
use super::loader::{At, Environment, Loader};
use super::problem::{ConfigError, ProblemKind};
use super::reference::WITNESS;
use super::said::{Said, SettingOrigin};
use super::{ListenAddress, LogFormat, Tls, file, load, local};
use crate::note::VerifierKey;

/// Logs of one witness: each is remembered in memory.
pub(super) const MAX_LOGS: usize = 50_000;

settings! {
    /// A witness's configuration, checked.
    pub struct WitnessConfig(at, flags: &WitnessOverrides) {
        /// The key's name, where it was said.
        "name" => name: Said<Option<String>> = Said::optional(at.over(flags.name.clone()));
        /// Directory of the key and the database.
        "data" => data: Said<PathBuf> = at.path(flags.data.clone())
            .unwrap_or_else(|| at.path_by_default("tallystick-witness"));
        /// The address at which logs submit checkpoints.
        "listen" => listen: Said<ListenAddress> =
            at.over(flags.listen.clone()).unwrap_or_else(|| Said::by_default(local(8475)));
        /// Health and metrics, where they are wanted.
        "metrics_listen" => metrics_listen: Said<Option<ListenAddress>> =
            Said::optional(at.over(flags.metrics_listen.clone()));
        /// What stands before the paths of the protocol: empty, or `/…` without a slash at its end.
        "prefix" => prefix: Said<String> = read_prefix(at);
        /// PEM chain, leaf first.
        "tls_cert" => tls_cert: Said<Option<PathBuf>> = at.optional_path();
        /// PEM private key.
        "tls_key" => tls_key: Said<Option<PathBuf>> = at.optional_path();
        /// Form of the log lines.
        "log_format" => log_format: Said<LogFormat> = at.parsed_or(LogFormat::Text);
    }
    also {
        /// The keys of each log, by origin.
        logs: BTreeMap<String, Vec<VerifierKey>> = read_logs(at, &flags.logs);
    }
}

/// What the command line said.
#[derive(Clone, Debug, Default)]
pub struct WitnessOverrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--name`.
    pub name: Option<String>,
    /// `--listen`.
    pub listen: Option<ListenAddress>,
    /// `--metrics-listen`.
    pub metrics_listen: Option<ListenAddress>,
    /// `--log`, each `[ORIGIN ]VKEY`. They are added to those of the file.
    pub logs: Vec<String>,
}

impl WitnessConfig {
    /// Reads and checks the configuration. Without `--config` there is no file, only defaults.
    pub fn load(flags: &WitnessOverrides, environment: &Environment) -> Result<WitnessConfig, ConfigError> {
        let text = flags.config.as_deref().map(|path| file::read(path, &WITNESS)).transpose()?;
        let table = text.as_ref().map(|text| file::parse(text, &WITNESS)).transpose()?.unwrap_or_default();
        let mut loader = Loader::new(&WITNESS, text.as_ref(), environment);
        let mut at = loader.root(table);
        let config = WitnessConfig::read(&mut at, flags);
        load::both_or_neither(&mut at, ("tls_cert", &config.tls_cert), ("tls_key", &config.tls_key));
        if config.logs.len() > MAX_LOGS {
            at.key = "log";
            let kind = ProblemKind::Value {
                key: "log".to_owned(),
                why: format!("has {} logs, more than {MAX_LOGS}", config.logs.len()),
                fix: "run several witnesses".to_owned(),
            };
            at.problem(at.place(), kind);
        }
        loader.finish()?;
        Ok(config)
    }

    /// Returns the files of certificate and key, where the witness has TLS.
    pub fn tls(&self) -> Option<Tls> {
        Some(Tls { cert: self.tls_cert.value.clone()?, key: self.tls_key.value.clone()? })
    }
}

fn read_prefix(at: &mut At<'_, '_>) -> Said<String> {
    let prefix = at.parsed_or(String::new());
    let is_path = prefix.starts_with('/') && prefix.bytes().all(|byte| byte.is_ascii_graphic());
    if !prefix.is_empty() && (!is_path || prefix.ends_with('/') || prefix.contains(['?', '#', '%'])) {
        at.wrong(prefix.origin.clone(), &format!("\"{}\" is no path", *prefix));
    }
    prefix
}

/// Reads each `[[log]]`, and adds those of the command line.
fn read_logs(at: &mut At<'_, '_>, flags: &[String]) -> BTreeMap<String, Vec<VerifierKey>> {
    let mut logs = BTreeMap::new();
    at.key = "log";
    at.each(|at, _| {
        at.key = "origin";
        let origin = at.said::<String>();
        at.key = "key";
        let Said { value: key, origin: place } = at.required::<String>()?;
        add(at, &mut logs, origin.as_ref().map(|said| said.value.as_str()), &key, &place);
        Some(())
    });
    for text in flags {
        let (origin, key) = text.rsplit_once(' ').map_or((None, &**text), |(o, key)| (Some(o), key));
        add(at, &mut logs, origin, key, &SettingOrigin::Flag("--log"));
    }
    logs
}

fn add(
    at: &mut At<'_, '_>,
    logs: &mut BTreeMap<String, Vec<VerifierKey>>,
    origin: Option<&str>,
    text: &str,
    place: &SettingOrigin,
) {
    let mut problem = |key: &str, why: String, fix: &str| {
        let kind = ProblemKind::Value { key: key.to_owned(), why, fix: fix.to_owned() };
        at.problem(place.clone(), kind);
    };
    let key = match text.parse::<VerifierKey>() {
        Ok(key) => key,
        Err(error) => {
            let fix = "write the whole verifier key, name+hash+base64, as the log's operator gives it";
            return problem("log.key", format!("is \"{text}\": {error}"), fix);
        }
    };
    let origin = origin.unwrap_or(key.name().as_str()).to_owned();
    if origin.is_empty() || origin.chars().any(char::is_control) {
        let fix = "write the first line of the log's checkpoints";
        return problem("log.origin", format!("is {origin:?}, which is not one line of text"), fix);
    }
    let keys: &mut Vec<VerifierKey> = logs.entry(origin).or_default();
    if !keys.contains(&key) {
        keys.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

    fn load(text: &str, logs: &[&str]) -> Result<WitnessConfig, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness.toml");
        std::fs::write(&path, text).unwrap();
        let logs = logs.iter().map(|log| (*log).to_owned()).collect();
        let flags = WitnessOverrides { config: Some(path), logs, ..WitnessOverrides::default() };
        WitnessConfig::load(&flags, &Environment::default())
    }

    #[test]
    fn a_log_is_known_by_its_keys_name_or_by_its_origin() {
        let text = format!("data = \"w\"\n[[log]]\nkey = \"{KEY}\"\n[[log]]\nkey = \"{KEY}\"\n");
        let config = load(&text, &[KEY, &format!("go.sum database tree {KEY}")]).unwrap();
        let origins: Vec<_> =
            config.logs.iter().map(|(origin, keys)| (origin.as_str(), keys.len())).collect();
        assert_eq!(origins, [("go.sum database tree", 1), ("sum.golang.org", 1)]);
        assert!(config.data.is_absolute() && config.data.ends_with("w"), "{:?}", config.data);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("liste = \"127.0.0.1:1\"", "liste"),
            ("listen = \"nowhere\"", "listen"),
            ("[[log]]\nkey = \"sum.golang.org\"", "sum.golang.org"),
            ("[[log]]\norigin = \"x\"", "key"),
            ("tls_cert = \"a\"", "tls_key"),
            ("prefix = \"w1\"", "w1"),
            ("prefix = \"/w1/\"", "/w1/"),
        ] {
            let error = load(text, &[]).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
