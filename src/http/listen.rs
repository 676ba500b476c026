//! The accept loop: connections in, answers out, and no client can hold more than its share.
//!
//! A [`Door`] is one listener with what stands behind it. It speaks HTTP/1.1 and HTTP/2, in the clear or over
//! TLS, on a socket that is given to it, until the shutdown future that is given to it is ready.
//!
//! What bounds a client ([`ListenLimits`]): connections in all; the time of a TLS handshake, of a request's head,
//! of doing nothing; the bytes and number of its headers; streams and resets of HTTP/2. Bodies are read only where
//! an endpoint takes one; else hyper closes a connection whose client insists on sending it.
//!
//! Each connection takes a slot, and the slots are shared among client networks ([`Slots`]): one client alone may
//! take all of them. A newcomer that holds fewer than its share gets in at once, at the cost of the client that
//! holds most, which loses a connection that rests, else the one that has worked longest. That connection
//! finishes what it can, answers 503 to requests that wait, and is closed within [`EVICTION_GRACE`]. Others wait
//! here, bounded, until a slot is free: not in the kernel's queue, where a newcomer could not be told from them.
//!
//! Shutdown: the listener closes first, then every connection finishes what it is answering and is closed; what
//! is not done after [`ListenLimits::drain`] is cut, and counted in the returned [`Closed`].

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::http::{Request, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::activity::{Activity, Disposition, Patience, Watchdog, Watched};
use super::answer::{self, Answer};
use super::listener::Listeners;
use super::metrics::Traffic;
use super::proxies::TrustedProxies;
use super::tls::TlsKeeper;
use crate::share::eviction::Eviction;
use crate::share::{Claimant, SlotHolder, SlotId, Slots};

/// What stands behind a [`Door`].
pub trait Site: Send + Sync + 'static {
    /// Answers one request of the client at `peer`. Must end by itself (deadlines are the site's): a
    /// connection with a request under way is never idle.
    fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Answer> + Send;
}

/// The address at the other end of the connection, in the extensions of requests to an axum router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

