//! `tallystick reload`: has the running server read its configuration again.

use std::path::Path;

use clap::Args;

use super::exit::{Exit, OrExit};
use super::session::refused;
use super::{Common, block_on, output};
use crate::config::{Config, Environment};
use crate::http::control::ControlClient;
use crate::operate::ReloadAnswer;

/// Have the running server read its configuration again: routes, credentials, certificates, limits
#[derive(Debug, Args)]
#[command(after_help = "\
The server reads its own file, the one that it was started with, and takes all of it or nothing. What is wrong is \
printed as `tallystick config check` prints it, and the configuration before stays in force. Where a key has changed \
that takes effect at a start only, it is named and nothing is changed. SIGHUP does the same and logs how it went.

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
        // Only where the server is: what is wrong with the rest, the server itself must notice.
        let data = Config::data_directory(&common.overrides(), &Environment::of_process())?;
        let answer = block_on(reload(&data))?;
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

async fn reload(data: &Path) -> anyhow::Result<ReloadAnswer> {
    let nobody = || {
        anyhow::anyhow!(
            "no server runs in {}\n  fix: start it, or name the directory of the server that runs with --data",
            data.display()
        )
    };
    let server = ControlClient::connect(data).await?;
    let mut server = server.ok_or_else(nobody).or_exit(Exit::Unreachable)?;
    server.reload().await?.or_else(refused)
}

fn text_of(answer: &ReloadAnswer) -> String {
    let what = answer.file.as_ref().map_or("the defaults".to_owned(), |file| file.display().to_string());
    let changed: Vec<&str> = answer.changed.iter().chain(&answer.renewed).map(String::as_str).collect();
    match changed.as_slice() {
        [] => format!("reloaded: {what}, nothing has changed\n"),
        changed => format!("reloaded: {what}, changed: {}\n", changed.join(", ")),
    }
}
