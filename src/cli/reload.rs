//! `tallystick reload`: has the running server read its configuration again.

use clap::Args;

use super::exit::{Exit, OrExit};
use super::session::{Session, refused};
use super::{Common, block_on, output};
use crate::config::Config;
use crate::operate::ReloadAnswer;

/// Have the running server read its configuration again: routes, credentials, certificates, limits
#[derive(Debug, Args)]
#[command(after_help = "\
The server reads its own file, the one that it was started with, and takes all of it or nothing. What is wrong is \
printed as `tallystick config check` prints it, and the configuration before stays in force. Where a key has changed \
that takes effect at a start only, it is named and nothing is changed. SIGHUP does the same and logs how it went.

Exit codes: 0 reloaded, 1 refused: a restart is needed, 2 the configuration is wrong, 3 no server is running.

Examples:
  tallystick reload
  tallystick reload --config /etc/tallystick.toml
  tallystick reload --json")]
pub(super) struct ReloadCommand {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ReloadCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let answer = block_on(reload(&config))?;
        for warning in &answer.warnings {
            output::warning(warning);
        }
        if self.json {
            output::print_json(&answer)?;
        } else {
            output::print(&text_of(&answer))?;
        }
        Ok(Exit::Done)
    }
}

async fn reload(config: &Config) -> anyhow::Result<ReloadAnswer> {
    let nobody = || {
        anyhow::anyhow!(
            "no server runs in {}\n  fix: start it, or name the directory of the one that runs with --data or --config",
            config.data.display()
        )
    };
    let session = Session::running(config).await?;
    let mut session = session.ok_or_else(nobody).or_exit(Exit::Unreachable)?;
    session.reload().await?.or_else(refused)
}

fn text_of(answer: &ReloadAnswer) -> String {
    let what = answer.file.as_ref().map_or("the defaults".to_owned(), |file| file.display().to_string());
    let changed: Vec<&str> = answer.changed.iter().chain(&answer.renewed).map(String::as_str).collect();
    match changed.as_slice() {
        [] => format!("reloaded: {what}, nothing has changed\n"),
        changed => format!("reloaded: {what}, changed: {}\n", changed.join(", ")),
    }
}
