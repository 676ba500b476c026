//! What a client may take: sizes, times, connections; and how a server ends.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tallystick::http::listen::{Closed, ListenLimits};
use tallystick::http::site::URL_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fake::{PATIENCE, Setup, TestServer, get_request, next_reply, until_closed};

const SLOW: &str = "/lookup/example.com/slow@v1.0.0";
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn long_urls_and_headers_are_refused() {
    let server = TestServer::start().await;
    let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    assert_eq!(server.get(&path(URL_BYTES_MAX)).await.status, 404);
    let long = server.get(&path(URL_BYTES_MAX + 1)).await;
    assert_eq!((long.status, long.body.as_str()), (414, "the URL is longer than 8192 bytes\n"));
    assert_eq!(server.get(&format!("/latest?{}", "x".repeat(URL_BYTES_MAX))).await.status, 414);
    let head_bytes = ListenLimits::default().head_bytes;
    assert_eq!(server.ask("GET", "/latest", &[("X", &"x".repeat(head_bytes))]).await.status, 431);
    assert_eq!(
        server.ask("GET", "/latest", &[("X", &"x".repeat(head_bytes * 8))]).await.status,
        431,
        "not a reset"
    );
    assert_eq!(server.ask("GET", "/latest", &[("X", &"x".repeat(head_bytes / 2))]).await.status, 200);
    assert_eq!(server.ask("GET", "/latest", &[("X", "x"); 90]).await.status, 200);
    assert_eq!(server.ask("GET", "/latest", &[("X", "x"); 200]).await.status, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_never_read() {
    let server = TestServer::start().await;
    // The client says that much comes, and sends little: the answer does not wait, and the connection is over.
    for method in ["POST", "GET"] {
        let head = format!("{method} /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc");
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = until_closed(&mut stream).await;
        let status: &[u8] = if method == "POST" { b"HTTP/1.1 405 " } else { b"HTTP/1.1 200 " };
        assert!(answer.starts_with(status), "{method}: {:?}", String::from_utf8_lossy(&answer));
    }
    // A client that sends first and reads later still reads why it was refused, and is not reset.
    let post =
        format!("POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    let mut stream = server.connect().await;
    stream.write_all(post.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with(b"HTTP/1.1 405 "));
    let chunks = b"POST /latest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nabc";
    let mut stream = server.connect().await;
    stream.write_all(chunks).await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with(b"HTTP/1.1 405 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_cut_and_counted() {
    let limits = ListenLimits { head: SHORT, ..ListenLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /latest HTTP/1.1\r\nHost: x\r\nX-Slow").await.unwrap();
    assert_eq!(until_closed(&mut slow).await, b"");
    let mut second = server.connect().await;
    second.write_all(get_request("/latest").as_bytes()).await.unwrap();
    assert_eq!(next_reply(&mut second).await.status, 200);
    second.write_all(b"GET /la").await.unwrap();
    assert_eq!(until_closed(&mut second).await, b"", "the second head of a connection as well");
    assert_eq!(server.metrics.traffic.cut.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_nothing_is_let_go() {
    let limits = ListenLimits { idle: SHORT, ..ListenLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start().await;
    let mut silent = server.connect().await;
    assert_eq!(until_closed(&mut silent).await, b"");
    let mut rests = server.connect().await;
    rests.write_all(get_request("/latest").as_bytes()).await.unwrap();
    assert_eq!(next_reply(&mut rests).await.status, 200);
    assert_eq!(until_closed(&mut rests).await, b"");
    // A look-up that takes many times as long as a client may rest is not rest.
    let mut busy = server.connect().await;
    busy.write_all(get_request(SLOW).as_bytes()).await.unwrap();
    server.log.until_waiting(1).await;
    let mut other = server.connect().await;
    assert_eq!(until_closed(&mut other).await, b"", "the time to rest has passed meanwhile");
    server.log.gate.add_permits(1);
    assert_eq!(next_reply(&mut busy).await.body, "2\nslow\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_than_the_cap() {
    let limits = ListenLimits { connections: 2, ..ListenLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start().await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut stream = server.connect().await;
        let request = format!("GET {SLOW} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        clients.push(stream);
    }
    server.log.until_waiting(2).await;
    server.log.gate.add_permits(6);
    for mut client in clients {
        assert!(until_closed(&mut client).await.ends_with(b"2\nslow\n"));
    }
    assert_eq!(server.log.most_waiting.load(SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_rests_makes_room_when_every_slot_is_taken() {
    let limits = ListenLimits { connections: 2, head: SHORT, ..ListenLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start().await;
    let mut resting = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(get_request("/latest").as_bytes()).await.unwrap();
        assert_eq!(next_reply(&mut stream).await.status, 200);
        resting.push(stream);
    }
    // Without pressure they could rest for 75 s, which is beyond the patience of this test.
    assert_eq!(server.get("/latest").await.status, 200);
}

/// A request for a look-up that hangs at the gate, in the name of a client behind a proxy.
fn slow_request_for(client: &str) -> String {
    format!("GET {SLOW} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_holds_every_slot_makes_room_for_another() {
    let limits = ListenLimits { connections: 3, ..ListenLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start().await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect().await;
        stream.write_all(get_request(SLOW).as_bytes()).await.unwrap();
        greedy.push(stream);
    }
    server.log.until_waiting(3).await;
    let mut other = server.connect_from([127, 2, 2, 2]).await;
    other.write_all(get_request("/latest").as_bytes()).await.unwrap();
    assert_eq!(next_reply(&mut other).await.status, 200);
    // The oldest has made room, and was told so; the second client has its share with one of three.
    let told = String::from_utf8(until_closed(&mut greedy.remove(0)).await).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("retry-after: 5\r\n"), "{told}");
    assert!(told.contains("holds more connections than its share"), "{told}");
    server.log.gate.add_permits(2);
    for mut stream in greedy {
        assert_eq!(next_reply(&mut stream).await.body, "2\nslow\n");
    }
    assert_eq!(server.metrics.traffic.evicted.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_trusted_proxy_are_not_evicted_and_their_requests_count_for_its_clients() {
    let limits = ListenLimits { connections: 4, ..ListenLimits::default() };
    let proxies: &[&str] = &["127.0.0.1"];
    let setup = Setup { limits, trusted_proxies: proxies, lookups_waiting: Some(3), ..Setup::default() };
    let server = setup.start().await;
    let mut greedy = Vec::new();
    for waiting in 1..=3 {
        let mut stream = server.connect().await;
        stream.write_all(slow_request_for("192.0.2.6").as_bytes()).await.unwrap();
        greedy.push(stream);
        // One after another: who came first loses its place first.
        server.log.until_waiting(waiting).await;
    }
    // No place is left, and the greedy client has all: its next look-up is refused, its next hit is not.
    let mut next = server.connect().await;
    next.write_all(slow_request_for("192.0.2.6").as_bytes()).await.unwrap();
    let refused = next_reply(&mut next).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
    assert!(refused.body.starts_with("this client has its share of the requests that may wait here\n"));
    next.write_all(get_request("/lookup/example.com/hit@v1.0.0").as_bytes()).await.unwrap();
    assert_eq!(next_reply(&mut next).await.status, 200);
    // Another client of the same proxy gets the place of the one that waited longest, on the connection that is there.
    next.write_all(slow_request_for("192.0.2.7").as_bytes()).await.unwrap();
    assert_eq!(next_reply(&mut greedy[0]).await.status, 503);
    // All slots are the proxy's. A client that comes by itself takes none of those that work, and waits.
    let mut direct = server.connect_from([127, 2, 2, 2]).await;
    direct.write_all(get_request("/latest").as_bytes()).await.unwrap();
    server.log.gate.add_permits(3);
    for stream in greedy[1..].iter_mut().chain([&mut next]) {
        assert_eq!(next_reply(stream).await.body, "2\nslow\n");
    }
    drop(greedy);
    assert_eq!(next_reply(&mut direct).await.status, 200);
}

/// Enough to fill the send buffers of both sides: the client asks and asks, and takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_cut() {
    let limits = ListenLimits { head: SHORT, idle: SHORT, ..ListenLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start().await;
    let mut stream = server.connect().await;
    let requests = get_request("/tile/8/0/000").repeat(100);
    let asking = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("the server must end the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_finishes_what_is_under_way() {
    let server = TestServer::start().await;
    let (addr, log) = (server.addr, server.log.clone());
    let mut busy = server.connect().await;
    busy.write_all(get_request(SLOW).as_bytes()).await.unwrap();
    let mut rests = server.connect().await;
    rests.write_all(get_request("/latest").as_bytes()).await.unwrap();
    assert_eq!(next_reply(&mut rests).await.status, 200);
    log.until_waiting(1).await;
    let closed = server.stop();
    assert_eq!(until_closed(&mut rests).await, b"", "who rests is let go at once");
    assert!(TcpStream::connect(addr).await.is_err(), "the listener closes first");
    log.gate.add_permits(1);
    let answer = until_closed(&mut busy).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(b"2\nslow\n"));
    assert_eq!(closed.await.unwrap(), Closed { cut: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_has_a_deadline() {
    let limits = ListenLimits { drain: SHORT, ..ListenLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start().await;
    let log = server.log.clone();
    let mut busy = server.connect().await;
    busy.write_all(get_request(SLOW).as_bytes()).await.unwrap();
    log.until_waiting(1).await;
    let closed = tokio::time::timeout(PATIENCE, server.stop()).await.expect("the server must stop").unwrap();
    assert_eq!(closed, Closed { cut: 1 });
    assert_eq!(until_closed(&mut busy).await, b"");
    assert_eq!(*log.waiting.borrow(), 0, "its handler was dropped");
}

/// Everything that clients sent before they were told to stop is answered: nothing that was read is lost.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_under_load_answers_or_closes_cleanly() {
    let server = TestServer::start().await;
    let addr = server.addr;
    let (first, mut begun) = tokio::sync::mpsc::channel(64);
    let mut streams = Vec::new();
    for _ in 0..16 {
        // Before anybody can be answered: a client that comes when the listener is closed is refused.
        streams.push(TcpStream::connect(addr).await.unwrap());
    }
    let clients: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let first = first.clone();
            tokio::spawn(async move {
                let mut answered = 0;
                loop {
                    if stream.write_all(get_request("/tile/8/0/000").as_bytes()).await.is_err() {
                        return answered;
                    }
                    let mut status = [0; 12];
                    match stream.read_exact(&mut status).await {
                        Err(_) => return answered,
                        Ok(_) => assert_eq!(&status, b"HTTP/1.1 200"),
                    }
                    // Once an answer has begun, it comes whole.
                    let mut body = Vec::new();
                    while !body.ends_with(&[7; 8192]) {
                        assert!(stream.read_buf(&mut body).await.unwrap() > 0, "an answer was cut");
                    }
                    answered += 1;
                    let _ = first.try_send(());
                }
            })
        })
        .collect();
    for _ in 0..32 {
        tokio::time::timeout(PATIENCE, begun.recv()).await.expect("answers").unwrap();
    }
    assert_eq!(server.stop().await.unwrap(), Closed { cut: 0 });
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    assert!(answered >= 32);
}

/// HTTP/2 frame: length, type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The head of a GET on its stream: :method GET, :scheme http, :path as a literal, :authority x.
fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    let mut headers = vec![0x82, 0x86, 0x04, path.len() as u8];
    headers.extend_from_slice(path.as_bytes());
    headers.extend_from_slice(&[0x01, 0x01, b'x']);
    frame(1, 0x5, stream, &headers)
}

fn http2_start() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_that_rests_is_told_to_go() {
    let limits = ListenLimits { head: SHORT, idle: SHORT, ..ListenLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start().await;
    let mut stream = server.connect().await;
    stream.write_all(&[http2_start(), get_frame(1, "/latest"), frame(4, 1, 0, &[])].concat()).await.unwrap();
    let answer = until_closed(&mut stream).await;
    let note = super::fake::NOTE.as_bytes();
    assert!(answer.windows(note.len()).any(|window| window == note), "it is answered first");
    // RFC 9113 §6.8: the first GOAWAY of a graceful end names the highest stream number, and no error.
    let goaway_without_error = frame(7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(answer.windows(goaway_without_error.len()).any(|window| window == goaway_without_error));
}

/// CVE-2023-44487: streams are opened and reset at once, so that they never count as open.
#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_ends_the_connection() {
    let server = TestServer::start().await;
    let mut stream = server.connect().await;
    let mut attack = http2_start();
    for number in 0..20_000 {
        attack.extend(get_frame(number * 2 + 1, SLOW));
        attack.extend(frame(3, 0, number * 2 + 1, &8u32.to_be_bytes()));
    }
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let (_, _) = tokio::time::timeout(PATIENCE, async {
        tokio::join!(writing.write_all(&attack), reading.read_to_end(&mut answer))
    })
    .await
    .expect("the connection must be ended");
    let went_away = answer.windows(4).any(|window| window == 11u32.to_be_bytes());
    assert!(went_away, "GOAWAY with ENHANCE_YOUR_CALM (11)");
    assert_eq!(server.get("/latest").await.status, 200);
    let left = server.log.waiting.subscribe().wait_for(|now| *now == 0).await.is_ok();
    assert!(left, "no look-up of a stream that was reset goes on");
}
