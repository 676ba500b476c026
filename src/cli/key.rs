//! `tallystick key`: make and show the log's key.

use clap::{Args, Subcommand};
use serde_json::json;

use super::engines::open_log;
use super::exit::OrExit;
use super::{Common, Exit, founding, load_config, output};
use crate::clock::Clock;
use crate::config::{Config, Overrides, keys};
use crate::log::Conditions;
use crate::note::CosignatureVerifier;

/// Make or show the log's key
#[derive(Debug, Args)]
#[command(after_help = "\
`serve` makes a key at its first start; `key new` is for those who want to see it before. It makes the key, its empty log and the \
anchor in one step: a key without its log signs nothing. A witness's key is another: see `tallystick witness key`.

Examples:
  tallystick key new --name sum.corp.example
  tallystick key show
  tallystick key show --data /var/lib/tallystick --json")]
pub(super) struct KeyCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the log's key with its empty log; an existing one is never overwritten
    New {
        /// The log's name, for ever part of the key [default: tallystick.local/<8 hex>]
        #[arg(long)]
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the log's name, verifier key, the key that dates its checkpoints, and the fingerprint
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl KeyCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let (name, json, is_new) = match self.action {
            Action::New { name, json } => (name, json, true),
            Action::Show { json } => (None, json, false),
        };
        let config = load_config(&Overrides { name, ..common.overrides() })?;
        if is_new && let Ok((path, _)) = keys::load_verifier(&config.data, None) {
            return Err(keys::KeyFileError::Exists { path }.into());
        }
        if is_new && crate::store::sqlite::holds_log(&config.data) {
            let why = format!(
                "there is a log in {}, which only its own key can sign\n  fix: put its key files back into {}, or choose another \
                 --data for a new log",
                config.data.display(),
                keys::directory(&config.data).display()
            );
            return Err(anyhow::anyhow!(why)).or_exit(Exit::Usage);
        }
        if is_new {
            let key = founding::make_key(&config)?;
            open_log(&config, vec![key], Clock::system(), Conditions::default())?.close();
            founding::founded(&config)?;
        }
        show(&config, json)?;
        Ok(Exit::Done)
    }
}

fn show(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let (path, key) = keys::load_verifier(&config.data, config.name.as_deref())?;
    let (name, fingerprint) = (key.name().to_string(), keys::fingerprint(&key));
    // Under which the times on the log's own checkpoints verify.
    let cosigner = CosignatureVerifier::from(&key);
    if as_json {
        return output::print_json(&json!({
            "log": name,
            // Deprecated: the name of before.
            "name": name,
            "vkey": key.to_string(),
            "cosigner_vkey": cosigner.to_string(),
            "fingerprint": fingerprint,
            "file": path,
        }));
    }
    output::print(&format!(
        "name          {name}\nverifier key  {key}\ncosigner key  {cosigner}\nfingerprint   {fingerprint}\nfile          {}\n",
        path.display()
    ))?;
    Ok(())
}
