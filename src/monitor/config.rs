//! What a monitor follows, and whom it tells: a TOML file.
//!
//! ```toml
//! state    = "/var/lib/tallystick-monitor"   # a directory of its own
//! feed     = "/srv/www/sumdb.atom"           # the last events, for feed readers
//! textfile = "/var/lib/node_exporter/monitor.prom"
//! metrics_listen = "127.0.0.1:8477"          # /healthz, /readyz, /metrics
//!
//! [webhook]
//! url         = "https://alerts.corp.example/sumdb"
//! secret_file = "hook.secret"                # one line, mode 0600
//!
//! [[log]]
//! name    = "sum.golang.org"
//! key     = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
//! urls    = ["https://sum.golang.org"]
//! poll    = "5m"                             # default 1m
//! modules = ["corp.example/*", "github.com/corp"]   # tell of their new versions
//! gosum   = ["go.sum"]                       # tell of records that disagree with these lines
//! lookup  = true                             # also of those that were there before: each line is looked up
//! private = ["corp.example/*"]               # never named to this log, in any letter case; nor is corp.example
//! compare = ["sum.corp.example"]             # and with what this other log has of the module versions above
//! silence = "24h"                            # tell when there is no new head for so long
//! lag     = "1h"                             # and when nothing could be verified for so long (default)
//! from    = 0                                # where to begin; default: with what comes after the first start
//! ```
//! Paths are relative to the file. Unknown keys are errors.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::config::{DeadPattern, Secret, SecretError, Span};
use crate::files;
use crate::module::PathPatterns;
use crate::note::VerifierKey;
use crate::source::{ServerUrl, SourceUrl};

/// As for mirrors: more often would be rude, less often watches nothing.
const POLLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// A hundred logs with all their keys and patterns.
const MAX_FILE_BYTES: u64 = 4 << 20;
const DEFAULT_POLL: Duration = Duration::from_secs(60);
/// A log that cannot be verified for an hour is worth a look.
const DEFAULT_LAG: Duration = Duration::from_secs(3600);
/// Each has a database and tiles in memory.
const LOGS_MAX: usize = 100;

/// A monitor's configuration.
#[derive(Debug)]
pub struct MonitorConfig {
    /// The directory of what it remembers.
    pub state: PathBuf,
    /// The Atom feed.
    pub feed: Option<PathBuf>,
    /// The file of figures.
    pub textfile: Option<PathBuf>,
    /// Address and port of health and metrics.
    pub metrics_listen: Option<SocketAddr>,
    /// Who is told.
    pub webhook: Option<WebhookConfig>,
    /// What is followed.
    pub logs: Vec<Followed>,
}

/// Who is told of each event, and the key of the signature.
pub struct WebhookConfig {
    /// Where events are posted.
    pub url: ServerUrl,
    /// Signs them.
    pub secret: Secret,
}

/// A log that is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: VerifierKey,
    /// Where it is reached.
    pub urls: Vec<SourceUrl>,
    /// How often.
    pub poll: Duration,
    /// Whose new versions are told of.
    pub modules: PathPatterns,
    /// Lines that its records must agree with.
    pub gosum: Vec<PathBuf>,
    /// Whether they are looked up, for the records that were there before.
    pub lookup: bool,
    /// Which paths the log must not be told; see [`Followed::may_be_told`].
    pub private: PathPatterns,
    /// Other logs of this monitor that must agree about those modules.
    pub compare: Vec<String>,
    /// No new head for so long is told.
    pub silence: Option<Duration>,
    /// No verified answer for so long is told.
    pub lag: Duration,
    /// The first record that is looked at; none: those after the first start.
    pub from: Option<u64>,
}

