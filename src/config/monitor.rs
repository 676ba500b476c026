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
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::declare::settings;
use super::loader::{At, Environment, Loader};
use super::problem::{ConfigError, Problem, ProblemKind};
use super::reference::MONITOR;
use super::said::Said;
use super::{ListenAddress, Span, file, load, sumdb};
use crate::module::PathPatterns;
use crate::note::VerifierKey;
use crate::source::{ServerUrl, SourceUrl};

const DEFAULT_POLL: Duration = Duration::from_secs(60);
/// A log that cannot be verified for an hour is worth a look.
const DEFAULT_LAG: Span = Span(Duration::from_secs(3600));
/// Each has a database and tiles in memory.
const LOGS_MAX: usize = 100;

settings! {
    /// A monitor's configuration, checked.
    pub struct MonitorConfig(at) {
        /// The directory of what the monitor remembers.
        "state" => state: Said<PathBuf> = at.required_path();
        /// The Atom feed.
        "feed" => feed: Said<Option<PathBuf>> = at.optional_path();
        /// The file of metrics.
        "textfile" => textfile: Said<Option<PathBuf>> = at.optional_path();
        /// The address of health and metrics.
        "metrics_listen" => metrics_listen: Said<Option<ListenAddress>> = Said::optional(at.said());
    }
    also {
        /// Who is told of each event.
        webhook: Option<WebhookSection> = {
            at.key = "webhook";
            at.is_there().then(|| WebhookSection::read(&mut at.section()))
        };
        /// The logs that are followed.
        logs: Vec<Followed> = {
            at.key = "log";
            at.each(|at, _| Some(Followed::read(at)))
        };
    }
}

settings! {
    /// Who is told of each event, and the file of the secret that signs it.
    pub struct WebhookSection(at) {
        /// Where events are posted.
        "url" => url: Said<Option<ServerUrl>> = read_url(at);
        /// The file of the secret that signs them.
        "secret_file" => secret_file: Said<PathBuf> = at.required_path();
    }
    also {}
}

settings! {
    /// A log that is followed.
    pub struct Followed(at) {
        /// Its name.
        "name" => name: Said<String> = at.required_or_default();
        /// Its key.
        "key" => key: Said<VerifierKey> = sumdb::read_key(at, &name);
        /// Where it is reached, asked in this order.
        "urls" => urls: Said<Vec<SourceUrl>> = sumdb::read_urls(at, &name);
        /// How often it is asked for a new head.
        "poll" => poll: Said<Span> = sumdb::read_poll(at, DEFAULT_POLL);
        /// Modules whose new versions are reported.
        "modules" => modules: Said<PathPatterns> = read_patterns(at);
        /// Files of lines that its records must agree with.
        "gosum" => gosum: Said<Vec<PathBuf>> = at.paths();
        /// Whether these lines are looked up, for the records that were there before.
        "lookup" => lookup: Said<bool> = read_lookup(at, gosum.is_empty());
        /// Which paths the log must not be told; see [`Followed::may_be_told`].
        "private" => private: Said<PathPatterns> = read_patterns(at);
        /// Other logs of this monitor that must agree about those modules.
        "compare" => compare: Said<Vec<String>> = read_compare(at, modules.is_empty());
        /// A log without a new head for so long is reported.
        "silence" => silence: Said<Option<Span>> = Said::optional(at.parsed());
        /// A log that could not be verified for so long is reported.
        "lag" => lag: Said<Span> = at.parsed_or(DEFAULT_LAG);
        /// The first record that is looked at; none: those after the first start.
        "from" => from: Said<Option<u64>> = Said::optional(at.said());
    }
    also {}
}

impl Followed {
    /// Whether the log may be told an unescaped module path: not one that is private, nor one that
    /// differs from it only in upper and lower case, nor the path right above everything that is
    /// private.
    pub fn may_be_told(&self, path: &str) -> bool {
        !self.private.matches(path) && self.private.near_miss(path).is_none()
    }
}

