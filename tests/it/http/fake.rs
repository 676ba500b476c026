//! A log that answers by module path, a server in front of it, and a client that sends any bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tallystick::clock::Clock;
use tallystick::http::hooks::Hooks;
use tallystick::http::listen::{Closed, Door, ListenLimits};
use tallystick::http::metrics::Metrics;
use tallystick::http::proxies::TrustedProxies;
use tallystick::http::site::{PublicSite, WaitingRoom};
use tallystick::http::sumdb::Registry;
use tallystick::http::tls::TlsKeeper;
use tallystick::http::{BoxFuture, ChecksumDatabase, Client, LatestHead, LookupRefusal, ReadError, api};
use tallystick::module::ModuleVersion;
use tallystick::share::Waiters;
use tallystick::tlog::{Tile, TileLevel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};

/// Nothing in these tests takes this long unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const NOTE: &str = "go.sum database tree\n1\nAAAA\n\n\u{2014} fake AAAA\n";
pub(super) const HIT: &str =
    "0\nexample.com/hit v1.0.0 h1:AA\nexample.com/hit v1.0.0/go.mod h1:BB\n\ngo.sum database tree\n";

/// More lines and bytes than `go` prints, with characters that make it print nothing.
pub(super) fn long_text() -> String {
    format!("\u{202e}\u{1b}[31mcafé \u{2014} \u{1F600} \u{ad}{}\n", "x".repeat(80)).repeat(30)
}

pub(super) struct FakeLog {
    name: String,
    head: Mutex<LatestHead>,
    /// Permits for look-ups of example.com/slow to go on.
    pub(super) gate: Semaphore,
    /// Look-ups of example.com/slow that wait at the gate.
    pub(super) waiting: watch::Sender<usize>,
    pub(super) most_waiting: AtomicUsize,
}

impl FakeLog {
    pub(super) fn new(name: &str) -> Arc<FakeLog> {
        Arc::new(FakeLog {
            name: name.to_owned(),
            head: Mutex::new(LatestHead::new(NOTE)),
            gate: Semaphore::new(0),
            waiting: watch::channel(0).0,
            most_waiting: AtomicUsize::new(0),
        })
    }

    pub(super) fn publish(&self, note: &'static str) {
        *self.head.lock().unwrap() = LatestHead::new(note);
    }

    pub(super) async fn until_waiting(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        let reached = waiting.wait_for(|now| *now >= count);
        tokio::time::timeout(PATIENCE, reached).await.expect("look-ups must reach the gate").unwrap();
    }

    async fn pass_the_gate(&self) {
        struct Leave<'a>(&'a FakeLog);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.waiting.send_modify(|now| *now -= 1);
            }
        }
        // The server polls once to see whether a place is needed; who is counted here has its place.
        tokio::task::yield_now().await;
        self.waiting.send_modify(|now| *now += 1);
        let _leave = Leave(self);
        self.most_waiting.fetch_max(*self.waiting.borrow(), SeqCst);
        self.gate.acquire().await.unwrap().forget();
    }
}

impl ChecksumDatabase for FakeLog {
    fn name(&self) -> &str {
        &self.name
    }

    fn latest(&self, _: &Client) -> Result<Option<LatestHead>, ReadError> {
        Ok(Some(self.head.lock().unwrap().clone()))
    }

    fn tile(&self, tile: &Tile, _: &Client) -> Result<Option<Bytes>, ReadError> {
        assert_eq!(tile.height, 8, "other heights must not get here");
        match (tile.level, tile.number) {
            (TileLevel::Hash(0), 0 | 1234) => Ok(Some(Bytes::from(vec![7; tile.width as usize * 32]))),
            (TileLevel::Data, 0) => Ok(Some(Bytes::from("a b h1:c\n\n".repeat(tile.width as usize)))),
            (TileLevel::Hash(1), 0) => Err(ReadError::Damaged { what: "SECRET DETAIL".to_owned() }),
            (TileLevel::Hash(1), 1) => Err(ReadError::Unavailable { why: "SECRET DETAIL".to_owned() }),
            _ => Ok(None),
        }
    }

    fn lookup(&self, module: &ModuleVersion, client: &Client) -> Result<Option<Bytes>, ReadError> {
        match module.to_string().as_str() {
            "example.com/hit@v1.0.0" => Ok(Some(Bytes::from_static(HIT.as_bytes()))),
            "github.com/BurntSushi/toml@v1.3.2-RC1" => Ok(Some(Bytes::from_static(b"unescaped"))),
            "example.com/whose@v1.0.0" => Ok(Some(Bytes::from(client.address.to_string()))),
            "example.com/damaged@v1.0.0" => Err(ReadError::Damaged { what: "SECRET DETAIL".to_owned() }),
            "example.com/away@v1.0.0" => Err(ReadError::Unavailable { why: "SECRET DETAIL".to_owned() }),
            "example.com/panic@v1.0.0" => panic!("a handler that panics, as the test wants it"),
            _ => Ok(None),
        }
    }

