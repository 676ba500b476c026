//! What is open in this process, on which the use cases work.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::refusal::{Reason, Refusal};
use super::reload::{ReloadAnswer, Reloading};
use crate::config::ListenAddress;
use crate::log::{IncidentReport, Log};
use crate::mirror::Mirrors;
use crate::notary::Notary;
use crate::store::StoreError;
use crate::store::evidence::KeptIncident;

/// The own log and the mirrors, as far as they are open in this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Operations {
    own: OwnLog,
    mirrors: Mirrors,
    /// True when the process is about to close the log; none where nobody stops it but by ending
    /// it.
    stopped: Option<watch::Receiver<bool>>,
    /// None where nobody listens for clients.
    door: Option<OpenDoor>,
    /// The server that they belong to, where its configuration can be replaced.
    server: Option<Arc<dyn Reloading>>,
}

/// Where a server listens for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenDoor {
    /// The address, with the port that was bound.
    pub(crate) address: ListenAddress,
    /// Whether it speaks TLS itself.
    pub(crate) has_tls: bool,
}

/// Keeps incidents of a log that is not open. It has no other writer meanwhile: who implements this
/// holds the lock of its directory.
pub(crate) trait IncidentStore: Send + Sync {
    /// Returns all of them, the newest first. Blocks.
    fn incidents(&self) -> Result<Vec<KeptIncident>, StoreError>;
    /// Keeps what is not known already. Blocks.
    fn keep(&self, reports: Vec<IncidentReport>) -> Result<(), StoreError>;
}

/// How far the own log is open.
#[derive(Clone)]
enum OwnLog {
    /// It is open, with the notary that appends to it.
    Open { log: Log, notary: Notary },
    /// Only the mirrors are. None where there is no own log: then nobody keeps incidents.
    Closed(Option<Arc<dyn IncidentStore>>),
}

impl Operations {
    /// Returns the operations on an open log and its mirrors.
    pub(crate) fn of_log(log: Log, notary: Notary, mirrors: Mirrors) -> Operations {
        Operations { own: OwnLog::Open { log, notary }, mirrors, stopped: None, door: None, server: None }
    }

    /// Returns the operations on mirrors without the own log, whose incidents are kept in
    /// `incidents`.
    pub(crate) fn of_mirrors(mirrors: Mirrors, incidents: Option<Arc<dyn IncidentStore>>) -> Operations {
        Operations { own: OwnLog::Closed(incidents), mirrors, stopped: None, door: None, server: None }
    }

    /// Returns the same operations; when `stopped` becomes true, imports end at the next record and
    /// everything else that takes long at once.
    pub(crate) fn until(self, stopped: watch::Receiver<bool>) -> Operations {
        Operations { stopped: Some(stopped), ..self }
    }

    /// Returns the same operations, with which this server can be told to reload its configuration.
    pub(crate) fn of_server(self, server: Arc<dyn Reloading>) -> Operations {
        Operations { server: Some(server), ..self }
    }

    /// Replaces the configuration of the server that these operations belong to.
    pub(crate) async fn reload(&self) -> Result<ReloadAnswer, Refusal> {
        match &self.server {
            Some(server) => server.reload().await,
            None => Err(Refusal::new(Reason::Usage, "only a running server has a configuration to reload")),
        }
    }

    /// Returns the same operations of a server that listens for clients.
    pub(crate) fn behind(self, door: OpenDoor) -> Operations {
        Operations { door: Some(door), ..self }
    }

    /// Returns where clients are listened for.
    pub(crate) fn door(&self) -> Result<OpenDoor, Refusal> {
        let nobody = || Refusal::new(Reason::Usage, "no server listens for clients here");
        self.door.clone().ok_or_else(nobody)
    }

    /// The mirrors that are open.
    pub(crate) fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// The own log, if it is open.
    pub(super) fn log(&self) -> Option<&Log> {
        match &self.own {
            OwnLog::Open { log, .. } => Some(log),
            OwnLog::Closed(_) => None,
        }
    }

    /// The own log and its notary, for what cannot be done without.
    pub(super) fn own(&self) -> Result<(&Log, &Notary), Refusal> {
        match &self.own {
            OwnLog::Open { log, notary } => Ok((log, notary)),
            OwnLog::Closed(_) => Err(Refusal::new(Reason::Usage, "the own log is not open here")),
        }
    }

    /// Where incidents go while the own log is not open, if it exists.
    pub(super) fn incident_store(&self) -> Option<&Arc<dyn IncidentStore>> {
        match &self.own {
            OwnLog::Open { .. } => None,
            OwnLog::Closed(incidents) => incidents.as_ref(),
        }
    }

    /// Waits until the log is to be closed.
    pub(crate) async fn stopped(&self) {
        match self.stopped.clone() {
            // An error means that the sender is gone, which is the same.
            Some(mut stopped) => drop(stopped.wait_for(|stopped| *stopped).await),
            None => std::future::pending().await,
        }
    }

    /// Does what is verified step by step, unless the process stops before.
    pub(super) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        tokio::select! {
            ended = work => ended,
            () = self.stopped() => {
                let why = "the server is being stopped; what is verified by then is kept";
                Err(Refusal::new(Reason::Unavailable, why))
            }
        }
    }

    /// Refuses for an error of the own log's store. A damaged row ends signing, whoever finds it.
    pub(super) fn failed(&self, error: &StoreError) -> Refusal {
        if let (StoreError::Damaged { .. }, Some(log)) = (error, self.log()) {
            tracing::error!(%error, "a stored row is damaged");
            log.stop_signing(error);
        }
        Refusal::from(error)
    }
}
