//! Why a look-up has no record, and what its developer reads at the `go` prompt.
//!
//! The `go` command prints at most 8 lines and 648 bytes of an error's body, and drops it whole for
//! one character that is not graphic. So each text is a short first line that says what happened,
//! then the cause and the remedy:
//!
//! ```text
//! corp.example/m@v1.0.0 is in this log with other hashes since 2026-11-21 13:00:00 UTC
//! The line that stands: h1:… (go.mod h1:…), record 17, computed from https://goproxy.corp.example
//! Offered now: h1:… (go.mod h1:…)
//! A version keeps its hashes for ever: publish the changed module as a new version. There is no override.
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::unfetchable::Unfetchable;
use super::words::{
    VERSION_CONTROL, cause_line, date, first_and_others, fit, for_clients, quoted, seconds, sentence, short,
};
use crate::gosum::ModuleLines;
use crate::log::{Conflict, ReadOnly};
use crate::module::ModuleVersion;
use crate::route::Withheld;
use crate::share::Allowance;
use crate::store::Evidence;
use crate::tlog::RecordId;
use crate::upstream::UpstreamMessage;

/// Why a module version is not in the log. `Display` is for the server's log,
/// [`NotaryError::to_client_text`] for clients.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotaryError {
    /// No route matches the path: the operator has not said where such modules come from. An answer
    /// like "not found".
    #[error("{module}: no route matches its path")]
    NoRoute {
        /// What was asked for.
        module: ModuleVersion,
    },
    /// A route keeps such paths private, and this one differs only in its spelling or is right
    /// above them.
    #[error("{module}: refused and named to nobody: {why}\n  fix: {}", .why.remedy(.module.path.as_str()))]
    Withheld {
        /// What was asked for.
        module: ModuleVersion,
        /// Which route, and how the path differs.
        why: Withheld,
    },
    /// The source says that there is no such module version.
    #[error("{module}: not found at {place}{said}")]
    NotFound {
        /// What was asked for.
        module: ModuleVersion,
        /// Who says so.
        place: Arc<str>,
        /// In which words.
        said: UpstreamMessage,
        /// How long that may be believed.
        max_age: Duration,
    },
    /// The source refuses access. Remedy: credentials, which are the operator's matter.
    #[error("{module}: access refused by {place}{said}")]
    Forbidden {
        /// What was asked for.
        module: ModuleVersion,
        /// Who says so.
        place: Arc<str>,
        /// In which words.
        said: UpstreamMessage,
    },
    /// It may work later with nobody changing anything.
    #[error("{module}: try again in {} s: {why}", seconds(*.retry_after))]
    TryLater {
        /// What was asked for.
        module: ModuleVersion,
        /// What is in the way.
        why: Delay,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The log has other hashes for this module version. It is kept as an incident; there is no
    /// override.
    #[error("{0}")]
    Conflict(Box<ConflictReport>),
    /// A remote log contradicts what it signed before. Nothing is taken from it until a person has
    /// looked.
    #[error("{module}: the checksum database {log} misbehaved: {summary}")]
    Misbehavior {
        /// What was asked for.
        module: ModuleVersion,
        /// The remote log.
        log: Arc<str>,
        /// What it did.
        summary: Arc<str>,
    },
    /// The log signs nothing at the moment.
    #[error("{module}: not taken in: {reason}")]
    ReadOnly {
        /// What was asked for.
        module: ModuleVersion,
        /// Why not.
        reason: Box<ReadOnly>,
    },
    /// What the source serves cannot be taken in, now or later, until somebody changes something.
    #[error("{module}: refused: {why}\n  {}", .remedy.to_text(.place))]
    Refused {
        /// What was asked for.
        module: ModuleVersion,
        /// Whose files they are.
        place: Arc<str>,
        /// What is wrong with them; each further source that failed has a line of its own.
        why: Arc<str>,
        /// Who can change it.
        remedy: Remedy,
    },
    /// Version control gives it only when the operator has changed something at this server: an
    /// old or missing go, credentials, a certificate.
    #[error("{module}: cannot be fetched from version control: {why}")]
    Unfetchable {
        /// What was asked for.
        module: ModuleVersion,
        /// What, and the remedy.
        why: Arc<Unfetchable>,
    },
    /// Our own failure: a damaged row, a full scratch disk.
    #[error("{module}: {why}")]
    Internal {
        /// What was asked for.
        module: ModuleVersion,
        /// What failed; not for clients.
        why: Arc<str>,
    },
}

