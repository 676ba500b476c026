//! `POST /hooks/mirror/<name>`: whoever publishes a log, or a scheduler, says that there is something new.
//!
//! The request is signed under the secret of that log, in any form that code hosts send (`signature`): as GitHub, Gitea
//! and Forgejo do, with HMAC-SHA256 of the body,
//!
//! ```text
//! POST /hooks/mirror/sum.corp.example
//! X-Hub-Signature-256: sha256=<64 hexadecimal digits>
//! ```
//!
//! or as GitLab does.
//!
//! | answer | when |
//! |---|---|
//! | 202 | the signature is right: the newest head is asked for, within a second |
//! | 401 | anything is wrong with signature or name: the same words and the same work for a name that does not exist |
//! | 408, 413, 429 | the body came too slowly, is too large, or this client asks too often |
//!
//! The body is not read for anything but its signature, so nothing of it is kept in memory. A request that is sent again is
//! as good as the first: it can do nothing but have a head asked for, and several at once are one.

mod signature;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request};
use hyper::body::Incoming;

use self::signature::{SignatureCheck, SignatureVerdict, TOLERANCE_SECONDS};
use super::Client;
use super::answer::{self, Answer};
use super::body::{self, BodyError};
use crate::clock::Clock;
use crate::config::Secret;
use crate::mirror::Mirror;
use crate::share::Rates;

/// The path of a hook, before the name of the log.
pub const PATH: &str = "/hooks/mirror/";
/// GitHub sends what was pushed along, some tens of kilobytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to come.
pub const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Requests of one client in a minute: a log that grows each second is better polled.
pub const CLIENT_REQUESTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("it is not zero");
/// Requests of all clients in a minute.
const REQUESTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(6000).expect("it is not zero");
/// Bytes of the key that stands in for a secret.
const NOBODYS_KEY_BYTES: usize = 32;

/// The hooks of a server.
pub struct Hooks {
    by_name: BTreeMap<String, (Secret, Arc<Mirror>)>,
    /// Stands in for the secret of names that do not exist: they cost the same work.
    nobody: [u8; NOBODYS_KEY_BYTES],
    rates: Rates,
    clock: Clock,
}

impl Hooks {
    /// The hooks of these mirrors, each with its secret.
    pub fn new(hooks: impl IntoIterator<Item = (Secret, Arc<Mirror>)>, clock: &Clock) -> Hooks {
        let named =
            |(secret, mirror): (Secret, Arc<Mirror>)| (mirror.log.name().to_owned(), (secret, mirror));
        let mut nobody = [0; NOBODYS_KEY_BYTES];
        // Without randomness it is a key that signs nothing all the same: names that do not exist are refused in any case.
        let _ = getrandom::fill(&mut nobody);
        let rates = Rates::new(CLIENT_REQUESTS_PER_MINUTE, REQUESTS_PER_MINUTE, clock);
        Hooks { by_name: hooks.into_iter().map(named).collect(), nobody, rates, clock: clock.clone() }
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Answers a request for the hook of this name.
    pub async fn answer(&self, name: &str, client: Client, request: Request<Incoming>) -> Answer {
        if request.method() != Method::POST {
            return answer::post_only();
        }
        // Before anything is read, and whatever the name is.
        if let Err(exhausted) = self.rates.admit(client.claimant()) {
            return answer::too_often(exhausted.retry_after);
        }
        let hook = self.by_name.get(name);
        let secret = hook.map_or(&self.nobody[..], |(secret, _)| secret.expose());
        let (head, body) = request.into_parts();
        let mut check = SignatureCheck::new(&head.headers, secret);
        match body::feed(body, BODY_BYTES_MAX, BODY_PATIENCE, |piece| check.update(piece)).await {
            Ok(()) => {}
            Err(BodyError::Broken) => return answer::unsigned(),
            Err(error) => return answer::body_not_read(error),
        }
        match (hook, check.finish(self.clock.unix_time().seconds, &self.nobody)) {
            (Some((_, mirror)), SignatureVerdict::Right) => {
                mirror.want();
                answer::accepted()
            }
            (Some((_, mirror)), SignatureVerdict::Stale { seconds }) => {
                // Only who has the secret, or heard a request of its holder, comes here.
                tracing::warn!(
                    log = mirror.log.name(),
                    seconds,
                    "a hook was refused: its signature is right, but its time is more than {TOLERANCE_SECONDS} s from this \
                     machine's\n  fix: set the clocks of both machines; if they are right, somebody sent an old request again"
                );
                answer::unsigned()
            }
            (Some(_), SignatureVerdict::Wrong) | (None, _) => answer::unsigned(),
        }
    }
}
