//! `tallystick audit`: a full check of a checksum database, from what it serves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::engines::http_client;
use super::exit::{OrExit, text_of};
use super::{Common, Exit, ProgressMeter, block_on, go_sum, output, remote, verify};
use crate::audit::{
    AuditError, AuditFinding, AuditOptions, AuditProgress, AuditReport, Subject, Target, audit, audit_lines,
};
use crate::clock::Clock;
use crate::config::{Config, Environment, GoEnvironment};
use crate::gosum::{GoSumFile, GoSumLine};
use crate::note::VerifierKey;
use crate::source::SourceUrl;
use crate::upstream::RemoteSumdb;
use crate::xml;

/// The largest signed note, as in x/mod; a file with a key is far smaller.
const MAX_NOTE_BYTES: u64 = 1_000_000;

/// Check a checksum database in full: every record, every tile, every head
#[derive(Debug, Args)]
#[command(after_help = "\
It reads all of the log as its server gives it to anyone: this server's, a mirror's, a static directory, or any other \
checksum database that gives data tiles. What was audited is kept in a directory, so that an audit that is ended goes on, \
and one of a log that has grown reads only what is new.

Without --key a Tallystick server is asked for its key, which is then only as good as the way to the server; the keys of \
the configuration are used where they fit.

Module proxies give look-ups and hash tiles only: there --gosum audits the records of a go.sum, each shown to be in the tree of the \
newest head, and every head that came along. Its modules are asked for by name. A database of the configuration, and sum.golang.org \
without one, is not asked for what the routes (or GOPRIVATE) keep private; any other server is asked for everything.

Examples:
  tallystick audit http://127.0.0.1:8470
  tallystick audit https://sum.corp.example --key 'sum.corp.example+1c2d3e4f+AZ…' --junit audit.xml
  tallystick audit /srv/sum.golang.org --key keys/sum.golang.org.vkey --json
  tallystick audit https://sum.golang.org --gosum go.sum
  tallystick audit https://sum.corp.example --from ~/go/pkg/sumdb/sum.corp.example/latest")]
