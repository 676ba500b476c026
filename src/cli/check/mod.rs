//! `tallystick check`: what a build uses, held against the log. The face of [`crate::check`]:
//! arguments, and how findings are shown.

mod environment;
mod inputs;
mod output;
mod settings;

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;

use super::engines::http_client;
use super::exit::OrExit;
use super::{Common, Exit, ProgressMeter, block_on};
use crate::check::{
    CheckError, CheckOptions, CheckedClaims, FilePlace, Finding, GatherError, Gathered, HashClaim, check,
};
use crate::clock::Clock;
use crate::config::{Config, Environment, GoEnvironment};
use crate::source::SourceUrl;
use output::CheckOutput;
use settings::LogSettings;

/// Hold a project, its downloads or a program against the log
#[derive(Debug, Args)]
#[command(after_help = "\
An INPUT is a go.sum file, a directory with a go.mod or go.work (the default is this one), a program that Go has built, or - for \
what `go mod download -json` prints, or go.sum lines, on standard input. Every hash is proved under the newest head of the log, \
and that head with the newest one that was seen here before (--state).

The key comes from GOSUMDB or --key, never from the server. A Tallystick server tells what it has and brings nothing in. Every other \
checksum database, sum.golang.org too, has look-ups only, which bring in what is missing: they need --notarize, and what GONOSUMDB \
(or GOPRIVATE) keeps from such a log is not asked for there.

In a GitHub job every fault becomes an annotation of its line.

Examples:
  tallystick check
  tallystick check go.sum --server https://sum.corp.example --key sum.corp.example.vkey
  go mod download -json | tallystick check -
  tallystick check . --vendor --env --junit check.xml
  tallystick check --modcache
  tallystick check ./billing --json")]
pub(super) struct CheckCommand {
    /// go.sum files, directories, programs, or - [default: . unless --modcache or --env is given]
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Where the log is [default: the URL in GOSUMDB, else the proxies of GOPROXY that pass it on,
    /// then its name]
    #[arg(long, value_name = "URL")]
    server: Option<SourceUrl>,
    /// The log's verifier key, or a file with it [default: the one in GOSUMDB]
    #[arg(long, value_name = "VKEY|FILE")]
    key: Option<String>,
    /// Let the log bring in what it does not have, as a look-up by the go command does
    #[arg(long)]
    notarize: bool,
    /// Compare the vendored files of each directory with the zips that the log vouches for
    #[arg(long)]
    vendor: bool,
    /// Hash the zips and go.mod files in this module cache [default: GOMODCACHE]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    modcache: Option<Option<PathBuf>>,
    /// Fail on every setting with which the go command bypasses the log
    #[arg(long)]
    env: bool,
    /// Directory for the newest heads seen [default: tallystick/heads in the user's cache
    /// directory]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Requests in flight at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the result for a CI server into this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print GitHub annotations [default: where GITHUB_ACTIONS is true]
    #[arg(long)]
    github: bool,
}

impl CheckCommand {
    pub(super) fn run(mut self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let go = GoEnvironment::read(&Environment::of_process());
        if self.inputs.is_empty() && self.modcache.is_none() && !self.env {
            self.inputs.push(PathBuf::from("."));
        }
        if self.vendor && self.inputs.is_empty() {
            self.inputs.push(PathBuf::from("."));
        }
        let mut gathered = self.gather(&go)?;
        let is_for_log = !self.inputs.is_empty() || self.modcache.is_some();
        let settings = is_for_log || self.key.is_some();
        let settings = settings.then(|| LogSettings::read(&self, &go)).transpose()?;
        if self.env {
            gathered
                .findings
                .extend(environment::findings(&go, settings.as_ref().map(|settings| &settings.key)));
        }
        let mut report = CheckOutput::new(gathered.findings, gathered.notes);
        if let Some(settings) = settings.filter(|_| is_for_log) {
            let (checked, claims, withheld) = block_on(self.ask(&config, &go, settings, gathered.claims))
                .inspect_err(|error| self.tell(None, &format!("{error:#}")))?;
            report.findings.extend(withheld);
            report.findings.extend(checked.findings(&claims));
            report.of_log(&checked);
        }
        report.finish();
        if let Some(path) = &self.junit {
            std::fs::write(path, output::junit(&report))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        report.show(self.json, self.is_for_github())?;
        Ok(report.exit())
    }

    /// Reads everything that was named.
    fn gather(&self, go: &GoEnvironment) -> anyhow::Result<Gathered> {
        let mut gathered = Gathered::default();
        for input in &self.inputs {
            gathered.append(self.told(inputs::read(input, self.vendor))?);
        }
        if let Some(directory) = &self.modcache {
            gathered.append(self.told(inputs::module_cache(directory.as_deref(), go))?);
        }
        Ok(gathered)
    }

    /// Has a CI server show a fault of an input at its place.
    fn told(&self, read: Result<Gathered, GatherError>) -> anyhow::Result<Gathered> {
        read.inspect_err(|error| self.tell(error.place().as_ref(), &error.to_string())).or_exit(Exit::Usage)
    }

    /// Tells a CI server why there is no result.
    fn tell(&self, place: Option<&FilePlace>, why: &str) {
        if self.is_for_github() {
            output::print_failure(place, why, self.json);
        }
        let Some(path) = &self.junit else { return };
        if let Err(error) = std::fs::write(path, output::junit_failure(why)) {
            super::output::warning(&format!("cannot write {}: {error}", path.display()));
        }
    }

    fn is_for_github(&self) -> bool {
        self.github || std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true")
    }

    async fn ask(
        &self,
        config: &Config,
        go: &GoEnvironment,
        settings: LogSettings,
        claims: Vec<HashClaim>,
    ) -> anyhow::Result<(CheckedClaims, Vec<HashClaim>, Vec<Finding>)> {
        let clock = Clock::system();
        let client = http_client(config, &clock)?;
        let shown = settings.shown();
        let target = settings.target(client);
        let asking = settings.asking(&target, self.notarize).await?;
        let (claims, withheld) = settings.withhold(go, asking, claims);
        let options = CheckOptions {
            target,
            asking,
            memory: settings.memory(self.state.as_deref()),
            known: settings.heads_of_go(go),
            key: settings.key,
            jobs: usize::from(self.jobs),
            clock,
        };
        let bar = std::cell::RefCell::new(None);
        let result = check(options, &claims, |done, total| {
            let mut bar = bar.borrow_mut();
            bar.get_or_insert_with(|| ProgressMeter::new("look-ups and proofs", total)).set(done);
        });
        let result = result.await;
        if let Some(bar) = bar.into_inner() {
            bar.finish();
        }
        let checked = result.or_else(|error| {
            let (exit, fix) = settings::advice(&error);
            let error = match &error {
                CheckError::Fork(misbehavior) => anyhow!("{error}\n\n{}", misbehavior.to_text()),
                _ => anyhow::Error::new(error),
            };
            let error = error.context(format!("the check against {shown} did not end"));
            Err(anyhow!("{error:#}\n  fix: {fix}")).or_exit(exit)
        })?;
        Ok((checked, claims, withheld))
    }
}
