//! What a connection is doing, so that idle, slow and stuck ones can be told apart and ended.
//!
//! hyper can arm a timer for each request head, which costs an allocation and a timer per request, and
//! cannot tell a client that sends its head slowly from one that rests between two requests. Here the
//! stream and the service count what happens (relaxed additions on the connection's own cache line), and
//! a [`Watchdog`] looks at the counts once per tick:
//!
//! | since the last tick | verdict |
//! |---|---|
//! | a request is being answered, one began, or bytes went out | keep |
//! | nothing, and part of a request head has arrived, for [`Patience::head_ticks`] | cut |
//! | nothing at all, for [`Patience::idle_ticks`] | finish: HTTP/2 is told GOAWAY |
//! | told to finish, and still nothing for [`Patience::head_ticks`] | cut |
//!
//! HTTP/2 clients send frames that are no requests, so for them bytes that arrive are no head.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts of one connection. Written by its stream and its requests, read by its [`Watchdog`].
#[derive(Debug, Default)]
pub(super) struct Activity {
    requests: AtomicU64,
    in_flight: AtomicU32,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    /// `received_bytes` when the last request began: what came later belongs to the next head.
    received_at_request: AtomicU64,
    http2: AtomicBool,
    /// A request has a body, which is not read.
    body_unread: AtomicBool,
}

impl Activity {
    /// Notes that a request begins; it ends when the returned mark is dropped, also by a reset stream.
    pub(super) fn begin(&self, http2: bool, has_body: bool) -> Ongoing<'_> {
        if http2 {
            self.http2.store(true, Relaxed);
        }
        if has_body {
            self.body_unread.store(true, Relaxed);
        }
        self.received_at_request.store(self.received_bytes.load(Relaxed), Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        Ongoing(self)
    }

    /// Whether a request is being answered now.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    /// Whether bytes have come that are no request (yet).
    fn has_partial_head(&self) -> bool {
        !self.http2.load(Relaxed)
            && self.received_bytes.load(Relaxed) != self.received_at_request.load(Relaxed)
    }

    /// Bytes received and sent since the connection began.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.received_bytes.load(Relaxed), self.sent_bytes.load(Relaxed))
    }
}

/// A request that is being answered.
pub(super) struct Ongoing<'a>(&'a Activity);

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// What is read and thrown away after the last answer on a connection, at most. See [`Watched::poll_shutdown`].
const LINGER_BYTES_MAX: usize = 256 << 10;

/// A stream that counts the bytes through it.
pub(super) struct Watched<IO> {
    stream: IO,
    activity: Arc<Activity>,
    linger_bytes: usize,
}

impl<IO> Watched<IO> {
    pub(super) fn new(stream: IO, activity: Arc<Activity>) -> Self {
        Watched { stream, activity, linger_bytes: LINGER_BYTES_MAX }
    }