    fn fetch_lookup(
        &self,
        module: ModuleVersion,
        client: Client,
    ) -> BoxFuture<'_, Result<Bytes, LookupRefusal>> {
        Box::pin(async move {
            let text = format!("{module}: the first line\n\nand the remedy \u{7}\n");
            match module.path.as_str() {
                "example.com/new" => Ok(Bytes::from_static(b"1\nnew\n")),
                "example.com/whoami" => Ok(Bytes::from(client.address.to_string())),
                "example.com/slow" => {
                    self.pass_the_gate().await;
                    Ok(Bytes::from_static(b"2\nslow\n"))
                }
                "example.com/forbidden" => Err(LookupRefusal::Forbidden { text }),
                "example.com/long" => Err(LookupRefusal::Forbidden { text: long_text() }),
                "example.com/busy" => {
                    Err(LookupRefusal::TryLater { text, retry_after: Duration::from_millis(6500) })
                }
                "example.com/conflict" => Err(LookupRefusal::Conflict { text }),
                "example.com/broken" => Err(LookupRefusal::Internal { text }),
                "example.com/brief" => Err(LookupRefusal::NotFound { text, max_age: Duration::from_secs(5) }),
                _ => Err(LookupRefusal::NotFound { text, max_age: Duration::from_secs(3600) }),
            }
        })
    }
}

/// What to start; each part has a default that does not matter to the test.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) limits: ListenLimits,
    pub(super) tls: Option<Arc<TlsKeeper>>,
    pub(super) trusted_proxies: &'static [&'static str],
    pub(super) lookup_deadline: Option<Duration>,
    pub(super) lookups_waiting: Option<usize>,
}

pub(super) struct TestServer {
    pub(super) addr: SocketAddr,
    pub(super) log: Arc<FakeLog>,
    pub(super) metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    closed: tokio::task::JoinHandle<Closed>,
}

impl Setup {
    /// The own log is `sum.corp.example/own`, another one `tile.example`.
    pub(super) async fn start(self) -> TestServer {
        let (log, other) = (FakeLog::new("sum.corp.example/own"), FakeLog::new("tile.example"));
        let metrics = Arc::new(Metrics::default());
        let proxies = TrustedProxies::new(self.trusted_proxies.iter().map(|net| network(net)).collect());
        let site = PublicSite {
            registry: Registry::new(log.clone(), vec![other]),
            rest: api::router(Arc::new(super::api::FakeApi)),
            hooks: Hooks::new([], &Clock::system()),
            proxies: proxies.clone(),
            waiting: Arc::new(self.lookups_waiting.map_or_else(WaitingRoom::default, |most| WaitingRoom {
                lookups: Waiters::new(most),
                ..WaitingRoom::default()
            })),
            lookup_deadline: self.lookup_deadline.unwrap_or(PATIENCE),
            metrics: metrics.clone(),
            clock: Clock::system(),
        };
        let traffic = metrics.traffic.clone();
        let door = Door { site: Arc::new(site), tls: self.tls, limits: self.limits, proxies, traffic };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let closed = tokio::spawn(door.serve(listener, async {
            let _ = stopped.await;
        }));
        TestServer { addr, log, metrics, stop, closed }
    }
}

impl TestServer {
    pub(super) async fn start() -> TestServer {
        Setup::default().start().await
    }

    /// Asks for a graceful shutdown and does not wait for its end.
    pub(super) fn stop(self) -> tokio::task::JoinHandle<Closed> {
        let _ = self.stop.send(());
        self.closed
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[]).await
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        self.send(request.as_bytes()).await
    }

    /// Any bytes on a connection of their own, and all that comes back until it is closed.
    pub(super) async fn send(&self, request: &[u8]) -> Reply {
        let mut stream = self.connect().await;
        let _ = stream.write_all(request).await;
        Reply::parse(&until_closed(&mut stream).await)
    }

    /// From another address; all of 127.0.0.0/8 is this machine.
    pub(super) async fn connect_from(&self, address: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(self.addr).await.unwrap()
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }
}

/// All bytes until the other side closes or resets.
pub(super) async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("the server must close the connection");
    bytes
}

/// The next answer on a connection that stays open. Its length must be given.
pub(super) async fn next_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            bytes.push(stream.read_u8().await.expect("an answer"));
            if bytes.ends_with(b"\r\n\r\n") {
                let head = Reply::parse(&bytes);
                let length = head.header("content-length").map_or(0, |value| value.parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.expect("a whole body");
                return Reply { body: String::from_utf8_lossy(&body).into_owned(), ..head };
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time")
}

pub(super) fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// An answer. Status 0: nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Reply {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Reply {
            status: status.unwrap_or(0),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A network, or one address.
fn network(text: &str) -> ipnet::IpNet {
    text.parse().unwrap_or_else(|_| text.parse::<std::net::IpAddr>().unwrap().into())
}
