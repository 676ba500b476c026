//! The way into the log and the mirrors: the running server, or, where none runs, this process
//! under the same lock.
//!
//! A command calls the same methods either way. Beside a server they go through its control socket;
//! without one the operations are called here. So there is one path, and what a command does, and
//! what it keeps as an incident, is the same with a server and without.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::engines::{ClosedLog, Engines, http_client, open_kept_mirrors, open_mirrors};
use super::exit::{Exit, OrExit, OrStoreExit};
use super::founding::{self, NewLog, NoKey};
use super::process::NOTARY_PATIENCE;
use crate::clock::Clock;
use crate::config::{Config, Environment, GoEnvironment};
use crate::http::control::{ControlClient, ControlError, ImportAnswers, figures};
use crate::log::{Log, ReadOnly, State};
use crate::mirror::{Mirrors, Reverified};
use crate::module::ModuleVersion;
use crate::notary::Notary;
use crate::operate::{
    ClaimedModule, CompareAnswer, DecisionAnswer, DecisionRequest, ExportAnswer, ImportAnswer, ImportEvent,
    LogStateAnswer, LookupAnswer, MirrorStatus, ModuleProofs, Operations, Reason, Refusal, ResumeAnswer,
    RunStatus, StatsAnswer, SyncAnswer, Tell,
};
use crate::store::lock::DirectoryLock;
use crate::store::private;

/// How long a server that has the lock may take until its socket is there: the rest of its start.
const SOCKET_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks.
const SOCKET_POLL: Duration = Duration::from_millis(50);
/// Events of an import that may wait for the command.
const QUEUE_EVENTS: usize = 64;

/// What of the configuration a command needs if it has to open the log itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Routes, to find out what to append.
    Routes,
    /// Only the log: nobody is asked for anything.
    Log,
}

/// Whoever has the log or its mirrors open.
pub(super) enum Session {
    /// The running server.
    Server(ControlClient),
    /// This process.
    Here(Here),
}

/// What this process has opened.
pub(super) struct Here {
    operations: Operations,
    /// The log and the notary, which are closed at the end; none where only mirrors are open.
    own: Option<(Log, Notary)>,
}

/// The server, or what nobody else has.
enum Taken<T> {
    There(Session),
    Here(T),
}

/// What a session came to, or why it refused.
type Answered<T> = anyhow::Result<Result<T, Refusal>>;

impl Session {
    /// Connects to the running server, if there is one.
    pub(super) async fn running(config: &Config) -> anyhow::Result<Option<Session>> {
        Ok(ControlClient::connect(&config.data).await?.map(Session::Server))
    }

    /// Connects to the running server, or opens the log. Exit code 5 if somebody has it and does
    /// not answer.
    pub(super) async fn open(config: &Config, needs: Needs) -> anyhow::Result<Session> {
        Session::open_or_found(config, needs, NewLog::default()).await
    }

    /// The same for a command that may make the log of a key that has none.
    pub(super) async fn open_or_found(
        config: &Config,
        needs: Needs,
        new_log: NewLog,
    ) -> anyhow::Result<Session> {
        let open = async || Here::open(config.clone(), needs, new_log).await;
        Ok(match Session::running_or(config, open).await? {
            Taken::There(session) => session,
            Taken::Here(here) => Session::Here(here),
        })
    }

    /// Connects to the running server, or opens the mirrors alone, only the one that is named if
    /// one is. That needs no key and no log, and the log stays as it is but for its incidents. Exit
    /// code 5 as above.
    pub(super) async fn open_mirrors(config: &Config, only: Option<&String>) -> anyhow::Result<Session> {
        Ok(match Session::running_or(config, async || Here::lock(config)).await? {
            Taken::There(session) => session,
            Taken::Here(lock) => Session::Here(Here::open_mirrors(config, only, lock)?),
        })
    }

    /// Connects to the running server, or takes the log's directory, to keep what a person has
    /// decided about incidents. Exit code 5 as above.
    pub(super) async fn open_incidents(config: &Config) -> anyhow::Result<Session> {
        Ok(match Session::running_or(config, async || Here::lock(config)).await? {
            Taken::There(session) => session,
            Taken::Here(lock) => {
                let incidents = Arc::new(ClosedLog::new(config, lock));
                let operations = Operations::of_mirrors(Mirrors::default(), Some(incidents));
                Session::Here(Here { operations, own: None })
            }
        })
    }

    /// Connects to the running server, or looks at what is kept of the mirrors, which needs no
    /// lock.
    pub(super) async fn look_at_mirrors(config: &Config) -> anyhow::Result<Session> {
        if let Some(session) = Session::running(config).await? {
            return Ok(session);
        }
        let mirrors = open_kept_mirrors(config, &http_client(config, &Clock::system())?)?;
        Ok(Session::Here(Here { operations: Operations::of_mirrors(mirrors, None), own: None }))
    }