impl MonitorConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<MonitorConfig, ConfigError> {
        let text = file::read(path, &MONITOR)?;
        let table = file::parse(&text, &MONITOR)?;
        // No key of a monitor has an environment variable.
        let environment = Environment::default();
        let mut loader = Loader::new(&MONITOR, Some(&text), &environment);
        let config = MonitorConfig::read(&mut loader.root(table));
        loader.finish()?;
        let problems = config.problems(&text);
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::of(problems)) }
    }

    /// What must hold between logs.
    fn problems(&self, text: &file::FileText) -> Vec<Problem> {
        let problem = |place, key: &str, why: String, fix: &str| {
            let (key, fix) = (key.to_owned(), fix.to_owned());
            Problem { place, kind: ProblemKind::Value { key, why, fix } }
        };
        if self.logs.is_empty() || self.logs.len() > LOGS_MAX {
            let why =
                format!("has {} sections: there must be 1 to {LOGS_MAX} sections [[log]]", self.logs.len());
            return vec![problem(text.origin(0..0), "log", why, "write a section for each log to follow")];
        }
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        for log in &self.logs {
            if !names.insert(log.name.as_str()) {
                let why = format!("is \"{}\" again: two of them have one name", *log.name);
                problems.push(problem(
                    log.name.origin.clone(),
                    "log.name",
                    why,
                    "remove one of the two sections",
                ));
            }
        }
        for log in &self.logs {
            let is_wrong = |other: &&String| **other == *log.name || !names.contains(other.as_str());
            if let Some(other) = log.compare.iter().find(is_wrong) {
                let why = format!("names \"{other}\": there is no other [[log]] named \"{other}\"");
                let fix = "name another log of this file, or add a [[log]] for it";
                problems.push(problem(log.compare.origin.clone(), "log.compare", why, fix));
            }
        }
        problems
    }
}

fn read_url(at: &mut At<'_, '_>) -> Said<Option<ServerUrl>> {
    let Some(text) = at.required::<String>() else { return Said::by_default(None) };
    match text.parse() {
        Ok(url) => text.map(|_| Some(url)),
        Err(error) => {
            at.wrong(text.origin, &format!("{error}"));
            Said::by_default(None)
        }
    }
}

fn read_patterns(at: &mut At<'_, '_>) -> Said<PathPatterns> {
    let patterns = at.list();
    if let Some(why) = load::bad_pattern(&patterns) {
        at.wrong(patterns.origin.clone(), &why);
    }
    patterns.map(|patterns| PathPatterns::parse(&patterns.join(",")))
}

fn read_lookup(at: &mut At<'_, '_>, has_no_lines: bool) -> Said<bool> {
    let lookup = at.said().unwrap_or_else(|| Said::by_default(false));
    if *lookup && has_no_lines {
        at.incomplete(&lookup.origin, "gosum", "only the lines of `gosum` are looked up: name a file there");
    }
    lookup
}

fn read_compare(at: &mut At<'_, '_>, has_no_modules: bool) -> Said<Vec<String>> {
    let compare = at.list();
    if !compare.is_empty() && has_no_modules {
        let fix = "only module versions that `modules` names are compared: name some there";
        at.incomplete(&compare.origin, "modules", fix);
    }
    compare
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
        assert_eq!((*log.poll, *log.lag, *log.silence), (Span(DEFAULT_POLL), DEFAULT_LAG, None));
        assert_eq!((*log.from, log.modules.to_string().as_str()), (None, "a.example,b.example/*"));
    }

    /// The example above, with the secret that it names.
    #[test]
    fn the_example_is_valid() {
        use std::os::unix::fs::PermissionsExt;
        let text = include_str!("monitor.rs");
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
        assert_eq!((config.logs.len(), *config.logs[0].from), (2, Some(0)));
        assert!(config.webhook.is_some());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            (String::new(), "missing field `state`"),
            ("state = \"s\"".to_owned(), "there must be 1 to 100 sections"),
            (format!("state = \"s\"\nstat = 1\n{}", log("")), "unknown key `stat`"),
            (format!("state = \"s\"\n{}", log("modul = []")), "unknown key `log.1.modul`"),
            (format!("state = \"s\"\n{}{}", log(""), log("")), "two of them have one name"),
            (format!("state = \"s\"\n{}", log("poll = \"0s\"")), "poll"),
            (format!("state = \"s\"\n{}", log("poll = \"25h\"")), "is not between 1s and 24h"),
            (format!("state = \"s\"\n{}", log("modules = [\"a/[b\"]")), "is not a complete pattern"),
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
            (format!("state = \"s\"\n[webhook]\nurl = \"http://x\"\n{}", log("")), "secret_file"),
        ] {
            let said = load(&text).map(|_| ()).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