pub(super) struct AuditCommand {
    /// The log: its URL, or a directory with `latest` and `tile/8/…`
    #[arg(value_name = "URL|DIR")]
    log: String,
    /// Its verifier key, or a file with it
    #[arg(long, value_name = "VKEY|FILE")]
    key: Option<String>,
    /// A signed head that somebody kept: the log must have grown from it (may be repeated)
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// Audit the records of these lines only, with look-ups and hash tiles
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    gosum: Option<PathBuf>,
    /// Requests in flight at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Look nothing up: for the files of a log behind a web server, which answers no look-ups
    #[arg(long, conflicts_with = "gosum")]
    no_lookups: bool,
    /// Directory for audit progress [default: tallystick-audit/<log's name>]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the result for a CI server into this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl AuditCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let report = block_on(self.report(&config))?;
        if let Some(path) = &self.junit {
            std::fs::write(path, junit(&report))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(&text(&report))?;
        }
        Ok(if report.findings.is_empty() { Exit::Done } else { Exit::Damage })
    }

    async fn report(&self, config: &Config) -> anyhow::Result<AuditReport> {
        let file = self.gosum.as_deref().map(go_sum::read).transpose()?;
        let odd = file.iter().flat_map(|file| &file.odd);
        let mut left_out: Vec<String> =
            odd.map(|odd| format!("go.sum line {}: {}", odd.number, odd.oddity)).collect();
        let lines = |file: GoSumFile| file.lines.into_iter().map(|numbered| numbered.line).collect();
        let mut lines: Option<Vec<GoSumLine>> = file.map(lines);
        let url = self.url()?;
        let key = self.verifier(config, &url).await?;
        if let Some(lines) = lines.as_mut().filter(|_| url.local_path().is_none()) {
            left_out.extend(withhold(config, key.name().as_str(), lines));
        }
        let client = http_client(config, &Clock::system())?;
        let name = key.name().as_str();
        let shown = url.redacted();
        let remote = RemoteSumdb::new(name.to_owned(), vec![url.clone()], client.clone());
        let read = |path: &PathBuf| {
            let note = verify::read(path, MAX_NOTE_BYTES);
            Ok((path.display().to_string(), note.or_exit(Exit::Usage)?))
        };
        // A name may have slashes, and characters that a terminal obeys; nothing of it may lead elsewhere.
        let directory = || {
            Path::new("tallystick-audit")
                .join(name.replace(|c: char| matches!(c, '/' | '.') || !c.is_ascii_graphic(), "_"))
        };
        let options = AuditOptions {
            target: Target { remote, client, url },
            key: key.clone(),
            known: self.from.iter().map(read).collect::<anyhow::Result<_>>()?,
            jobs: usize::from(self.jobs),
            lookups: !self.no_lookups,
            state: self.state.clone().unwrap_or_else(directory),
        };
        let bar = std::cell::RefCell::new(None);
        let tell = |progress: AuditProgress| {
            let mut bar = bar.borrow_mut();
            let bar = bar.get_or_insert_with(|| {
                let mut bar = ProgressMeter::new("records", progress.total);
                bar.begin_at(progress.from);
                bar
            });
            bar.set(progress.done);
        };
        let audited = match &lines {
            Some(lines) => audit_lines(options, lines, tell).await,
            None => audit(options, tell).await,
        };
        if let Some(bar) = bar.into_inner() {
            bar.finish();
        }
        let audited = audited.map(|mut report| {
            report.skipped.extend(left_out);
            report
        });
        audited.or_else(|error| {
            let exit = exit_of(&error);
            let fix = fix_of(&error);
            Err(anyhow::Error::new(error).context(format!("the audit of {name} at {shown} did not end")))
                .map_err(|error| {
                    if fix.is_empty() { error } else { anyhow::anyhow!("{}\n  fix: {fix}", text_of(&error)) }
                })
                .or_exit(exit)
        })
    }

    /// Where the log is: a URL, or a directory of this machine.
    fn url(&self) -> anyhow::Result<SourceUrl> {
        if self.log.contains("://") {
            // The text may hold a password, so that the error does not quote it.
            let url = SourceUrl::parse(&self.log);
            return url.map_err(|error| anyhow::anyhow!("the URL of the log {error}")).or_exit(Exit::Usage);
        }
        let path = std::path::absolute(&self.log).with_context(|| self.log.clone())?;
        SourceUrl::directory(&path).with_context(|| self.log.clone()).or_exit(Exit::Usage)
    }

    /// The key that must have signed.
    async fn verifier(&self, config: &Config, url: &SourceUrl) -> anyhow::Result<VerifierKey> {
        if let Some(given) = &self.key {
            return key_of(given).or_exit(Exit::Usage);
        }
        let passed_on = |(name, sumdb): (&String, &crate::config::SumdbSection)| {
            url.is_passthrough_of(name).then(|| sumdb.key.value.clone())
        };
        if let Some(key) = config.sumdbs.iter().find_map(passed_on) {
            return Ok(key);
        }
        let Some(server) = url.server() else {
            let error = anyhow::anyhow!("--key is missing: who must have signed the log in {}?", self.log);
            return Err(error).or_exit(Exit::Usage);
        };
        let key: VerifierKey = remote::log_of(config, server).await?.vkey.parse()?;
        output::note(&format!("the server gave the key {key}; with --key it need not be believed"));
        Ok(key)
    }
}

/// Takes out the lines whose paths this log must not be told, and returns what to say about them. The configuration has a
/// say only about the databases that it knows: any other one, like the company's own, is told everything.
fn withhold(config: &Config, log: &str, lines: &mut Vec<GoSumLine>) -> Vec<String> {
    if !config.sumdbs.contains_key(log) {
        return Vec::new();
    }
    let mut config = config.clone();
    if config.routes.is_empty() {
        config.discover_private(&GoEnvironment::read(&Environment::of_process()));
    }
    let mut withheld = BTreeMap::new();
    lines.retain(|line| match config.may_tell(log, line.module.path.as_str()) {
        Ok(()) => true,
        Err(why) => {
            withheld.entry(line.module.clone()).or_insert(why);
            false
        }
    });
    withheld.iter().map(|(module, why)| format!("{module}: not named to {log}: {why}")).collect()
}