    /// Connects to the running server, or takes what nobody has. Whoever has it may be a server
    /// that is just starting.
    async fn running_or<T>(
        config: &Config,
        take: impl AsyncFnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Taken<T>> {
        if let Some(session) = Session::running(config).await? {
            return Ok(Taken::There(session));
        }
        match take().await {
            Err(error) if Exit::of(&error) == Exit::Running => {
                Session::wait_for_server(config).await?.map(Taken::There).ok_or(error)
            }
            taken => taken.map(Taken::Here),
        }
    }

    async fn wait_for_server(config: &Config) -> anyhow::Result<Option<Session>> {
        let appears = async {
            loop {
                match Session::running(config).await {
                    Ok(None) => sleep(SOCKET_POLL).await,
                    found => return found,
                }
            }
        };
        timeout(SOCKET_PATIENCE, appears).await.unwrap_or(Ok(None))
    }

    /// Looks a module version up in the log.
    pub(super) async fn lookup(&mut self, module: ModuleVersion) -> Answered<LookupAnswer> {
        Ok(match self {
            Session::Server(client) => client.lookup(module).await?,
            Session::Here(here) => here.operations.lookup(module),
        })
    }

    /// Brings a module version into the log by its route, unless it is there.
    pub(super) async fn notarize(&mut self, module: ModuleVersion) -> Answered<LookupAnswer> {
        Ok(match self {
            Session::Server(client) => client.notarize(module).await?,
            Session::Here(here) => here.operations.notarize(module).await,
        })
    }

    /// Proves a module version.
    pub(super) async fn prove(&mut self, module: ModuleVersion) -> Answered<ModuleProofs> {
        Ok(match self {
            Session::Server(client) => client.prove(module).await?,
            Session::Here(here) => here.operations.prove(module),
        })
    }

    /// Says why the running server's log signs nothing, if so. Without a server there is nobody to
    /// say so.
    pub(super) async fn log_state(&mut self) -> Answered<LogStateAnswer> {
        Ok(match self {
            Session::Server(client) => client.log_state().await?,
            Session::Here(here) => here.operations.log_state(),
        })
    }

    /// Keeps what a person has decided about an incident.
    pub(super) async fn decide_incident(&mut self, request: DecisionRequest) -> Answered<DecisionAnswer> {
        Ok(match self {
            Session::Server(client) => client.decide_incident(request).await?,
            Session::Here(here) => here.operations.decide_incident(request).await,
        })
    }

    /// Imports go.sum lines by their routes.
    pub(super) async fn import_go_sum(
        &mut self,
        importer: &str,
        claims: mpsc::Receiver<Result<ClaimedModule, String>>,
    ) -> anyhow::Result<Importing> {
        Ok(match self {
            Session::Server(client) => Importing::There(client.import_go_sum(importer, claims).await?),
            Session::Here(here) => {
                let (sender, events) = mpsc::channel(QUEUE_EVENTS);
                tokio::spawn(here.operations.clone().import_go_sum(importer.into(), claims, sender));
                Importing::Here(events)
            }
        })
    }

    /// Imports a record stream.
    pub(super) async fn import_records(
        &mut self,
        importer: &str,
        stream: mpsc::Receiver<Bytes>,
    ) -> anyhow::Result<Importing> {
        Ok(match self {
            Session::Server(client) => Importing::There(client.import_records(importer, stream).await?),
            Session::Here(here) => {
                let (sender, events) = mpsc::channel(QUEUE_EVENTS);
                tokio::spawn(here.operations.clone().import_records(importer.into(), stream, sender));
                Importing::Here(events)
            }
        })
    }

    /// Returns the state of each mirror.
    pub(super) async fn mirror_statuses(&mut self) -> anyhow::Result<Vec<MirrorStatus>> {
        match self {
            Session::Server(client) => client.mirror_statuses().await?.or_else(refused),
            Session::Here(here) => here.operations.mirror_statuses().or_store_exit(),
        }
    }

    /// Returns the mirrors' figures, in the text format of Prometheus.
    pub(super) async fn figures(&mut self) -> anyhow::Result<String> {
        match self {
            Session::Server(client) => client.figures().await?.or_else(refused),
            Session::Here(here) => Ok(figures(here.operations.mirrors(), Clock::system())),
        }
    }

    /// Brings a mirror up to date, and tells how far it is.
    pub(super) async fn sync_mirror(
        &mut self,
        log: &str,
        tell: impl FnMut(RunStatus),
    ) -> Answered<SyncAnswer> {
        Ok(match self {
            Session::Server(client) => client.sync_mirror(log, tell).await?,
            Session::Here(here) => here.operations.sync_mirror(log, tell).await,
        })
    }

    /// Ends the stop of a mirror.
    pub(super) async fn resume_mirror(&mut self, log: &str, incident: u64) -> Answered<ResumeAnswer> {
        Ok(match self {
            Session::Server(client) => client.resume_mirror(log, incident).await?,
            Session::Here(here) => here.operations.resume_mirror(log, incident).await,
        })
    }

    /// Writes a full mirror as static files. `to` is an absolute path.
    pub(super) async fn export_mirror(
        &mut self,
        log: &str,
        to: &Path,
        from: Option<u64>,
        tell: Tell,
    ) -> Answered<ExportAnswer> {
        Ok(match self {
            Session::Server(client) => client.export_mirror(log, to, from, tell).await?,
            Session::Here(here) => here.operations.export_mirror(log, to, from, tell).await,
        })
    }

    /// Takes static files into a full mirror. A path in `source` is absolute.
    pub(super) async fn import_mirror(
        &mut self,
        log: &str,
        source: &str,
        tell: Tell,
    ) -> Answered<ImportAnswer> {
        Ok(match self {
            Session::Server(client) => client.import_mirror(log, source, tell).await?,
            Session::Here(here) => here.operations.import_mirror(log, source, tell).await,
        })
    }

    /// Computes everything again that a full mirror has stored.
    pub(super) async fn verify_mirror(&mut self, log: &str, tell: Tell) -> Answered<Reverified> {
        Ok(match self {
            Session::Server(client) => client.verify_mirror(log, tell).await?,
            Session::Here(here) => here.operations.verify_mirror(log, tell).await,
        })
    }

    /// Counts what a full mirror has stored.
    pub(super) async fn mirror_stats(&mut self, log: &str, tell: Tell) -> Answered<StatsAnswer> {
        Ok(match self {
            Session::Server(client) => client.mirror_stats(log, tell).await?,
            Session::Here(here) => here.operations.mirror_stats(log, tell).await,
        })
    }

    /// Compares the own log with a full mirror.
    pub(super) async fn compare_mirror(
        &mut self,
        log: &str,
        modules: Option<String>,
        tell: Tell,
    ) -> Answered<CompareAnswer> {
        Ok(match self {
            Session::Server(client) => client.compare_mirror(log, modules, tell).await?,
            Session::Here(here) => here.operations.compare_mirror(log, modules, tell).await,
        })
    }

    /// Ends the session. A log that was opened by it is closed, and tidied.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        let Session::Here(Here { operations, own: Some((log, notary)) }) = self else { return Ok(()) };
        drop(operations);
        notary.stop(NOTARY_PATIENCE).await;
        tokio::task::spawn_blocking(move || log.close()).await?;
        Ok(())
    }
}

