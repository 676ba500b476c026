//! Who is asked, in which order, for how long. Each question is a flight: it goes on when the caller who asked first has
//! given up, for `patience` at most, and what it verified is kept.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;
use tokio::time::timeout_at;

use super::error::{Lie, RemoteError};
use super::flight::Seat;
use super::verify::Refusal;
use super::{Inner, Proven};
use crate::module::ModuleVersion;
use crate::share::{Claimant, Shed};
use crate::store::remote::SeenHead;
use crate::tlog::TreeSize;
use crate::upstream::{Inquiry, SumdbAnswer};

const LATEST: &str = "latest";
/// When all places for look-ups are taken, a caller may come back after this long.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

fn lookup_path(module: &ModuleVersion) -> String {
    format!("lookup/{}", module.escaped())
}

impl Inner {
    /// Joins the flight of a module version, or starts it, and waits until `deadline` at the latest.
    pub(super) async fn join_lookup(
        self: &Arc<Self>,
        module: &ModuleVersion,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Result<Proven, RemoteError> {
        let _want = client.map(|client| self.lookup_turns.want(module.clone(), client));
        let (inner, wanted) = (self.clone(), module.clone());
        let seat = self.lookups.join(module.clone(), || async move {
            let _place = inner.place().await?;
            inner.clone().fly(wanted).await
        });
        self.wait(seat, &lookup_path(module), deadline).await
    }

    /// A place among what is in flight. When all are taken, a look-up that nobody waits for is
    /// ended for it.
    pub(super) async fn place(&self) -> Result<SemaphorePermit<'_>, RemoteError> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        match self.lookup_turns.shed() {
            true => Ok(self.places.acquire().await.expect("the semaphore is never closed")),
            false => Err(self.busy()),
        }
    }

    fn busy(&self) -> RemoteError {
        let text = format!("checksum database {}: too many requests at once", self.name);
        RemoteError::Unavailable { text, retry_after: Some(BUSY_PAUSE) }
    }

    /// Puts a look-up to the next URL when it is its turn, and to all of them anew when its place
    /// was needed for another client.
    async fn ask_in_turn(
        &self,
        module: &ModuleVersion,
        inquiry: &mut Inquiry,
        lies: &mut Vec<Lie>,
        deadline: Instant,
    ) -> Result<SumdbAnswer, RemoteError> {
        let path = lookup_path(module);
        loop {
            let mut turn = self.lookup_turns.turn(module.clone(), self.lookup_line);
            turn.granted().await.map_err(|Shed| self.busy())?;
            tokio::select! {
                biased;
                answer = self.ask(inquiry, &path, lies) => return answer,
                ended = turn.ended() => ended.map_err(|Shed| self.busy())?,
            }
            *inquiry = self.transport.lookup(module, deadline);
        }
    }

    async fn wait<T: Clone>(
        &self,
        seat: Seat<Result<T, RemoteError>>,
        path: &str,
        deadline: Instant,
    ) -> Result<T, RemoteError> {
        let answer = timeout_at(deadline.into(), seat.answer()).await.ok().flatten();
        answer.unwrap_or_else(|| Err(self.too_late(path)))
    }

    /// The flight of one look-up.
    async fn fly(self: Arc<Self>, module: ModuleVersion) -> Result<Proven, RemoteError> {
        // The flight before may have brought it between the caller's look and this one.
        if let Some(proven) = self.find(&module)? {
            return Ok(proven);
        }
        let (path, deadline) = (lookup_path(&module), self.clock.instant() + self.patience);
        self.hold_to_full(deadline).await?;
        let has_head = || self.newest.load().is_some();
        if !has_head() {
            match self.advance_unless(has_head, deadline).await {
                // Some passthroughs serve only what the go command asks for. The look-up has a signed head of its own.
                Ok(()) | Err(RemoteError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let work = async {
            let mut inquiry = self.transport.lookup(&module, deadline);
            let mut lies = Vec::new();
            loop {
                let answer = self.ask_in_turn(&module, &mut inquiry, &mut lies, deadline).await?;
                match self.accept(&module, &answer.body, &path, deadline).await {
                    Ok(proven) => return Ok(proven),
                    Err(Refusal::Bad(why)) => self.refuse(answer, why, &mut lies),
                    Err(Refusal::Fatal(error)) => return Err(error.after(lies)),
                }
            }
        };
        timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(self.too_late(&path)))
    }

    /// Asks for `/latest`, one flight at a time, and moves to it.
    pub(super) async fn advance(self: &Arc<Self>, deadline: Instant) -> Result<(), RemoteError> {
        self.advance_unless(|| false, deadline).await
    }

    /// [`advance`](Inner::advance), which joins a flight under way and starts one only if there is not `enough` yet.
    async fn advance_unless(
        self: &Arc<Self>,
        enough: impl FnOnce() -> bool,
        deadline: Instant,
    ) -> Result<(), RemoteError> {
        let inner = self.clone();
        let work = || async move {
            let result = inner.fly_to_latest().await;
            *inner.advanced_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(inner.clock.instant());
            inner.note_attempt(&result).await;
            result.map(drop)
        };
        match self.advances.join_unless((), || enough().then_some(()), work) {
            Ok(seat) => self.wait(seat, LATEST, deadline).await,
            Err(()) => Ok(()),
        }
    }

    /// The flight of an advance. Returns the size of the tree that was shown as the newest.
    async fn fly_to_latest(&self) -> Result<TreeSize, RemoteError> {
        let deadline = self.clock.instant() + self.patience;
        self.hold_to_full(deadline).await?;
        let work = async {
            let mut inquiry = self.transport.latest(deadline);
            let mut lies = Vec::new();
            loop {
                let answer = self.ask(&mut inquiry, LATEST, &mut lies).await?;
                match self.accept_head(&answer.body, deadline).await {
                    Ok(size) => return Ok(size),
                    Err(Refusal::Bad(why)) => self.refuse(answer, why, &mut lies),
                    Err(Refusal::Fatal(error)) => return Err(error.after(lies)),
                }
            }
        };
        timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(self.too_late(LATEST)))
    }

    async fn hold_to_full(&self, deadline: Instant) -> Result<(), RemoteError> {
        match self.kept.full_head() {
            Some(head) => self.hold_to(&head, deadline).await,
            None => Ok(()),
        }
    }

    /// Compares a full mirror's head with the others, unless it is one of them: one of the two databases may come from a backup,
    /// or was made anew, and a fork must not pass for that.
    pub(super) async fn hold_to(&self, head: &SeenHead, deadline: Instant) -> Result<(), RemoteError> {
        if self.store.head(head.tree.size)?.is_some_and(|known| known.tree == head.tree) {
            return Ok(());
        }
        match self.reconcile(head.clone(), None, LATEST, deadline).await {
            Ok(_) => Ok(()),
            Err(Refusal::Fatal(error)) => Err(error),
            Err(Refusal::Bad(text)) => Err(RemoteError::Unavailable { text, retry_after: None }),
        }
    }

    /// Moves to a head that was shown as the newest. An older one is compared all the same: it may be of another tree.
    async fn accept_head(&self, message: &[u8], deadline: Instant) -> Result<TreeSize, Refusal> {
        let head = self.open_head(message)?;
        let (size, shown) = (head.tree.size, self.shown_size());
        let reconciled = self.reconcile(head, None, LATEST, deadline).await;
        if size >= shown {
            return reconciled.map(|_| size);
        }
        let older = format!("an older head of {size} records, after one of {shown}");
        Err(match reconciled {
            Ok(_) => Refusal::Bad(older),
            // A source that went back as a whole does not have the tiles of the larger tree. Another may.
            Err(Refusal::Fatal(error @ (RemoteError::Unavailable { .. } | RemoteError::Unproven(_)))) => {
                Refusal::Bad(format!("{older}, and they cannot be compared: {error}"))
            }
            Err(refusal) => refusal,
        })
    }

    pub(super) async fn ask(
        &self,
        inquiry: &mut Inquiry,
        path: &str,
        lies: &mut Vec<Lie>,
    ) -> Result<SumdbAnswer, RemoteError> {
        let answer = inquiry.next().await;
        answer.map_err(|error| RemoteError::unanswered(&error, path, std::mem::take(lies)))
    }

    pub(super) fn refuse(&self, answer: SumdbAnswer, why: String, lies: &mut Vec<Lie>) {
        tracing::warn!(url = %answer.url, why, "a URL of a remote log sent what is not taken");
        self.transport.mark_bad(answer.from, &why);
        lies.push(Lie { url: answer.url, why });
    }
}
