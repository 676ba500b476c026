//! From a configuration to engines that run: the one place where everything is put together.

mod log;
mod mirrors;
mod notary;
mod witnesses;

use std::sync::Arc;

use anyhow::Context;

use super::exit::{Exit, OrExit};
use super::founding;
use crate::clock::Clock;
use crate::config::Config;
use crate::log::{Conditions, Log, PublishGate, State};
use crate::mirror::Mirrors;
use crate::notary::Notary;
use crate::note::SignerKey;
use crate::upstream::{ClientOptions, HostRule, HttpClient, RedirectRules, remove_leftovers};
use crate::witness::Witnesses;
pub(super) use log::{ClosedLog, open_log, open_reader};
pub(super) use mirrors::{file_name, full_database, open_kept_mirrors, open_mirrors};
pub(super) use notary::limits;
use notary::open_notary;
pub(super) use witnesses::cosignatures_database;
use witnesses::open_witnesses;

/// What we call ourselves to other servers, with how their operators reach ours.
fn user_agent(contact: Option<&str>) -> String {
    let contact = contact.map(|contact| format!("; +{contact}")).unwrap_or_default();
    format!("tallystick/{} (private Go checksum database{contact})", env!("CARGO_PKG_VERSION"))
}

/// The log, its notary and the mirrors, ready.
pub(super) struct Engines {
    pub(super) log: Log,
    pub(super) notary: Notary,
    pub(super) mirrors: Mirrors,
    pub(super) witnesses: Witnesses,
    pub(super) clock: Clock,
}

impl Engines {
    /// Opens everything that the configuration names. Nobody is asked for anything.
    pub(super) fn open(config: &Config, signer: SignerKey) -> anyhow::Result<Engines> {
        let clock = Clock::system();
        let client = http_client(config, &clock)?;
        let witnesses = open_witnesses(config, &signer, &client)?;
        let gate: Arc<dyn PublishGate> = Arc::new(witnesses.clone());
        let conditions = Conditions { gate: Some(gate), hold: witnesses.hold() };
        let log = open_log(config, vec![signer], clock.clone(), conditions)?;
        founding::founded(config)?;
        say_what_is_unknown(config, &log);
        // Whoever appends needs them, also where nothing is served: a gate that nobody asks for
        // stays closed.
        tokio::spawn(witnesses.clone().run(log.clone()));
        let mirrors = open_mirrors(config, config.mirrored().map(|(name, _)| name), &client)?;
        for one in mirrors.unusable() {
            let fix = one.remedy();
            tracing::error!(log = one.name, error = %one, fix, "a mirror cannot be used; the others go on");
        }
        // The log is ours alone by now, and nothing is fetched yet.
        remove_leftovers(&config.data.join("scratch"));
        let notary = open_notary(config, log.clone(), &mirrors, &client)?;
        Ok(Engines { log, notary, mirrors, witnesses, clock })
    }
}

/// Log and anchor that were put back from one old backup agree, and nothing on this machine can
/// tell.
fn say_what_is_unknown(config: &Config, log: &Log) {
    let size = log.snapshot().size().0;
    if size > 0 && config.witnesses.all.is_empty() && matches!(&*log.state(), State::Writing) {
        tracing::info!(
            tree.size = size,
            "log and anchor agree; if both are old copies of one time, nobody here can know, since no witness is configured"
        );
    }
}

/// How other servers are asked.
pub(super) fn http_client(config: &Config, clock: &Clock) -> anyhow::Result<HttpClient> {
    Ok(HttpClient::new(ClientOptions {
        roots: config.roots.value.clone(),
        extra_roots: config.extra_roots.clone(),
        user_agent: user_agent(config.contact.as_deref()),
        redirects: redirect_rules(config)?,
        clock: clock.clone(),
        ..ClientOptions::default()
    })?)
}

/// Where sources may redirect to.
pub(super) fn redirect_rules(config: &Config) -> anyhow::Result<RedirectRules> {
    let rules = |key: &str, texts: &[String]| {
        let rules = texts.iter().map(|text| HostRule::parse(text)).collect::<Result<Vec<_>, _>>();
        rules.with_context(|| key.to_owned()).or_exit(Exit::Usage)
    };
    let (hosts, private) = (&config.redirects.hosts, &config.redirects.private_sources);
    Ok(RedirectRules {
        hosts: rules("redirects.hosts", hosts)?,
        private_hosts: rules("redirects.private_sources", private)?,
        ..RedirectRules::default()
    })
}