/// Who can do something about a refusal that does not pass by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Whoever made the files.
    Repair,
    /// Whoever runs the source, which does not want to give them.
    AskSource,
    /// The operator of this server, who does not allow it yet.
    Allow {
        /// What the operator does, as the end of a sentence.
        change: Arc<str>,
    },
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delay {
    /// The source does not answer, or not properly.
    Source {
        /// Which.
        place: Arc<str>,
        /// What it did, for clients too; each further source that failed has a line of its own.
        why: Arc<str>,
    },
    /// The server of a module's repository cannot be reached.
    GitHost {
        /// What go or git said.
        said: UpstreamMessage,
    },
    /// A checksum database sent what does not verify.
    Unproven {
        /// Which.
        place: Arc<str>,
        /// What was sent, for clients too.
        why: Arc<str>,
    },
    /// The client's deadline passed; the work goes on.
    StillWorking {
        /// Who is waited for.
        place: Arc<str>,
        /// How long the client waited.
        waited: Duration,
    },
    /// This server has no space left for what is fetched.
    NoSpace,
    /// Too many misses.
    Limited(Allowance),
    /// Too many misses at the same time.
    Crowded,
    /// Too many look-ups wait, and most of them are this client's.
    Waiting,
    /// The server is being stopped.
    Stopping,
}

/// Two sets of hashes for one module version: which stands, since when, from where, and which was
/// refused.
#[derive(Clone, Debug)]
pub struct ConflictReport {
    /// The record that stands.
    pub record: RecordId,
    /// Its lines.
    pub standing: ModuleLines,
    /// When it was appended.
    pub since: Timestamp,
    /// Where it came from.
    pub evidence: Evidence,
    /// The lines that were refused.
    pub offered: ModuleLines,
}

impl NotaryError {
    pub(super) fn internal(module: &ModuleVersion, why: impl fmt::Display) -> NotaryError {
        NotaryError::Internal { module: module.clone(), why: why.to_string().into() }
    }

    /// What was asked for.
    pub fn module(&self) -> &ModuleVersion {
        match self {
            NotaryError::NoRoute { module }
            | NotaryError::Withheld { module, .. }
            | NotaryError::NotFound { module, .. }
            | NotaryError::Forbidden { module, .. }
            | NotaryError::TryLater { module, .. }
            | NotaryError::Misbehavior { module, .. }
            | NotaryError::ReadOnly { module, .. }
            | NotaryError::Refused { module, .. }
            | NotaryError::Unfetchable { module, .. }
            | NotaryError::Internal { module, .. } => module,
            NotaryError::Conflict(report) => &report.standing.module,
        }
    }