/// A verifier key, or the file that has one in its first line.
pub(super) fn key_of(text: &str) -> anyhow::Result<VerifierKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let Ok(file) = verify::read(Path::new(text), MAX_NOTE_BYTES) else {
        bail!("--key {text}: neither a verifier key (name+hash+base64) nor a file that can be read");
    };
    let file = String::from_utf8_lossy(&file);
    let line = file.lines().next().unwrap_or_default().trim();
    line.parse().with_context(|| format!("{text}: its first line is no verifier key"))
}

fn exit_of(error: &AuditError) -> Exit {
    match error {
        AuditError::Unreadable { may_pass: true, .. } | AuditError::Older { .. } => Exit::Unreachable,
        AuditError::Unreadable { .. } | AuditError::Head { .. } | AuditError::Broken { .. } => Exit::Damage,
        AuditError::State { .. } => Exit::Failed,
        // It is the same the next time.
        AuditError::TooMany { .. } | AuditError::NoDataTiles { .. } => Exit::Usage,
        AuditError::Running { .. } => Exit::Running,
    }
}

fn fix_of(error: &AuditError) -> Cow<'static, str> {
    let fix = match error {
        AuditError::Unreadable { may_pass: true, fix: Some(fix), .. } => {
            return Cow::Owned(format!(
                "{}; then start the audit again: it goes on where it ended",
                fix.advice()
            ));
        }
        AuditError::Unreadable { may_pass: true, .. } => "try again: it goes on where it ended",
        AuditError::NoDataTiles { .. } => {
            "name a server that gives them, audit what `tallystick mirror export` wrote, or --gosum FILE: the records of a go.sum only"
        }
        AuditError::Older { .. } => "ask again; if it stays so, somebody has set the log back",
        AuditError::Unreadable { .. }
        | AuditError::Head { .. }
        | AuditError::Broken { .. }
        | AuditError::State { .. }
        | AuditError::TooMany { .. }
        | AuditError::Running { .. } => "",
    };
    Cow::Borrowed(fix)
}

/// What a person reads.
fn text(report: &AuditReport) -> String {
    let mut text = format!("{} at {}\n", report.log, report.url);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10}{}", output::one_line(&value));
    };
    let before =
        if report.from == 0 { String::new() } else { format!(", {} of them audited before", report.from) };
    row("head", format!("{} records, root {}", report.size, report.root));
    row("records", format!("{} read{before}", report.records));
    row("tiles", format!("{} of records, {} of hashes", report.data_tiles, report.hash_tiles));
    row("heads", format!("{} compared", report.heads));
    row("look-ups", format!("{} compared", report.lookups));
    for skipped in &report.skipped {
        row("skipped", skipped.clone());
    }
    for AuditFinding { subject, place, what } in &report.findings.findings {
        row("FAULT", format!("{} {place}: {what}", subject.as_str()));
    }
    match report.findings.count() {
        0 if report.from + report.records < report.size => {
            row("clean", "what was read of it agrees".to_owned())
        }
        0 => row("clean", "every record, tile and head agrees".to_owned()),
        count => row("FAULTS", format!("{count}")),
    }
    text
}

/// What a CI server reads: a test case for each part of the log.
fn junit(report: &AuditReport) -> String {
    let cases = Subject::ALL.map(|subject| {
        let of = report.findings.findings.iter().filter(|finding| finding.subject == subject);
        let failures: String = of
            .map(|AuditFinding { place, what, .. }| {
                format!("      <failure message=\"{}\">{}</failure>\n", xml::escape(place), xml::escape(what))
            })
            .collect();
        let (log, name) = (xml::escape(&report.log), subject.as_str());
        format!("    <testcase classname=\"{log}\" name=\"{name}\">\n{failures}    </testcase>\n")
    });
    let failed = Subject::ALL
        .iter()
        .filter(|subject| report.findings.findings.iter().any(|finding| finding.subject == **subject))
        .count();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"tallystick audit\" tests=\"{}\" \
         failures=\"{failed}\">\n{}  </testsuite>\n</testsuites>\n",
        Subject::ALL.len(),
        cases.concat()
    )
}
