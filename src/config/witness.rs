//! The configuration of a witness: a small file of its own, since a witness is a process of its own, with a key of its own.
//!
//! ```toml
//! name   = "witness.corp.example/w1"      # part of its key, for ever
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
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{LogFormat, Tls};
use crate::note::VerifierKey;

/// Ten thousand logs with their keys fit; whatever is larger was named by mistake.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// Logs of one witness: each is remembered in memory.
pub(super) const MAX_LOGS: usize = 50_000;

/// A witness's configuration, checked.
#[derive(Clone, Debug)]
pub struct WitnessConfig {
    /// The key's name, where it was said.
    pub name: Option<String>,
    /// Directory of the key and the database.
    pub data: PathBuf,
    /// The door.
    pub listen: SocketAddr,
    /// Health and metrics, where they are wanted.
    pub metrics_listen: Option<SocketAddr>,
    /// What stands before the paths of the protocol: empty, or `/…` without a slash at its end.
    pub prefix: String,
    /// TLS of the door.
    pub tls: Option<Tls>,
    /// Form of the log lines.
    pub log_format: LogFormat,
    /// The keys of each log, by origin.
    pub logs: BTreeMap<String, Vec<VerifierKey>>,
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
    pub listen: Option<SocketAddr>,
    /// `--metrics-listen`.
    pub metrics_listen: Option<SocketAddr>,
    /// TALLYSTICK_LOG_FORMAT.
    pub log_format: Option<LogFormat>,
    /// `--log`, each `[ORIGIN ]VKEY`. They are added to those of the file.
    pub logs: Vec<String>,
}

/// What is wrong with a witness's configuration.
#[derive(Debug, thiserror::Error)]
pub enum WitnessConfigError {
    /// The file cannot be read.
    #[error("{}: {source}\n  fix: name the witness's own configuration with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large, or no TOML of this form.
    #[error(
        "{}: {why}\n  fix: the keys are name, data, listen, metrics_listen, prefix, tls_cert, tls_key, log_format, and [[log]] with origin and key",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A log's key is none.
    #[error(
        "the log key \"{text}\": {source}\n  fix: write the whole verifier key, name+hash+base64, as the log's operator gives it"
    )]
    Key {
        /// What was written.
        text: String,
        /// Why it is none.
        source: crate::note::KeyError,
    },
    /// A value that cannot be.
    #[error("{key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// Cause and remedy.
        why: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    name: Option<String>,
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    metrics_listen: Option<SocketAddr>,
    prefix: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    log_format: Option<LogFormat>,
    #[serde(default)]
    log: Vec<FileLog>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLog {
    origin: Option<String>,
    key: String,
}

impl WitnessConfig {
    /// Reads and checks the configuration.
    pub fn load(flags: WitnessOverrides) -> Result<WitnessConfig, WitnessConfigError> {
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let directory = flags.config.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let tls = match (file.tls_cert, file.tls_key) {
            (Some(cert), Some(key)) => Some(Tls { cert: directory.join(cert), key: directory.join(key) }),
            (None, None) => None,
            _ => {
                let why = "one is set without the other: set both, or neither".to_owned();
                return Err(WitnessConfigError::Value { key: "tls_cert, tls_key", why });
            }
        };
        let prefix = file.prefix.unwrap_or_default();
        let is_path = prefix.starts_with('/') && prefix.bytes().all(|byte| byte.is_ascii_graphic());
        if !prefix.is_empty() && (!is_path || prefix.ends_with('/') || prefix.contains(['?', '#', '%'])) {
            let why = format!("\"{prefix}\" is no path: write it as in \"/w1\"");
            return Err(WitnessConfigError::Value { key: "prefix", why });
        }
        let mut logs = BTreeMap::new();
        for log in file.log {
            add(&mut logs, log.origin.as_deref(), &log.key)?;
        }
        for text in flags.logs {
            let (origin, key) = text.rsplit_once(' ').map_or((None, &*text), |(o, key)| (Some(o), key));
            add(&mut logs, origin, key)?;
        }
        if logs.len() > MAX_LOGS {
            let why = format!("{} logs are more than {MAX_LOGS}: run several witnesses", logs.len());
            return Err(WitnessConfigError::Value { key: "log", why });
        }
        let data = file.data.map(|data| directory.join(data));
        Ok(WitnessConfig {
            name: flags.name.or(file.name),
            data: flags.data.or(data).unwrap_or_else(|| "tallystick-witness".into()),
            listen: flags.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8475))),
            metrics_listen: flags.metrics_listen.or(file.metrics_listen),
            prefix,
            tls,
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            logs,
        })
    }
}

fn read(path: &Path) -> Result<FileConfig, WitnessConfigError> {
    let unreadable = |source| WitnessConfigError::Unreadable { path: path.to_owned(), source };
    let malformed = |why| WitnessConfigError::Malformed { path: path.to_owned(), why };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(malformed(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    toml::from_str(&text).map_err(|error| malformed(error.to_string()))
}

fn add(
    logs: &mut BTreeMap<String, Vec<VerifierKey>>,
    origin: Option<&str>,
    key: &str,
) -> Result<(), WitnessConfigError> {
    let parsed = key.parse::<VerifierKey>();
    let key = parsed.map_err(|source| WitnessConfigError::Key { text: key.to_owned(), source })?;
    let origin = origin.unwrap_or(key.name().as_str()).to_owned();
    if origin.is_empty() || origin.chars().any(char::is_control) {
        let why =
            format!("{origin:?} is no origin: it is one line of text, the first of the log's checkpoints");
        return Err(WitnessConfigError::Value { key: "log.origin", why });
    }
    let keys = logs.entry(origin).or_default();
    if !keys.contains(&key) {
        keys.push(key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

    fn load(text: &str, logs: &[&str]) -> Result<WitnessConfig, WitnessConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness.toml");
        std::fs::write(&path, text).unwrap();
        let logs = logs.iter().map(|log| (*log).to_owned()).collect();
        WitnessConfig::load(WitnessOverrides { config: Some(path), logs, ..WitnessOverrides::default() })
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