    /// What the developer reads: at most 8 lines and 648 bytes of graphic characters, the first
    /// line under 300 bytes. It names no credentials, no local paths and none of our own internals.
    pub fn to_client_text(&self) -> String {
        let module = short(&self.module().to_string());
        match self {
            NotaryError::NoRoute { .. } => fit(&[
                &format!("not found: no route of this checksum database covers {module}"),
                "Its operator can add a [[route]] for this path to the configuration.",
            ]),
            NotaryError::Withheld { why, .. } => fit(&[
                &format!("{module} is refused and named to nobody"),
                &format!("Cause: {why}."),
                &why.remedy(self.module().path.as_str()),
            ]),
            NotaryError::NotFound { place, said, max_age, .. } => fit(&[
                &format!("not found: {} does not have {module}", short(place)),
                &quoted("It says: ", said),
                // A host that hides what a login may see says the same.
                if place.ends_with(VERSION_CONTROL) {
                    "If it is private, the operator gives this server a login: `netrc` of the [[route]], or `git_config`."
                } else {
                    ""
                },
                &format!(
                    "Check path and version. A version that was just published is found within {} s.",
                    seconds(*max_age).max(1)
                ),
            ]),
            NotaryError::Forbidden { place, said, .. } => fit(&[
                &format!("{} refuses the checksum database access to {module}", short(place)),
                &quoted("It says: ", said),
                "The operator of the checksum database must give it credentials that may read this module, or ask whoever runs \
                 that server.",
            ]),
            NotaryError::TryLater { why, retry_after, .. } => try_later(&module, why, seconds(*retry_after)),
            NotaryError::Conflict(report) => report.to_client_text(),
            NotaryError::Misbehavior { log, .. } => fit(&[
                &format!("{module} is not taken in: {} contradicts what it signed before", short(log)),
                "This may be an attack. Nothing is taken from that database until the operator of this one has looked; the \
                 evidence is kept.",
            ]),
            NotaryError::ReadOnly { .. } => fit(&[
                &format!("{module} cannot be taken in: this checksum database is read-only at the moment"),
                "Modules that it has already are verified as before. Its operator finds the cause in the server's log and at \
                 /readyz.",
            ]),
            NotaryError::Refused { place, why, remedy, .. } => {
                let (why, others) = first_and_others(why);
                fit(&[&format!("{module} is refused: {why}"), &remedy.to_text(&short(place)), &others])
            }
            NotaryError::Unfetchable { why, .. } => fit(&[
                &format!("{module} cannot be fetched: {}", why.cause),
                &cause_line(&why.said),
                if why.is_server_alone { "The checksum database is at fault, not the module." } else { "" },
                &format!("fix, for its operator: {}", why.fix),
            ]),
            NotaryError::Internal { .. } => fit(&[
                &format!("internal error: the checksum database could not take in {module}"),
                "Tell its operator; the server's log has the details.",
            ]),
        }
    }
}

fn try_later(module: &str, why: &Delay, wait: u64) -> String {
    let again = format!("Run the command again in {wait} s.");
    match why {
        Delay::Source { place, why } => {
            let (why, others) = first_and_others(why);
            fit(&[
                &format!("try again: {} cannot give {module} at the moment", short(place)),
                &format!("Cause: {}", sentence(&why)),
                &others,
                &format!("{again} Nothing is known to be wrong with the module."),
            ])
        }
        Delay::GitHost { said } => fit(&[
            &format!("try again: this checksum database cannot reach the Git host of {module}"),
            &cause_line(said),
            &format!(
                "{again} If it stays so, its operator finds out why the server cannot connect: the host's name, a \
                 firewall, HTTPS_PROXY or NO_PROXY."
            ),
        ]),
        Delay::Unproven { place, why } => {
            let (why, others) = first_and_others(why);
            fit(&[
                &format!(
                    "try again: what {} sends about {module} does not verify, so it was refused",
                    short(place)
                ),
                &format!("Cause: {}", sentence(&why)),
                &others,
                &format!("{again} If it stays so, tell the operator: somebody in between may be lying."),
            ])
        }
        Delay::StillWorking { place, waited } => fit(&[
            &format!("try again: {module} takes longer than {} s", seconds(*waited)),
            &format!("It is still being fetched from {}. {again}", short(place)),
        ]),
        Delay::NoSpace => fit(&[
            &format!("try again: this checksum database has no disk space left to fetch {module}"),
            &format!("Its operator finds the disk and the remedy in the server's log. {again}"),
        ]),
        Delay::Limited(Allowance::Client) => fit(&[
            &format!("try again: too many new modules from your address, so {module} has to wait"),
            &format!("Each new module makes the log grow for ever, so there is a limit a minute. {again}"),
        ]),
        Delay::Limited(Allowance::All) => fit(&[
            &format!("try again: too many new modules from all clients, so {module} has to wait"),
            &format!("Each new module makes the log grow for ever, so there is a limit a minute. {again}"),
        ]),
        Delay::Crowded => fit(&[
            &format!("try again: too many new modules are being fetched, so {module} has to wait"),
            &again,
        ]),
        Delay::Waiting => fit(&[
            &format!("try again: too many look-ups from your address wait, so {module} was refused"),
            "This server has no room for more, and other clients have their share of it.",
            &format!(
                "fix: run the command again in {wait} s, with fewer builds at once behind this address."
            ),
        ]),
        Delay::Stopping => {
            fit(&[&format!("try again: the checksum database restarts, so {module} has to wait"), &again])
        }
    }
}