impl Followed {
    /// Whether the log may be told an unescaped module path: not one that is private, nor one that differs from it only in
    /// upper and lower case, nor the path right above everything that is private.
    pub fn may_be_told(&self, path: &str) -> bool {
        !self.private.matches(path) && self.private.near_miss(path).is_none()
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum MonitorConfigError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or has a key that is not known.
    #[error("{}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        why: String,
    },
    /// A value that makes no sense.
    #[error("{}: {key}: {why}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The web hook's secret.
    #[error("webhook.secret_file: {0}")]
    Secret(#[from] SecretError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    state: PathBuf,
    feed: Option<PathBuf>,
    textfile: Option<PathBuf>,
    metrics_listen: Option<SocketAddr>,
    webhook: Option<FileWebhook>,
    #[serde(default)]
    log: Vec<FileLog>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWebhook {
    url: String,
    secret_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLog {
    name: String,
    key: String,
    urls: Vec<String>,
    poll: Option<String>,
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    gosum: Vec<PathBuf>,
    #[serde(default)]
    lookup: bool,
    #[serde(default)]
    private: Vec<String>,
    #[serde(default)]
    compare: Vec<String>,
    silence: Option<String>,
    lag: Option<String>,
    from: Option<u64>,
}

impl MonitorConfig {
    /// Reads a file, and the secret that it names.
    pub fn load(path: &Path) -> Result<MonitorConfig, MonitorConfigError> {
        let io = |source| MonitorConfigError::Io { path: path.to_owned(), source };
        let text = files::read_named(path, MAX_FILE_BYTES).map_err(io)?;
        let text =
            String::from_utf8(text).map_err(|error| io(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let file: File = toml::from_str(&text)
            .map_err(|error| MonitorConfigError::Syntax { path: path.to_owned(), why: error.to_string() })?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let wrong = |key: &str, why: String| MonitorConfigError::Value {
            path: path.to_owned(),
            key: key.to_owned(),
            why,
        };
        if file.log.is_empty() || file.log.len() > LOGS_MAX {
            return Err(wrong("log", format!("there must be 1 to {LOGS_MAX} sections [[log]]")));
        }
        let webhook = file.webhook.map(|hook| {
            let url = hook.url.parse().map_err(|error| wrong("webhook.url", format!("{error}")))?;
            Ok::<_, MonitorConfigError>(WebhookConfig {
                url,
                secret: Secret::read(&directory.join(hook.secret_file))?,
            })
        });
        let parse = |log: FileLog| {
            let name = log.name.clone();
            log.parse(&directory).map_err(|(key, why)| wrong(&format!("log \"{name}\": {key}"), why))
        };
        let logs: Vec<Followed> = file.log.into_iter().map(parse).collect::<Result<_, _>>()?;
        let names: BTreeSet<&str> = logs.iter().map(|log| log.name.as_str()).collect();
        if names.len() < logs.len() {
            return Err(wrong("log", "two of them have one name".to_owned()));
        }
        for log in &logs {
            if let Some(other) =
                log.compare.iter().find(|other| **other == log.name || !names.contains(other.as_str()))
            {
                let key = format!("log \"{}\": compare", log.name);
                return Err(wrong(&key, format!("there is no other [[log]] named {other:?}")));
            }
        }
        Ok(MonitorConfig {
            state: directory.join(file.state),
            feed: file.feed.map(|path| directory.join(path)),
            textfile: file.textfile.map(|path| directory.join(path)),
            metrics_listen: file.metrics_listen,
            webhook: webhook.transpose()?,
            logs,
        })
    }
}

impl FileLog {
    fn parse(self, directory: &Path) -> Result<Followed, (&'static str, String)> {
        let span =
            |key: &'static str, text: Option<String>| -> Result<Option<Duration>, (&'static str, String)> {
                let parse = |text: String| text.parse().map_err(|error| (key, format!("{error}")));
                Ok(text.map(parse).transpose()?.map(|Span(span)| span))
            };
        let key: VerifierKey = self.key.parse().map_err(|error| ("key", format!("{error}")))?;
        if key.name().as_str() != self.name {
            return Err(("key", format!("it is the key of {}", key.name())));
        }
        let url = |url: &String| url.parse().map_err(|error| ("urls", format!("{error}")));
        let urls: Vec<SourceUrl> = self.urls.iter().map(url).collect::<Result<_, _>>()?;
        if urls.is_empty() {
            return Err(("urls", "there must be one".to_owned()));
        }
        let poll = span("poll", self.poll)?.unwrap_or(DEFAULT_POLL);
        if !POLLS.contains(&poll) {
            return Err(("poll", format!("{} is not between 1s and 24h", Span(poll))));
        }
        let modules = patterns("modules", &self.modules)?;
        let private = patterns("private", &self.private)?;
        if self.lookup && self.gosum.is_empty() {
            return Err(("lookup", "only the lines of `gosum` are looked up: name a file".to_owned()));
        }
        if !self.compare.is_empty() && modules.is_empty() {
            return Err((
                "compare",
                "only module versions that `modules` names are compared: name some".to_owned(),
            ));
        }
        Ok(Followed {
            key,
            urls,
            poll,
            modules,
            gosum: self.gosum.into_iter().map(|path| directory.join(path)).collect(),
            lookup: self.lookup,
            private,
            compare: self.compare,
            silence: span("silence", self.silence)?,
            lag: span("lag", self.lag)?.unwrap_or(DEFAULT_LAG),
            from: self.from,
            name: self.name,
        })
    }
}

fn patterns(key: &'static str, given: &[String]) -> Result<PathPatterns, (&'static str, String)> {
    let listed = given.iter().flat_map(|list| list.split(','));
    let dead = listed.into_iter().find_map(|pattern| Some((pattern, DeadPattern::of(pattern)?)));
    if let Some((pattern, dead)) = dead {
        return Err((key, format!("`{pattern}` {}, and would match nothing: {}", dead.why, dead.advice())));
    }
    Ok(PathPatterns::parse(&given.join(",")))
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig").field("url", &self.url.to_string()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

    fn load(text: &str) -> Result<MonitorConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("monitor.toml");
        std::fs::write(&path, text).unwrap();
        MonitorConfig::load(&path).map_err(|error| error.to_string())
    }

    fn log(more: &str) -> String {
        format!(
            "[[log]]\nname = \"sum.golang.org\"\nkey = \"{KEY}\"\nurls = [\"https://sum.golang.org\"]\n{more}\n"
        )
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let config =
            load(&format!("state = \"s\"\n{}", log("modules = [\"a.example\", \"b.example/*\"]"))).unwrap();
        let log = &config.logs[0];
        assert_eq!((log.poll, log.lag, log.silence), (DEFAULT_POLL, DEFAULT_LAG, None));
        assert_eq!((log.from, log.modules.to_string().as_str()), (None, "a.example,b.example/*"));
    }

    /// The example above, with the secret that it names.
    #[test]
    fn the_example_is_valid() {
        use std::os::unix::fs::PermissionsExt;
        let text = include_str!("config.rs");
        let example = text.split("//! ```").nth(1).unwrap().strip_prefix("toml\n").unwrap();
        let mut toml: String =
            example.lines().map(|line| format!("{}\n", line.trim_start_matches("//!"))).collect();
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("hook.secret");
        std::fs::write(&secret, "sixteen bytes and more\n").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        toml = toml.replace("\"hook.secret\"", &format!("{secret:?}"));
        // The other log that it compares with is left out there.
        let signer = crate::note::SignerKey::generate("sum.corp.example".parse().unwrap(), [1; 32]);
        let other = log("").replace("sum.golang.org\"\nkey", "sum.corp.example\"\nkey");
        let config = load(&(toml + &other.replace(KEY, &signer.verifier().to_string()))).unwrap();
        assert_eq!((config.logs.len(), config.logs[0].from), (2, Some(0)));
        assert!(config.webhook.is_some());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            (String::new(), "missing field `state`"),
            ("state = \"s\"".to_owned(), "there must be 1 to 100 sections"),
            (format!("state = \"s\"\nstat = 1\n{}", log("")), "unknown field `stat`"),
            (format!("state = \"s\"\n{}", log("modul = []")), "unknown field `modul`"),
            (format!("state = \"s\"\n{}{}", log(""), log("")), "two of them have one name"),
            (format!("state = \"s\"\n{}", log("poll = \"0s\"")), "poll"),
            (format!("state = \"s\"\n{}", log("poll = \"25h\"")), "is not between 1s and 24h"),
            (
                format!("state = \"s\"\n{}", log("modules = [\"a/[b\"]")),
                "is not a complete pattern, and would match nothing",
            ),
            (format!("state = \"s\"\n{}", log("private = [\"a/[b\"]")), "private"),
            (format!("state = \"s\"\n{}", log("lookup = true")), "name a file"),
            (format!("state = \"s\"\nmetrics_listen = \"8477\"\n{}", log("")), "metrics_listen"),
            (
                format!("state = \"s\"\n{}", log("compare = [\"x\"]\nmodules = [\"a\"]")),
                "no other [[log]] named \"x\"",
            ),
            (format!("state = \"s\"\n{}", log("compare = [\"x\"]")), "name some"),
            (
                format!("state = \"s\"\n{}", log("").replace("sum.golang.org\"\nkey", "other\"\nkey")),
                "it is the key of",
            ),
            (format!("state = \"s\"\n{}", log("").replace("https", "ftp")), "urls"),
            (
                format!("state = \"s\"\n[webhook]\nurl = \"http://x\"\nsecret_file = \"none\"\n{}", log("")),
                "secret_file",
            ),
        ] {
            let said = load(&text).map(|_| ()).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