    fn count_sent(&self, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = sent {
            self.activity.sent_bytes.fetch_add(bytes as u64, Relaxed);
        }
        sent
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let received = (buf.filled().len() - before) as u64;
        if received > 0 {
            self.activity.received_bytes.fetch_add(received, Relaxed);
        }
        polled
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count_sent(sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count_sent(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes our side. A socket that is closed while bytes wait in it is reset, and the reset overtakes the answer: a client that
    /// sent a body or too long a head would never read why it was refused. So what it still sends is read, within bounds.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if !self.activity.body_unread.load(Relaxed) && !self.activity.has_partial_head() {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [MaybeUninit::uninit(); 4096];
        while self.linger_bytes > 0 {
            let mut buf = ReadBuf::uninit(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            self.linger_bytes = self.linger_bytes.saturating_sub(buf.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

/// How long a connection may do nothing, in ticks of the watchdog.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request to the end of its head.
    pub(super) head_ticks: u32,
    /// From the end of an answer, or the start of the connection, to the next request.
    pub(super) idle_ticks: u32,
}

/// What is to be done with a connection after a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    Keep,
    /// Let what is under way finish, take nothing new.
    Finish,
    /// End it now.
    Cut,
}

/// Judges one connection, tick by tick.
#[derive(Debug)]
pub(super) struct Watchdog {
    requests_seen: u64,
    sent_seen: u64,
    head_ticks: u32,
    idle_ticks: u32,
    finishing_ticks: Option<u32>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Watchdog { requests_seen: 0, sent_seen: 0, head_ticks: 0, idle_ticks: 0, finishing_ticks: None }
    }

    /// Whether nothing was answered and nothing was sent in the last tick. A head that comes slowly is rest as well: nobody
    /// here works for it.
    pub(super) fn rests(&self) -> bool {
        self.head_ticks + self.idle_ticks > 0
    }

    /// To be called once per tick, with the patience that the server can afford now.
    pub(super) fn tick(&mut self, activity: &Activity, patience: Patience) -> Disposition {
        let requests = activity.requests.load(Relaxed);
        let (_, sent) = activity.bytes();
        if activity.is_busy() || requests != self.requests_seen || sent != self.sent_seen {
            (self.requests_seen, self.sent_seen) = (requests, sent);
            (self.head_ticks, self.idle_ticks) = (0, 0);
            self.finishing_ticks = self.finishing_ticks.map(|_| 0);
            return Disposition::Keep;
        }
        if let Some(ticks) = &mut self.finishing_ticks {
            *ticks += 1;
            return if *ticks >= patience.head_ticks { Disposition::Cut } else { Disposition::Keep };
        }
        if activity.has_partial_head() {
            self.head_ticks += 1;
            return if self.head_ticks >= patience.head_ticks { Disposition::Cut } else { Disposition::Keep };
        }
        self.idle_ticks += 1;
        if self.idle_ticks >= patience.idle_ticks {
            self.finishing_ticks = Some(0);
            return Disposition::Finish;
        }
        Disposition::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head_ticks: 2, idle_ticks: 4 };

    fn verdicts(watchdog: &mut Watchdog, activity: &Activity, ticks: usize) -> Vec<Disposition> {
        (0..ticks).map(|_| watchdog.tick(activity, PATIENCE)).collect()
    }

    #[test]
    fn silence_finishes_then_cuts() {
        use Disposition::{Cut, Finish, Keep};
        let (activity, mut watchdog) = (Activity::default(), Watchdog::new());
        assert_eq!(verdicts(&mut watchdog, &activity, 6), [Keep, Keep, Keep, Finish, Keep, Cut]);
    }

    #[test]
    fn a_slow_head_is_cut_sooner_than_an_idle_connection_however_many_bytes_trickle_in() {
        let (activity, mut watchdog) = (Activity::default(), Watchdog::new());
        activity.received_bytes.fetch_add(1, Relaxed);
        assert_eq!(watchdog.tick(&activity, PATIENCE), Disposition::Keep);
        activity.received_bytes.fetch_add(1, Relaxed);
        assert_eq!(watchdog.tick(&activity, PATIENCE), Disposition::Cut);
    }

    #[test]
    fn rest_before_a_head_is_not_held_against_it() {
        let (activity, mut watchdog) = (Activity::default(), Watchdog::new());
        verdicts(&mut watchdog, &activity, 3);
        activity.received_bytes.fetch_add(1, Relaxed);
        assert_eq!(watchdog.tick(&activity, PATIENCE), Disposition::Keep);
    }

    #[test]
    fn work_and_progress_keep_a_connection() {
        let (activity, mut watchdog) = (Activity::default(), Watchdog::new());
        let ongoing = activity.begin(false, false);
        assert!(verdicts(&mut watchdog, &activity, 20).iter().all(|v| *v == Disposition::Keep));
        drop(ongoing);
        for _ in 0..20 {
            activity.sent_bytes.fetch_add(1, Relaxed);
            assert_eq!(watchdog.tick(&activity, PATIENCE), Disposition::Keep);
        }
        assert_eq!(verdicts(&mut watchdog, &activity, 4).last(), Some(&Disposition::Finish));
    }

    #[test]
    fn frames_of_http2_are_no_head() {
        let (activity, mut watchdog) = (Activity::default(), Watchdog::new());
        drop(activity.begin(true, false));
        watchdog.tick(&activity, PATIENCE);
        activity.received_bytes.fetch_add(17, Relaxed);
        assert_eq!(verdicts(&mut watchdog, &activity, 4).last(), Some(&Disposition::Finish));
    }
}