impl Remedy {
    /// Says who does what next about files from `place`.
    fn to_text(&self, place: &str) -> String {
        match self {
            Remedy::Repair => format!("The files come from {place} and must be repaired there."),
            Remedy::AskSource => format!("fix: ask whoever runs {place} why it refuses this."),
            Remedy::Allow { change } => format!("fix: the operator of the checksum database {change}."),
        }
    }
}

impl ConflictReport {
    /// The conflict, with what is known about the record that stands.
    pub(super) fn new(conflict: Conflict, since: Timestamp, evidence: Evidence) -> ConflictReport {
        let Conflict { standing, offered } = conflict;
        ConflictReport { record: standing.id, standing: standing.lines, since, evidence, offered }
    }

    fn to_client_text(&self) -> String {
        let module = short(&self.standing.module.to_string());
        let (standing, offered) = (&self.standing, &self.offered);
        // A zip that is the same on both sides need not be read: what differs is the go.mod.
        let (kind, stands, refused) = match standing.zip == offered.zip {
            true => ("go.mod ", &standing.go_mod, &offered.go_mod),
            false => ("", &standing.zip, &offered.zip),
        };
        fit(&[
            &format!("{module} is in this log with another {kind}hash since {}", date(self.since)),
            &format!("What stands: {stands}, record {}, {}", self.record, origin(&self.evidence)),
            &format!("Refused now: {refused}"),
            "A version keeps its hashes for ever: publish the changed module as a new version. There is no override.",
        ])
    }
}

impl fmt::Display for ConflictReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConflictReport { record, standing, since, offered, .. } = self;
        write!(
            f,
            "{}: record {record} of {since} says {} and {}, now {} and {} were offered",
            standing.module, standing.zip, standing.go_mod, offered.zip, offered.go_mod
        )
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delay::Source { place, why } => write!(f, "{place}: {why}"),
            Delay::GitHost { said } => write!(f, "the Git host cannot be reached{said}"),
            Delay::Unproven { place, why } => write!(f, "{place} sends what does not verify: {why}"),
            Delay::StillWorking { place, waited } => {
                write!(f, "still fetching from {place} after {waited:.1?}")
            }
            Delay::Limited(Allowance::Client) => f.write_str("the client's allowance of misses is used up"),
            Delay::Limited(Allowance::All) => {
                f.write_str("the allowance of misses of all clients is used up")
            }
            Delay::NoSpace => f.write_str("scratch has no space left"),
            Delay::Crowded => f.write_str("too many misses at the same time"),
            Delay::Waiting => f.write_str("the client has its share of the look-ups that wait"),
            Delay::Stopping => f.write_str("the server is being stopped"),
        }
    }
}

