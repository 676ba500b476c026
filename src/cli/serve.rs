//! `tallystick serve`: the whole server in one process.

use std::net::SocketAddr;

use clap::Args;

use super::client::Client;
use super::{Common, Exit, block_on, bypass, logging};
use crate::config::{Config, Environment, GoEnvironment, Overrides, keys};
use crate::note::SignerKey;

/// Run the log: answer the go command, notarise what it asks for
#[derive(Debug, Args)]
#[command(after_help = "\
Without a configuration the source of modules is GOPROXY (environment, then go env), public lines come from \
sum.golang.org, and what GOPRIVATE names comes from version control. The first start makes the data directory, \
the key and the log, and prints the lines that clients need.

Examples:
  tallystick serve
  tallystick serve --data /var/lib/tallystick --name sum.corp.example
  tallystick serve --config /etc/tallystick.toml --listen 0.0.0.0:8470")]
pub(super) struct Serve {
    /// The log's name, fixed when its key is made [default: tallystick.local/<8 hex>]
    #[arg(long)]
    name: Option<String>,
    /// Address and port for clients [default: 127.0.0.1:8470]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address and port of health and metrics [default: 127.0.0.1:8471]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

/// What the server starts from.
#[derive(Debug)]
pub(super) struct ServeOptions {
    /// The configuration with its routes filled in.
    pub(super) config: Config,
    /// The log's key.
    pub(super) signer: SignerKey,
    /// Whether the key was made just now.
    pub(super) is_new_key: bool,
}

impl Serve {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let environment = Environment::of_process();
        let overrides = Overrides {
            name: self.name,
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            ..common.overrides()
        };
        let mut config = Config::load(&overrides, &environment)?;
        logging::start(config.log_format, config.log_filter.as_deref(), "info");
        let go = GoEnvironment::read(&environment);
        config.discover(&go)?;
        for notice in config.notices.iter().chain(&bypass::warnings(&go)) {
            tracing::warn!("{notice}");
        }
        let (signer, is_new_key) = keys::load_or_create(&config.data, config.name.as_deref())?;
        block_on(engine(ServeOptions { config, signer, is_new_key }))
    }
}

/// What `serve` prints on stdout once it listens: the key, and the lines to paste.
pub(super) fn announcement(options: &ServeOptions, url: &str) -> String {
    let client = Client::new(&options.signer.verifier(), url);
    let made = if options.is_new_key { " (made just now: back up the keys directory)" } else { "" };
    let mut text = format!(
        "log           {}\nverifier key  {}{made}\naddress       {url}\n\n",
        client.name, client.vkey
    );
    text += "For one shell:    eval \"$(tallystick env)\"\nFor this user:\n";
    for line in client.go_env_lines() {
        text += &format!("  {line}\n");
    }
    text
}

/// SEAM: opens anchor, store and log, starts notary and listeners, prints [`announcement`], ends on SIGTERM.
async fn engine(options: ServeOptions) -> anyhow::Result<Exit> {
    let _announcement = announcement(&options, &options.config.client_url());
    anyhow::bail!("not wired yet: serve")
}
