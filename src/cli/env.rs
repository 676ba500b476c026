//! `tallystick env`: the lines that make a `go` command ask this log.

use clap::Args;
use serde_json::{Map, Value, json};

use super::client::{self, ClientSetup, Shell};
use super::{Common, Exit, block_on, bypass, output, remote};
use crate::config::{Environment, GoEnvironment, keys};
use crate::source::ServerUrl;
use crate::visible;

/// Print the client's variables, from this machine's log or from a server
#[derive(Debug, Args)]
#[command(after_help = "\
What it prints when it fails makes the go command fail too, so that no build goes on unverified.

With --server the key comes from the server: compare its fingerprint, printed on stderr, with that of \
`tallystick key show` on the server before you rely on it.

Examples:
  eval \"$(tallystick env)\"
  tallystick env --shell fish | source
  tallystick env --shell powershell | Out-String | Invoke-Expression
  tallystick env --server https://sum.corp.example
  tallystick env --json")]
pub(super) struct EnvCommand {
    /// Whose syntax to print
    #[arg(long, value_enum, default_value_t = Shell::Sh, conflicts_with = "json")]
    shell: Shell,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask this server for its name and key instead of reading the data directory
    #[arg(long, value_name = "URL")]
    server: Option<ServerUrl>,
}

impl EnvCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let (shell, json) = (self.shell, self.json);
        let result = self.show(common);
        if result.is_err() && !json {
            // Whoever evaluates it would go on with the settings of before, and the build with another database or none.
            output::print_exact(client::refusal(shell))?;
        }
        result
    }

    fn show(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let client = match &self.server {
            Some(server) => block_on(remote::log_of(server, config.roots.as_deref()))?,
            None => {
                let (_, key) = keys::load_verifier(&config.data, config.name.as_deref())?;
                ClientSetup::new(&key, &config.client_url())
            }
        };
        let warnings = bypass::warnings(&GoEnvironment::read(&Environment::of_process()));
        if self.json {
            let variables: Map<String, Value> =
                client.variables().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            output::print_json(&json!({
                "log": client.name,
                // Deprecated: the name of before.
                "name": client.name,
                "vkey": client.vkey,
                "url": client.url,
                "fingerprint": client.fingerprint,
                "env": variables,
                "go_env_w": client.go_env_lines(),
                "warnings": warnings,
            }))?;
            return Ok(Exit::Done);
        }
        output::print_exact(&client.script(self.shell))?;
        for warning in warnings {
            output::warning(&warning);
        }
        if !client.name.chars().all(visible::is_plain) {
            output::warning(&format!(
                "the name of this log has characters that are not shown as they are: {}\n  fix: rely on it only if its operator \
                 confirms exactly this name",
                client.name
            ));
        }
        if let Some(server) = &self.server {
            output::note(&format!(
                "the key of {} as {server} gave it has the fingerprint\n  {}\n  compare it with `tallystick key show` on the server",
                client.name, client.fingerprint
            ));
        }
        Ok(Exit::Done)
    }
}