/// Where a line comes from, in words.
fn origin(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Sumdb { log, record, .. } => format!("from {}, record {record}", short(log)),
        Evidence::Computed { url, .. } => format!("computed from {}", short(&for_clients(url))),
        Evidence::Imported { importer } => format!("imported by {}", short(importer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visible;

    fn module(path: &str) -> ModuleVersion {
        ModuleVersion::from_parts(path, "v1.0.0").unwrap()
    }

    fn lines(zip: u8, go_mod: u8) -> ModuleLines {
        let h1 = |byte| crate::dirhash::H1::from_bytes([byte; 32]);
        ModuleLines { module: module("corp.example/m"), zip: h1(zip), go_mod: h1(go_mod) }
    }

    fn errors(module: &ModuleVersion, words: &str) -> Vec<NotaryError> {
        let module = || module.clone();
        let said = || UpstreamMessage::clean(words.as_bytes());
        let place: Arc<str> = for_clients("https://***@goproxy.corp.example,file:///srv/secret").into();
        let why: Arc<str> = words.into();
        let later =
            |why| NotaryError::TryLater { module: module(), why, retry_after: Duration::from_millis(2500) };
        vec![
            NotaryError::NoRoute { module: module() },
            NotaryError::Withheld {
                module: module(),
                why: Withheld::OtherCase { route: 1, pattern: "corp.example/M".to_owned() },
            },
            NotaryError::Withheld {
                module: module(),
                why: Withheld::Parent { route: 1, pattern: "corp.example/m/*".to_owned() },
            },
            NotaryError::NotFound {
                module: module(),
                place: place.clone(),
                said: said(),
                max_age: Duration::from_secs(30),
            },
            NotaryError::Forbidden { module: module(), place: place.clone(), said: said() },
            later(Delay::Source { place: place.clone(), why: why.clone() }),
            later(Delay::GitHost { said: said() }),
            later(Delay::Unproven { place: place.clone(), why: why.clone() }),
            later(Delay::StillWorking { place: place.clone(), waited: Duration::from_secs(25) }),
            later(Delay::Limited(Allowance::Client)),
            later(Delay::Limited(Allowance::All)),
            later(Delay::NoSpace),
            later(Delay::Crowded),
            later(Delay::Waiting),
            later(Delay::Stopping),
            NotaryError::Misbehavior { module: module(), log: "sum.golang.org".into(), summary: why.clone() },
            NotaryError::ReadOnly {
                module: module(),
                reason: Box::new(ReadOnly::Stopped { why: "/srv/secret".into() }),
            },
            NotaryError::Refused {
                module: module(),
                place: place.clone(),
                why: why.clone(),
                remedy: Remedy::Repair,
            },
            NotaryError::Refused {
                module: module(),
                place: place.clone(),
                why: why.clone(),
                remedy: Remedy::Allow { change: "adds \"storage.example\" to hosts in [redirects]".into() },
            },
            NotaryError::internal(&module(), "/srv/secret is full"),
        ]
    }

    #[test]
    fn every_text_fits_the_go_prompt_and_names_the_module() {
        let long = format!("corp.example/{}", "x".repeat(900));
        for (path, words) in
            [("corp.example/m", "plain words"), (&long, &"long words ".repeat(100)), (&long, "")]
        {
            for error in errors(&module(path), words) {
                let text = error.to_client_text();
                let breaks = text.matches('\n').count();
                assert!(text.len() + breaks <= visible::GO_ERROR_BYTES_MAX, "{} bytes: {text}", text.len());
                assert!(breaks < visible::GO_ERROR_LINES_MAX && !text.contains("\n\n"), "{text}");
                let first = text.lines().next().unwrap();
                assert!(first.len() < 300 && first.contains("corp.example/"), "{text}");
                assert!(text.chars().all(|c| c == '\n' || visible::is_plain(c)), "{text}");
                assert!(!text.contains("secret"), "{text}");
                assert!(text.lines().count() > 1, "cause and remedy: {text}");
            }
        }
    }

    #[test]
    fn a_conflict_says_what_stands_since_when_and_from_where() {
        let report = ConflictReport {
            record: RecordId(17),
            standing: lines(1, 3),
            since: "2026-11-21T13:00:00.123Z".parse().unwrap(),
            evidence: Evidence::Sumdb {
                log: "sum.golang.org".into(),
                record: 5,
                head_size: 9,
                head_root: String::new(),
            },
            offered: lines(2, 3),
        };
        insta::assert_snapshot!(NotaryError::Conflict(Box::new(report.clone())).to_client_text(), @r"
        corp.example/m@v1.0.0 is in this log with another hash since 2026-11-21 13:00:00 UTC
        What stands: h1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=, record 17, from sum.golang.org, record 5
        Refused now: h1:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
        A version keeps its hashes for ever: publish the changed module as a new version. There is no override.
        ");
        let go_mod = ConflictReport { offered: lines(1, 4), ..report };
        let text = NotaryError::Conflict(Box::new(go_mod)).to_client_text();
        assert!(text.contains("another go.mod hash") && text.contains("h1:BAQEBAQ"), "{text}");
    }

    #[test]
    fn odd_characters_are_named_and_do_not_cost_the_whole_text() {
        assert_eq!(fit(&["a\u{202e}b\u{7}c\rd", "", "é"]), "a\\u{202e}b\\u{7}c\\u{d}d\né");
    }

    #[test]
    fn places_are_shown_without_local_paths() {
        assert_eq!(
            for_clients("https://a.example|file:///srv/x,direct"),
            "https://a.example, then the server's module directory, then version control"
        );
    }
}
