//! What every long-running command has: signals, listeners, the operators' door, a certificate that
//! is renewed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::checks::validity_warning;
use super::exit::{Exit, OrExit};
use crate::clock::Clock;
use crate::config::ListenAddress;
use crate::http::listen::{Closed, Door, ListenLimits, raise_descriptor_limit};
use crate::http::listener::{ListenError, Listeners};
use crate::http::metrics::{Metrics, Traffic};
use crate::http::ops::{self, Health};
use crate::http::proxies::TrustedProxies;
use crate::http::tls::{Reload, TlsKeeper};

/// A renewed certificate is used after this long at most.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);
/// An expiring certificate is warned of once in this time.
const EXPIRY_WARNING: Duration = Duration::from_secs(24 * 3600);
/// How long look-ups that nobody waits for any more may go on at the end.
pub(super) const NOTARY_PATIENCE: Duration = Duration::from_secs(5);

/// The signals that ask the process to end. Made before anything else: a signal from then on is an
/// orderly end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// For a command that reads its configuration at its start only.
    hangup: Option<Signal>,
}

impl Signals {
    /// Begins to listen for them.
    pub(super) fn new() -> std::io::Result<Signals> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Signals { terminate, interrupt, hangup: None })
    }

    /// Begins to listen for them in a command that cannot reload: SIGHUP does not end it either.
    pub(super) fn without_reload() -> std::io::Result<Signals> {
        let hangup = Some(signal(SignalKind::hangup())?);
        Ok(Signals { hangup, ..Signals::new()? })
    }

    /// Waits for the next one, and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            let hung_up = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = hung_up => tracing::warn!(
                    "SIGHUP changes nothing: this command reads its configuration when it starts\n  fix: restart it; \
                     a renewed certificate is taken without a restart"
                ),
            }
        }
    }
}

/// The limits of a public door: as many connections as are configured, if there are descriptors for
/// them.
pub(super) fn door_limits(connections: usize) -> ListenLimits {
    let limits = ListenLimits { connections, ..ListenLimits::default() }.within(raise_descriptor_limit());
    if limits.connections < connections {
        tracing::warn!(
            configured = connections,
            "at most {} connections are served at once, for want of descriptors\n  fix: raise the process's limit \
             (LimitNOFILE= of systemd, ulimit -n), or lower `limits.connections`",
            limits.connections
        );
    }
    limits
}

/// Takes the addresses of a door, and says which they are where that is not what was written.
pub(super) async fn bind(key: &str, address: &ListenAddress) -> anyhow::Result<Listeners> {
    let bound = Listeners::bind(address).await.or_else(|error| match error {
        ListenError::Refused { address, source } => {
            let text = format!("cannot listen on {address}: free it or choose another with `{key}`");
            Err(source).context(text)
        }
        error => Err(error).or_exit(Exit::Usage),
    })?;
    if !matches!(address, ListenAddress::One(_)) {
        tracing::info!(%address, bound = %bound, "{key}: these addresses were bound");
    }
    Ok(bound)
}

/// Serves the operators' door of such a role until it stops.
pub(super) fn operators(
    health: Arc<dyn Health>,
    metrics: Arc<Metrics>,
    listener: Listeners,
    stopped: watch::Receiver<bool>,
) -> JoinHandle<Closed> {
    tokio::spawn(operators_door(health, metrics).serve(listener, until(stopped)))
}

/// The door of health and metrics.
pub(super) fn operators_door(health: Arc<dyn Health>, metrics: Arc<Metrics>) -> Door<axum::Router> {
    Door {
        site: Arc::new(ops::router(health, metrics)),
        tls: None,
        limits: ops::limits(),
        proxies: TrustedProxies::default(),
        traffic: Traffic::default(),
    }
}

/// Waits until the process is to end.
pub(super) async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Warns of a certificate that expires.
pub(super) fn warn_of(tls: &TlsKeeper, clock: &Clock) {
    if let Some(warning) = validity_warning(&tls.current(), clock) {
        tracing::warn!("{warning}");
    }
}

/// Takes a renewed certificate as soon as it lies there. A bad one is named once and the old one
/// kept. Warns once a day of one that expires; whoever calls this has done so at the start.
pub(super) async fn reload_certificate(tls: Arc<TlsKeeper>, clock: Clock) {
    let mut said = String::new();
    let mut ticks = tokio::time::interval(CERTIFICATE_POLL);
    let mut warned_at = clock.instant();
    loop {
        ticks.tick().await;
        if clock.instant().saturating_duration_since(warned_at) >= EXPIRY_WARNING {
            warned_at = clock.instant();
            warn_of(&tls, &clock);
        }
        match tls.reload() {
            Ok(Reload::Unchanged) => {}
            Ok(Reload::Replaced) => {
                said.clear();
                tracing::info!("the certificate was renewed");
                warn_of(&tls, &clock);
            }
            Err(error) if error.to_string() != said => {
                said = error.to_string();
                tracing::error!(%error, "the new certificate is not used");
            }
            Err(_) => {}
        }
    }
}
