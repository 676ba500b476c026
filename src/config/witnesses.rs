//! What an operator says of the log's witnesses, `[[witness]]` and `[witnesses]`: who they are, and how many are enough.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::Span;
use super::file::{FileWitness, FileWitnesses, Placed};
use super::layers::Layers;
use super::origin::Origin;
use crate::note::CosignatureVerifier;
use crate::source::ServerUrl;

/// More than this the C2SP policy format need not support.
const MAX_WITNESSES: usize = 32;
/// Shorter is a burden for witnesses, longer tells nobody anything.
const FRESHNESS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 3600);
/// Where nobody says it: what a monitor that looks every few minutes can tell from a log that stopped.
const DEFAULT_FRESHNESS: Duration = Duration::from_secs(300);

/// The witnesses of the log.
#[derive(Clone, Debug, Default)]
pub struct LogWitnesses {
    /// In the order of the file.
    pub all: Vec<LogWitness>,
    /// How many are enough.
    pub quorum: usize,
    /// Whether a head waits for them before it is published.
    pub required: bool,
    /// For how long it does.
    pub timeout: Duration,
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
    pub origin: Origin,
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
        if self.quorum == 0 || self.all.is_empty() {
            return text + "quorum none\n";
        }
        let names: Vec<&str> = self.all.iter().map(|witness| witness.name.as_str()).collect();
        text + &format!("group witnesses {} {}\nquorum witnesses\n", self.quorum, names.join(" "))
    }
}

impl Layers<'_> {
    pub(super) fn witnesses(&mut self, list: Vec<Spanned<FileWitness>>, file: FileWitnesses) -> LogWitnesses {
        let mut all: Vec<LogWitness> = Vec::new();
        for (i, entry) in list.into_iter().enumerate() {
            let witness = self.witness(i + 1, entry, &all);
            all.extend(witness);
        }
        let count = all.len() as u64;
        let default = if count == 0 { 0 } else { count / 2 + 1 };
        // Where there is none to count, the number means nothing.
        let most = if count == 0 { MAX_WITNESSES as u64 } else { count };
        let quorum = self.number("witnesses.quorum", file.quorum, default, (0, most));
        let timeout = self.number("witnesses.timeout_seconds", file.timeout_seconds, 5, (1, 60));
        LogWitnesses {
            all,
            quorum: usize::try_from(quorum).unwrap_or(usize::MAX),
            required: self.pick("witnesses.required", None, file.required).unwrap_or(false),
            timeout: Duration::from_secs(timeout),
        }
    }

    fn witness(
        &mut self,
        number: usize,
        entry: Spanned<FileWitness>,
        before: &[LogWitness],
    ) -> Option<LogWitness> {
        let origin = self.place(&entry);
        let FileWitness { name, url, key } = entry.into_inner();
        let mut wrong = |place: Origin, key: &str, why: &str| {
            self.wrong(place, format!("witness.{number}.{key}"), &format!("witness.*.{key}"), why);
        };
        // The words of the policy format are no names in it.
        let words = ["witness", "group", "any", "all", "none", "quorum", "log", "witnesses"];
        let text = name.get_ref();
        let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"#\"".contains(c));
        let place = origin.clone();
        if !is_word || words.contains(&text.as_str()) {
            wrong(place, "name", &format!("`{text}` is no plain word, or one that policies use"));
            return None;
        }
        if before.iter().any(|other| other.name == *text) || before.len() >= MAX_WITNESSES {
            wrong(
                place,
                "name",
                &format!("`{text}` is there already, or there are more than {MAX_WITNESSES}"),
            );
            return None;
        }
        let parsed = match url.get_ref().parse::<ServerUrl>() {
            Ok(parsed) => parsed,
            Err(error) => {
                wrong(place, "url", &error.to_string());
                return None;
            }
        };
        match key.get_ref().parse::<CosignatureVerifier>() {
            Ok(key) if before.iter().any(|other| other.key.public_bytes() == key.public_bytes()) => {
                wrong(place, "key", "another witness has it: one that counts twice is no witness");
                None
            }
            Ok(key) => Some(LogWitness { name: name.into_inner(), url: parsed, key, origin }),
            Err(error) => {
                wrong(place, "key", &error.to_string());
                None
            }
        }
    }

    pub(super) fn freshness(&mut self, file: Placed<String>) -> Duration {
        let Some(Span(freshness)) = self.parsed("freshness", file) else { return DEFAULT_FRESHNESS };
        if FRESHNESS.contains(&freshness) {
            return freshness;
        }
        let place = self.origins.get("freshness").cloned().unwrap_or(Origin::Default);
        let why = format!("{} is not between 10s and 24h", Span(freshness));
        self.wrong(place, "freshness".to_owned(), "freshness", &why);
        DEFAULT_FRESHNESS
    }
}
