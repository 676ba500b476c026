//! What every long-running command has: signals, listeners, the operators' door, a certificate that
//! is renewed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http::listen::{Closed, Door, ListenLimits, raise_descriptor_limit};
use crate::http::listener::listen_tcp;
use crate::http::metrics::{Metrics, Traffic};
use crate::http::ops::{self, Health};
use crate::http::proxies::TrustedProxies;
use crate::http::tls::{Reload, TlsKeeper};

/// A renewed certificate is used after this long at most.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);
/// How long look-ups that nobody waits for any more may go on at the end.
pub(super) const NOTARY_PATIENCE: Duration = Duration::from_secs(5);

/// The signals that ask the process to end. Made before anything else: a signal from then on is an
/// orderly end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen for them.
    pub(super) fn new() -> std::io::Result<Signals> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Signals { terminate, interrupt })
    }

    /// Waits for the next one, and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
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

/// Says that a port cannot be had.
pub(super) fn taken(key: &str, address: SocketAddr) -> String {
    format!("cannot listen on {address}: free it or choose another with `{key}`")
}

/// Takes a port of a role that is a process of its own.
pub(super) async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen_tcp(address).await.with_context(|| taken(key, address))
}

/// The operators' door of such a role, until it is told to stop.
pub(super) fn operators(
    health: Arc<dyn Health>,
    metrics: Arc<Metrics>,
    listener: TcpListener,
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

/// Takes a renewed certificate as soon as it lies there. A bad one is named once and the old one
/// kept.
pub(super) async fn reload_certificate(tls: Arc<TlsKeeper>) {
    let mut said = String::new();
    let mut ticks = tokio::time::interval(CERTIFICATE_POLL);
    loop {
        ticks.tick().await;
        match tls.reload() {
            Ok(Reload::Unchanged) => {}
            Ok(Reload::Replaced) => {
                said.clear();
                tracing::info!("the certificate was renewed");
            }
            Err(error) if error.to_string() != said => {
                said = error.to_string();
                tracing::error!(%error, "the new certificate is not used");
            }
            Err(_) => {}
        }
    }
}
