//! How other servers are asked: by one client for everything, until a reload changes what it is made
//! from.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::cli::exit::{Exit, OrExit};
use crate::cli::verify;
use crate::clock::Clock;
use crate::config::Config;
use crate::upstream::{ClientOptions, HostRule, HttpClient, RedirectRules};

/// A bundle of all public roots has some 200 KB.
const MAX_ROOTS_BYTES: u64 = 8 << 20;

/// A client of other servers, and what it was made from. Clones share connections.
#[derive(Clone)]
pub(in crate::cli) struct Outgoing {
    pub(in crate::cli) client: HttpClient,
    pub(super) inputs: Arc<OutgoingInputs>,
}

/// What a client is made from. Two clients with equal inputs do the same.
#[derive(PartialEq, Eq)]
pub(super) struct OutgoingInputs {
    /// The root certificates themselves: a file may be replaced under its name.
    roots: Option<Vec<u8>>,
    extra_roots: Vec<Vec<u8>>,
    contact: Option<String>,
    redirect_hosts: Vec<String>,
    private_sources: Vec<String>,
}

impl OutgoingInputs {
    fn read(config: &Config) -> anyhow::Result<OutgoingInputs> {
        let read = |path: &Path| verify::read(path, MAX_ROOTS_BYTES);
        let roots = config.roots.as_deref().map(read).transpose();
        let extra_roots = config.extra_roots.iter().map(|path| read(path)).collect::<Result<_, _>>();
        Ok(OutgoingInputs {
            roots: roots.context("roots").or_exit(Exit::Usage)?,
            extra_roots: extra_roots.context("--cacert").or_exit(Exit::Usage)?,
            contact: config.contact.value.clone(),
            redirect_hosts: config.redirects.hosts.value.clone(),
            private_sources: config.redirects.private_sources.value.clone(),
        })
    }
}

impl Outgoing {
    /// The client of a configuration.
    pub(in crate::cli) fn new(config: &Config, clock: &Clock) -> anyhow::Result<Outgoing> {
        let inputs = Arc::new(OutgoingInputs::read(config)?);
        Ok(Outgoing { client: http_client(config, clock)?, inputs })
    }

    /// The client of a reloaded configuration: this one, with its connections, unless its inputs
    /// have changed.
    pub(in crate::cli) fn renewed(&self, config: &Config) -> anyhow::Result<Outgoing> {
        if OutgoingInputs::read(config)? == *self.inputs {
            return Ok(self.clone());
        }
        Outgoing::new(config, self.client.clock())
    }

    /// Whether both are one client.
    pub(in crate::cli) fn is(&self, other: &Outgoing) -> bool {
        Arc::ptr_eq(&self.inputs, &other.inputs)
    }
}

/// How other servers are asked.
pub(in crate::cli) fn http_client(config: &Config, clock: &Clock) -> anyhow::Result<HttpClient> {
    Ok(HttpClient::new(ClientOptions {
        roots: config.roots.value.clone(),
        extra_roots: config.extra_roots.clone(),
        user_agent: user_agent(config.contact.as_deref()),
        redirects: redirect_rules(config)?,
        clock: clock.clone(),
        ..ClientOptions::default()
    })?)
}

/// What we call ourselves to other servers, with how their operators reach ours.
fn user_agent(contact: Option<&str>) -> String {
    let contact = contact.map(|contact| format!("; +{contact}")).unwrap_or_default();
    format!("tallystick/{} (private Go checksum database{contact})", env!("CARGO_PKG_VERSION"))
}

/// Where sources may redirect to.
pub(in crate::cli) fn redirect_rules(config: &Config) -> anyhow::Result<RedirectRules> {
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