impl Site for axum::Router {
    async fn answer(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Answer {
        request.extensions_mut().insert(PeerAddress(peer));
        match tower::ServiceExt::oneshot(self.clone(), request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

/// What a client may take. Each default says why.
#[derive(Clone, Debug)]
pub struct ListenLimits {
    /// Connections that are served at one time. 8192 with a descriptor each stay below the usual hard limit of
    /// descriptors, and cost some 100 MB at worst (buffers). Half as many again may wait for a slot.
    pub connections: usize,
    /// Later values of `connections`, which a reload of the configuration sends.
    pub resized: Option<watch::Receiver<usize>>,
    /// A TLS handshake: ten seconds are several round trips of a bad line.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its head: it fits in one packet.
    pub head: Duration,
    /// Between two requests. Longer than the 60 s that most load balancers keep idle connections, so that it
    /// is they who close first and no request meets a closing connection.
    pub idle: Duration,
    /// How long a shutdown waits for requests under way: longer than the deadline of a look-up.
    pub drain: Duration,
    /// Bytes of a request's head, all headers and the URL together. HTTP/1 with more is answered 431.
    pub head_bytes: usize,
    /// Streams of one HTTP/2 connection that may be open at once. The `go` command opens GOMAXPROCS.
    pub http2_streams: u32,
    /// Streams that a client has reset and that were not accepted yet, before its connection is ended (rapid reset).
    pub http2_pending_resets: usize,
    /// Streams that we had to reset for a client's error, before its connection is ended.
    pub http2_error_resets: usize,
}

impl Default for ListenLimits {
    fn default() -> Self {
        ListenLimits {
            connections: 8192,
            resized: None,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(30),
            head_bytes: 16 << 10,
            http2_streams: 128,
            http2_pending_resets: 20,
            http2_error_resets: 256,
        }
    }
}

/// The bytes of an answer that wait in an HTTP/2 stream's buffer: one data tile.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 << 10;
/// The bytes that an HTTP/2 client may send before anybody reads them, for a stream and for its connection: a body
/// that nobody wants is kept in memory up to here. hyper's default is a megabyte.
const HTTP2_WINDOW_BYTES: u32 = 64 << 10;
/// How long an evicted connection may take to send what it has still to say.
pub const EVICTION_GRACE: Duration = Duration::from_millis(250);
/// When a client whose request was evicted should come back.
const EVICTED_RETRY: Duration = Duration::from_secs(5);
/// The pause after a failed accept, as when descriptors run out: long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The watchdog looks at a connection this often, or four times within the shortest limit if that is more often.
const TICK_MAX: Duration = Duration::from_secs(1);
const TICK_MIN: Duration = Duration::from_millis(5);

impl ListenLimits {
    /// The same with no more connections than this many descriptors allow: each connection takes one, also while
    /// it waits for a slot or is being evicted, and the rest of the program needs some.
    pub fn within(mut self, descriptors: Option<u64>) -> ListenLimits {
        let most = descriptors.and_then(|most| usize::try_from(most / 2).ok()).unwrap_or(usize::MAX);
        self.connections = self.connections.min(most).max(1);
        self
    }

    /// Connections that may wait for a slot.
    fn waiting_max(&self) -> usize {
        (self.connections / 2).max(16)
    }

    /// Evicted connections that may take [`EVICTION_GRACE`]; beyond it they are cut at once.
    fn evicted_max(&self) -> usize {
        (self.connections / 8).max(16)
    }

    fn tick(&self) -> Duration {
        (self.head.min(self.idle) / 4).clamp(TICK_MIN, TICK_MAX)
    }

    fn patience(&self) -> Patience {
        let ticks = |limit: Duration| {
            limit.as_nanos().div_ceil(self.tick().as_nanos()).clamp(1, u32::MAX.into()) as u32
        };
        Patience { head_ticks: ticks(self.head), idle_ticks: ticks(self.idle) }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // The watchdog times heads (activity.rs); hyper's own timer is off. Its limit of 100 headers stays: up to
        // that number they are parsed on the stack. Its pipeline_flush must stay off: with it, answers to a client that
        // sends requests without end are queued without end and never sent.
        builder.http1().header_read_timeout(None).max_buf_size(self.head_bytes.max(8 << 10));
        builder
            .http2()
            .max_concurrent_streams(self.http2_streams)
            .max_pending_accept_reset_streams(self.http2_pending_resets)
            .max_local_error_reset_streams(self.http2_error_resets)
            .max_header_list_size(u32::try_from(self.head_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            // No pings: the watchdog ends a connection that neither asks nor takes anything.
            .keep_alive_interval(None);
        builder
    }
}

/// Raises the process's soft limit of descriptors to its hard limit, as the soft one is often 1024 for the sake of
/// programs that use select(2), and returns it. `None`: there is no limit, or it could not be raised.
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum?;
    setrlimit(Resource::Nofile, Rlimit { current: Some(maximum), maximum: Some(maximum) }).ok()?;
    Some(maximum)
}

/// One listener and what stands behind it.
pub struct Door<S> {
    /// What answers.
    pub site: Arc<S>,
    /// The certificate, if connections are TLS.
    pub tls: Option<Arc<TlsKeeper>>,
    /// What a client may take.
    pub limits: ListenLimits,
    /// Peers that speak for many clients: their connections have no share of their own.
    pub proxies: TrustedProxies,
    /// Where connections and bytes are counted.
    pub traffic: Traffic,
}

/// How a door was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Connections that were cut because they had not finished in time.
    pub cut: usize,
}

/// Told to every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Draining,
    Over,
}

/// What all connections of a door share.
struct Shared<S> {
    site: Arc<S>,
    tls: Option<Arc<TlsKeeper>>,
    builder: auto::Builder<TokioExecutor>,
    handshake: Duration,
    tick: Duration,
    patience: Patience,
    proxies: TrustedProxies,
    slots: Mutex<Slots<Arc<Served>>>,
    /// Evicted connections that have not ended yet, and how many of them there may be.
    leaving: AtomicUsize,
    leaving_max: usize,
    /// Connections that wait for a slot. Written by the accept loop only.
    waiting: AtomicUsize,
    /// A slot became free, or rests, while connections wait.
    room: Notify,
    /// The last attempt to accept failed.
    starved: AtomicBool,
    traffic: Traffic,
}

/// A connection that has a slot.
#[derive(Default)]
struct Served {
    activity: Arc<Activity>,
    eviction: Eviction,
    /// Evicted without a grace.
    is_cut: AtomicBool,
}

impl Served {
    /// Answers a request, or says that it must make room: only requests that wait are evicted, since an answer
    /// that is at hand is ready at the first look.
    async fn answer<S: Site>(&self, site: &S, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let has_body = !request.body().is_end_stream();
        let _ongoing = self.activity.begin(request.version() == Version::HTTP_2, has_body);
        tokio::select! {
            biased;
            answer = answer_or_500(site, request, peer) => answer,
            () = self.eviction.told() => answer::try_later(
                "this client holds more connections than its share while others wait\nTry again in a few seconds, \
                 with fewer connections at once.",
                EVICTED_RETRY,
            ),
        }
    }
}

impl<S: Site> Door<S> {
    /// Serves connections of `listeners` until `shutdown` is ready, then until they are done or
    /// [`ListenLimits::drain`] is over. Never fails: a listener that cannot accept is tried again.
    pub async fn serve(self, listeners: impl Into<Listeners>, shutdown: impl Future<Output = ()>) -> Closed {
        let (limits, listeners) = (self.limits, listeners.into());
        let shared = Arc::new(Shared {
            site: self.site,
            tls: self.tls,
            builder: limits.builder(),
            handshake: limits.handshake,
            tick: limits.tick(),
            patience: limits.patience(),
            proxies: self.proxies,
            slots: Mutex::new(Slots::new(limits.connections)),
            leaving: AtomicUsize::new(0),
            leaving_max: limits.evicted_max(),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            starved: AtomicBool::new(false),
            traffic: self.traffic,
        });
        let (phase, _) = watch::channel(Phase::Open);
        let mut waiting = Waiting { by_holder: BTreeMap::new(), max: limits.waiting_max() };
        let (mut shutdown, mut resized) = (pin!(shutdown), limits.resized.clone());
        loop {
            tokio::select! {
                (stream, peer) = accept(&listeners, &shared) => {
                    shared.traffic.accepted.inc();
                    // Counted first: a slot that becomes free from now on is offered to it.
                    shared.waiting.fetch_add(1, SeqCst);
                    match shared.begin(stream, peer, &phase) {
                        Some(newcomer) => waiting.push(&shared, newcomer),
                        None => drop(shared.waiting.fetch_sub(1, SeqCst)),
                    }
                }
                connections = next_size(&mut resized) => {
                    shared.slots().resize(connections);
                    waiting.begin_all(&shared, &phase);
                }
                () = shared.room.notified() => waiting.begin_all(&shared, &phase),
                () = shutdown.as_mut() => break,
            }
        }
        drop((listeners, waiting));
        phase.send_replace(Phase::Draining);
        if timeout(limits.drain, phase.closed()).await.is_ok() {
            return Closed { cut: 0 };
        }
        let cut = phase.receiver_count();
        phase.send_replace(Phase::Over);
        phase.closed().await;
        Closed { cut }
    }
}

/// Waits until there are to be more or fewer connections.
async fn next_size(resized: &mut Option<watch::Receiver<usize>>) -> usize {
    if let Some(sizes) = resized
        && sizes.changed().await.is_ok()
    {
        return *sizes.borrow_and_update();
    }
    std::future::pending().await
}

/// A connection that was accepted and has no slot yet.
struct Newcomer {
    stream: TcpStream,
    peer: SocketAddr,
    holder: SlotHolder,
}

/// Connections that wait for a slot, in the order in which they came.
struct Waiting {
    by_holder: BTreeMap<SlotHolder, VecDeque<Newcomer>>,
    max: usize,
}

impl Waiting {
    /// Has a connection wait. When too many wait it is closed: its client has its share and is served with that.
    fn push<S>(&mut self, shared: &Shared<S>, newcomer: Newcomer) {
        if shared.waiting.load(SeqCst) > self.max {
            shared.waiting.fetch_sub(1, SeqCst);
            shared.traffic.refused.inc();
            return;
        }
        self.by_holder.entry(newcomer.holder).or_default().push_back(newcomer);
    }

    /// Begins as many as there is room for.
    fn begin_all<S: Site>(&mut self, shared: &Arc<Shared<S>>, phase: &watch::Sender<Phase>) {
        self.by_holder.retain(|_, queue| {
            while let Some(Newcomer { stream, peer, .. }) = queue.pop_front() {
                if let Some(newcomer) = shared.begin(stream, peer, phase) {
                    queue.push_front(newcomer);
                    return true;
                }
                shared.waiting.fetch_sub(1, SeqCst);
            }
            false
        });
    }
}

/// Waits for a connection. Errors of one connection (it was reset while it waited) are nothing; others, as when
/// descriptors run out, are logged once and tried again after a pause.
async fn accept<S>(listeners: &Listeners, shared: &Shared<S>) -> (TcpStream, SocketAddr) {
    loop {
        match listeners.accept().await {
            Ok(accepted) => {
                shared.starved.store(false, Relaxed);
                return accepted;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !shared.starved.swap(true, Relaxed) {
                    tracing::warn!(%error, "cannot accept connections; trying again every {ACCEPT_PAUSE:?}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A slot of a connection; it is free when this is dropped.
struct Slot<S> {
    shared: Arc<Shared<S>>,
    id: SlotId,
    served: Arc<Served>,
}

impl<S> Drop for Slot<S> {
    fn drop(&mut self) {
        if self.shared.slots().leave(self.id).is_none() {
            self.shared.leaving.fetch_sub(1, SeqCst);
        } else {
            self.shared.offer_room();
        }
    }
}

impl<S> Shared<S> {
    /// Wakes the accept loop if connections wait for a slot.
    fn offer_room(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.room.notify_one();
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots<Arc<Served>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot for a connection, at the cost of another client if need be. `None`: there is none now.
    fn take_slot(self: &Arc<Self>, holder: SlotHolder) -> Option<Slot<S>> {
        let served = Arc::new(Served::default());
        let is_resting = |served: &Arc<Served>| !served.activity.is_busy();
        let arrival = self.slots().arrive(holder, || Arc::clone(&served), is_resting)?;
        if let Some(evicted) = arrival.evicted {
            self.traffic.evicted.inc();
            if self.leaving.fetch_add(1, SeqCst) >= self.leaving_max {
                evicted.is_cut.store(true, SeqCst);
            }
            evicted.eviction.tell();
        }
        Some(Slot { shared: Arc::clone(self), id: arrival.slot, served })
    }
}

impl<S: Site> Shared<S> {
    /// Begins to serve a connection if there is a slot for it, else returns it.
    fn begin(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        phase: &watch::Sender<Phase>,
    ) -> Option<Newcomer> {
        let address = peer.ip();
        let holder = if self.proxies.trusts(address.to_canonical()) {
            SlotHolder::Exempt
        } else {
            SlotHolder::Client(Claimant::at(address))
        };
        let Some(slot) = self.take_slot(holder) else { return Some(Newcomer { stream, peer, holder }) };
        tokio::spawn(Arc::clone(self).connection(stream, peer, slot, phase.subscribe()));
        None
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        slot: Slot<S>,
        mut phase: watch::Receiver<Phase>,
    ) {
        let _open = self.traffic.opened();
        // Answers are written whole: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.drive(stream, peer, &slot, phase).await;
        };
        let handshake = timeout(self.handshake, tls.acceptor().accept(stream));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            () = slot.served.eviction.told() => return,
            _ = phase.wait_for(|phase| *phase != Phase::Open) => return,
        };
        match accepted {
            Ok(Ok(stream)) => self.drive(stream, peer, &slot, phase).await,
            Ok(Err(error)) => {
                self.traffic.handshakes_failed.inc();
                tracing::debug!(%peer, %error, "TLS handshake failed");
            }
            Err(_) => {
                self.traffic.handshakes_failed.inc();
                tracing::debug!(%peer, "TLS handshake took too long");
            }
        }
    }

    /// Serves one connection to its end.
    async fn drive<IO>(&self, stream: IO, peer: SocketAddr, slot: &Slot<S>, mut phase: watch::Receiver<Phase>)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (served, activity) = (&slot.served, &slot.served.activity);
        let context = Arc::new((Arc::clone(&self.site), Arc::clone(served)));
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let context = Arc::clone(&context);
            async move { Ok::<_, Infallible>(context.1.answer(&*context.0, request, peer).await) }
        });
        let stream = TokioIo::new(Watched::new(stream, Arc::clone(activity)));
        let mut connection = pin!(self.builder.serve_connection(stream, service));
        let mut ticks = interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut evicted = pin!(served.eviction.told());
        let mut grace_is_over = pin!(async {
            served.eviction.told().await;
            sleep(EVICTION_GRACE).await;
        });
        let (mut watchdog, mut counted) = (Watchdog::new(), (0, 0));
        let (mut is_resting, mut is_leaving) = (false, false);
        loop {
            tokio::select! {
                biased;
                _ = connection.as_mut() => break,
                () = evicted.as_mut(), if !is_leaving => {
                    if served.is_cut.load(SeqCst) {
                        break;
                    }
                    is_leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = grace_is_over.as_mut(), if is_leaving => break,
                changed = phase.changed() => match changed.map(|()| *phase.borrow_and_update()) {
                    Ok(Phase::Open) => {}
                    Ok(Phase::Draining) => connection.as_mut().graceful_shutdown(),
                    Ok(Phase::Over) | Err(_) => break,
                },
                _ = ticks.tick() => {
                    counted = self.traffic.count_bytes(counted, activity.bytes());
                    let verdict = watchdog.tick(activity, self.patience_now());
                    if watchdog.rests() != is_resting {
                        is_resting = !is_resting;
                        self.slots().mark_resting(slot.id, is_resting);
                        self.offer_room();
                    }
                    match verdict {
                        Disposition::Keep => {}
                        Disposition::Finish => connection.as_mut().graceful_shutdown(),
                        Disposition::Cut => {
                            self.traffic.cut.inc();
                            break;
                        }
                    }
                }
            }
        }
        self.traffic.count_bytes(counted, activity.bytes());
    }

    /// With every descriptor taken, those who rest must make room.
    fn patience_now(&self) -> Patience {
        if self.starved.load(Relaxed) { Patience { idle_ticks: 1, ..self.patience } } else { self.patience }
    }
}

/// A panic in a handler is a fault of ours: this request gets a 500, and everyone else goes on.
async fn answer_or_500<S: Site>(site: &S, request: Request<Incoming>, peer: SocketAddr) -> Answer {
    let mut future = pin!(site.answer(request, peer));
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled,
        Err(_) => {
            tracing::error!("a request handler panicked");
            std::task::Poll::Ready(answer::internal(
                "internal error: this request failed in the server; see its log",
            ))
        }
    })
    .await
}