impl Here {
    async fn open(mut config: Config, needs: Needs, new_log: NewLog) -> anyhow::Result<Here> {
        let (signer, _) = founding::signing_key(&config, new_log, NoKey::Refuse)?;
        match needs {
            Needs::Routes => config.discover(&GoEnvironment::read(&Environment::of_process()))?,
            Needs::Log => {
                config.routes.clear();
                config.sumdbs.clear();
            }
        }
        let Engines { log, notary, mirrors, .. } = Engines::open(&config, signer)?;
        // A server shows a head that waits to its witnesses again and again, a command once.
        if matches!(&*log.state(), State::ReadOnly(ReadOnly::Unwitnessed { .. })) {
            let _ = log.append(Vec::new()).await;
        }
        let operations = Operations::of_log(log.clone(), notary.clone(), mirrors);
        Ok(Here { operations, own: Some((log, notary)) })
    }

    fn lock(config: &Config) -> anyhow::Result<DirectoryLock> {
        let data = &config.data;
        private::make_directory(data).with_context(|| format!("cannot make {}", data.display()))?;
        DirectoryLock::acquire(data).or_store_exit()
    }

    fn open_mirrors(config: &Config, only: Option<&String>, lock: DirectoryLock) -> anyhow::Result<Here> {
        let names =
            config.mirrored().map(|(name, _)| name).filter(|name| only.is_none_or(|only| only == *name));
        let mirrors = open_mirrors(config, names, &http_client(config, &Clock::system())?)?;
        let incidents = Arc::new(ClosedLog::new(config, lock));
        Ok(Here { operations: Operations::of_mirrors(mirrors, Some(incidents)), own: None })
    }
}

/// What an import tells.
pub(super) enum Importing {
    /// From the server.
    There(ImportAnswers),
    /// From this process.
    Here(mpsc::Receiver<ImportEvent>),
}

impl Importing {
    /// Waits for the next event. After the last one there is none.
    pub(super) async fn next(&mut self) -> anyhow::Result<ImportEvent> {
        Ok(match self {
            Importing::There(answers) => answers.next().await?,
            Importing::Here(events) => events.recv().await.ok_or(ControlError::Cut)?,
        })
    }
}

/// Ends the command with a refusal.
pub(super) fn refused<T>(Refusal { reason, why }: Refusal) -> anyhow::Result<T> {
    Err(anyhow!(why)).or_exit(exit_of(reason))
}

/// The exit code that a refusal stands for.
pub(super) fn exit_of(reason: Reason) -> Exit {
    match reason {
        Reason::NotFound | Reason::Failed => Exit::Failed,
        Reason::Unavailable => Exit::Unreachable,
        Reason::Alarming => Exit::Damage,
        Reason::Busy => Exit::Running,
        Reason::Usage => Exit::Usage,
    }
}
