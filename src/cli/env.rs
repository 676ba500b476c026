//! `tallystick env`: the lines that make a `go` command ask this log.
//!
//! | asked for | the key comes from | the address comes from |
//! |---|---|---|
//! | `--server URL` | that server | the URL |
//! | nothing, a server runs on the data directory | the data directory, and the address must have the same | `url`, or the server's own word where it listens |
//! | nothing, no server runs | the data directory | the configuration |

use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::address::{self, ClientAddress};
use super::client::{self, ClientSetup, Shell};
use super::exit::OrExit;
use super::{Common, Exit, block_on, bypass, output, remote};
use crate::config::{Config, Environment, GoEnvironment, keys};
use crate::note::VerifierKey;
use crate::source::ServerUrl;
use crate::visible;

/// A shell that starts waits for it. A load balancer need not be reachable from the log's own machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a person learns which key is right.
const OTHER_CHANNEL: &str = "ask the log's operator for the fingerprint by another way than this network: in person, by phone, or from \
     a page that you trust already. The operator reads it from `tallystick key show` on the server";

/// Print the client's variables, from this machine's log or from a server
#[derive(Debug, Args)]
#[command(after_help = "\
What it prints when it fails makes the go command fail too, so that no build goes on unverified.

With --server the key comes from the server: compare its fingerprint, printed on stderr, with that of \
`tallystick key show` on the server before you rely on it, or have it compared with --expect-fingerprint.

HTTP_PROXY, HTTPS_PROXY and NO_PROXY count as for the go command; localhost and loopback addresses are asked directly. \
SSL_CERT_FILE replaces the system's certificates, --cacert adds one.

Examples:
  eval \"$(tallystick env)\"
  tallystick env --shell fish | source
  tallystick env --shell powershell | Out-String | Invoke-Expression
  tallystick env --server https://sum.corp.example --cacert corp-ca.pem
  tallystick env --server https://sum.corp.example --expect-fingerprint 3e9617dce5730053cb82f0481b9d289cd3c384a9219ef5509c91aa60d214794e
  tallystick env --shell gitlab > tallystick.env
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
    /// Fail unless the key has this fingerprint
    #[arg(long, value_name = "HEX")]
    expect_fingerprint: Option<Fingerprint>,
}

/// A fingerprint that somebody was told; spaces and colons are for reading.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint(String);

#[derive(Debug, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits, as `tallystick key show` prints it")]
struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | ':')).collect();
        let is_one = digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit());
        if is_one { Ok(Fingerprint(digits.to_ascii_lowercase())) } else { Err(FingerprintError) }
    }
}

impl Fingerprint {
    fn is_of(&self, client: &ClientSetup) -> bool {
        client.fingerprint.replace(' ', "") == self.0
    }
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
        let environment = Environment::of_process();
        let mut warnings = bypass::warnings(&GoEnvironment::read(&environment));
        let client = match &self.server {
            Some(server) => block_on(remote::log_of(&config, server))?,
            None => block_on(own_log(&config, &mut warnings))?,
        };
        if let Some(expected) = self.expect_fingerprint.as_ref().filter(|expected| !expected.is_of(&client)) {
            return Err(anyhow!(
                "{} has another key than the expected one: its fingerprint is\n  {}\n  and not\n  {}\n  fix: do not use this log \
                 before you know why; {OTHER_CHANNEL}",
                client.url,
                client.fingerprint,
                keys::grouped(&expected.0)
            ))
            .or_exit(Exit::Damage);
        }
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
        output::print_exact(&client.script(self.shell, &environment).or_exit(Exit::Usage)?)?;
        self.say(&client, &warnings);
        Ok(Exit::Done)
    }

    /// Says on stderr what is no part of the script.
    fn say(&self, client: &ClientSetup, warnings: &[String]) {
        for warning in warnings {
            output::warning(warning);
        }
        if !client.name.chars().all(visible::is_plain) {
            output::warning(&format!(
                "the name of this log has characters that are not shown as they are: {}\n  fix: rely on it only if its operator \
                 confirms exactly this name",
                client.name
            ));
        }
        if let Some(server) = self.server.as_ref().filter(|_| self.expect_fingerprint.is_none()) {
            output::note(&format!(
                "the key of {} as {server} gave it has the fingerprint\n  {}\n  {OTHER_CHANNEL}.\n  Then give it to this command \
                 each time: --expect-fingerprint '{}'",
                client.name, client.fingerprint, client.fingerprint
            ));
        }
        if let Some(undo) = client.undo_beside(self.shell) {
            output::note(&undo);
        }
    }
}

/// The log of the data directory, at the address where clients reach it.
async fn own_log(config: &Config, warnings: &mut Vec<String>) -> anyhow::Result<ClientSetup> {
    let (_, key) = keys::load_verifier(&config.data, config.name.as_deref())?;
    let ClientAddress { url, is_served, doubt } = address::of_log(config).await;
    warnings.extend(doubt);
    if is_served {
        compare(config, &key, &url, warnings).await?;
    }
    Ok(ClientSetup::new(&key, &url))
}

/// Asks at the address whether the same key answers there.
async fn compare(
    config: &Config,
    key: &VerifierKey,
    url: &str,
    warnings: &mut Vec<String>,
) -> anyhow::Result<()> {
    let server = url.parse()?;
    let asked = timeout(PATIENCE, remote::key_at(config, &server)).await;
    let there = match asked.unwrap_or_else(|_| Err(anyhow!("there is no answer within {PATIENCE:?}"))) {
        Ok(there) => there,
        Err(error) => {
            warnings.push(format!("nobody could see whether this log answers at {url}: {error:#}"));
            return Ok(());
        }
    };
    if there == *key {
        return Ok(());
    }
    let data = std::path::absolute(&*config.data).unwrap_or_else(|_| config.data.value.clone());
    Err(anyhow!(
        "another log answers at {url}: its key is {there}, and that of {} is {key}\n  fix: set `url` to the address at which clients \
         reach this log, or move the other server away from it",
        data.display()
    ))
    .or_exit(Exit::Damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_write_it() {
        let key: VerifierKey = crate::config::SUM_GOLANG_ORG_KEY.parse().unwrap();
        let client = ClientSetup::new(&key, "https://sum.golang.org");
        let shown = &client.fingerprint;
        for text in [shown.clone(), shown.replace(' ', ""), shown.replace(' ', ":").to_uppercase()] {
            assert!(text.parse::<Fingerprint>().unwrap().is_of(&client), "{text}");
        }
        assert!(!shown.replacen('3', "4", 1).parse::<Fingerprint>().unwrap().is_of(&client));
        for text in ["", "3e96", &shown.replace('e', "g"), &format!("{shown}0")] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
        assert_eq!(keys::grouped(&shown.replace(' ', "")), *shown);
    }
}
