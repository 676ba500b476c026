//! What an operator says of the log's witnesses, `[[witness]]` and `[witnesses]`: who they are, and how many are enough.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Span;
use super::declare::settings;
use super::loader::At;
use super::said::{Said, SettingOrigin};
use crate::note::CosignatureVerifier;
use crate::source::ServerUrl;

/// More than this the C2SP policy format need not support.
const MAX_WITNESSES: usize = 32;
/// Shorter is a burden for witnesses, longer tells nobody anything.
const FRESHNESS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 3600);
/// Where nobody says it: what a monitor that looks every few minutes can tell from a log that stopped.
const DEFAULT_FRESHNESS: Span = Span(Duration::from_secs(300));

settings! {
    /// The witnesses of the log.
    pub struct LogWitnesses(at, all: Vec<LogWitness>) {
        /// How many are enough.
        "quorum" => quorum: Said<usize> = read_quorum(at, all.len() as u64);
        /// Whether a head waits for them before it is published.
        "required" => required: Said<bool> = at.said().unwrap_or_else(|| Said::by_default(false));
        /// For how long it does.
        "timeout_seconds" => timeout: Said<Duration> = at.seconds(5, 1..=60);
    }
    also {
        /// In the order of the file.
        all: Vec<LogWitness> = all;
    }
}

/// A witness that the log asks.
#[derive(Clone, Debug)]
pub struct LogWitness {
    /// What it is called here.
    pub name: String,
    /// Its submission prefix.
    pub url: ServerUrl,
    /// Its key.
    pub key: CosignatureVerifier,
    /// Who set it.
    pub origin: SettingOrigin,
}

impl LogWitnesses {
    /// The C2SP policy that says the same, for whoever verifies: the log, its witnesses, the quorum.
    pub fn policy(&self, log: &crate::note::VerifierKey, url: Option<&str>) -> String {
        let mut text = format!("log {log}{}\n", url.map(|url| format!(" {url}")).unwrap_or_default());
        for LogWitness { name, url, key, .. } in &self.all {
            // Without a password: a policy is for everybody.
            let url = if url.has_credentials() { String::new() } else { format!(" {}", url.request_url()) };
            text += &format!("witness {name} {key}{}\n", url.trim_end_matches('/'));
        }
        if *self.quorum == 0 || self.all.is_empty() {
            return text + "quorum none\n";
        }
        let names: Vec<&str> = self.all.iter().map(|witness| witness.name.as_str()).collect();
        text + &format!("group witnesses {} {}\nquorum witnesses\n", *self.quorum, names.join(" "))
    }
}

fn read_quorum(at: &mut At<'_, '_>, count: u64) -> Said<usize> {
    let default = if count == 0 { 0 } else { count / 2 + 1 };
    // Where there is none to count, the number means nothing.
    let most = if count == 0 { MAX_WITNESSES as u64 } else { count };
    at.count(default, 0..=most)
}

/// Reads each `[[witness]]`.
pub(super) fn list(at: &mut At<'_, '_>) -> Vec<LogWitness> {
    let mut all: Vec<LogWitness> = Vec::new();
    at.each(|at, _| {
        all.extend(witness(at, &all));
        Some(())
    });
    all
}

fn witness(at: &mut At<'_, '_>, before: &[LogWitness]) -> Option<LogWitness> {
    let origin = at.place();
    at.key = "name";
    let name = at.required::<String>();
    at.key = "url";
    let url = at.required::<String>();
    at.key = "key";
    let key = at.required::<String>();
    let (name, url, key) = (name?.value, url?, key?);
    let mut wrong = |key, why: &str| {
        at.key = key;
        at.wrong(origin.clone(), why);
    };
    // The words of the policy format are no names in it.
    let words = ["witness", "group", "any", "all", "none", "quorum", "log", "witnesses"];
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && !"#\"".contains(c));
    if !is_word || words.contains(&name.as_str()) {
        wrong("name", &format!("`{name}` is no plain word, or one that policies use"));
        return None;
    }
    if before.iter().any(|other| other.name == name) || before.len() >= MAX_WITNESSES {
        wrong("name", &format!("`{name}` is there already, or there are more than {MAX_WITNESSES}"));
        return None;
    }
    let url = match url.parse::<ServerUrl>() {
        Ok(url) => url,
        Err(error) => {
            wrong("url", &error.to_string());
            return None;
        }
    };
    match key.parse::<CosignatureVerifier>() {
        Ok(key) if before.iter().any(|other| other.key.public_bytes() == key.public_bytes()) => {
            wrong("key", "another witness has it: one that counts twice is no witness");
            None
        }
        Ok(key) => Some(LogWitness { name, url, key, origin }),
        Err(error) => {
            wrong("key", &error.to_string());
            None
        }
    }
}

/// Reads how old the newest cosignatures of an idle log become.
pub(super) fn freshness(at: &mut At<'_, '_>) -> Said<Span> {
    let freshness = at.parsed_or(DEFAULT_FRESHNESS);
    if FRESHNESS.contains(&freshness.0) {
        return freshness;
    }
    at.wrong(freshness.origin.clone(), &format!("{} is not between 10s and 24h", *freshness));
    Said::by_default(DEFAULT_FRESHNESS)
}
