//! HTTP/2 without a library, so that it can be wrong: streams that are opened and reset at once (rapid reset,
//! CVE-2023-44487), headers without end (continuation flood), pings and settings without end.

use std::io::Read;
use std::time::Duration;

use super::Target;
use crate::crash::campaign::{Tally, times};
use crate::crash::server::Server;
use crate::crash::wire::Connection;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Indexed header fields of HPACK's static table: GET, http, /. And `:authority: x`, literal and not indexed.
const REQUEST: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'x'];
/// Frames that are written at a time.
const BURST: usize = 100;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends bursts until the server has had enough, or `most` are sent. Returns how many it took.
fn burst(server: &Server, most: u64, mut make: impl FnMut(u32) -> Vec<u8>) -> u64 {
    let mut connection = Connection::open(server.address).expect("the server accepts");
    connection.socket().set_write_timeout(Some(Duration::from_secs(5))).expect("a socket");
    connection.socket().set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    if connection.send(&hello).is_err() {
        return 0;
    }
    let mut stream = 1;
    for sent in 0..most / BURST as u64 {
        let mut bytes = Vec::new();
        for _ in 0..BURST {
            bytes.extend(make(stream));
            stream += 2;
        }
        let mut answer = [0; 1 << 14];
        let gone = connection.send(&bytes).is_err() || matches!(connection.socket().read(&mut answer), Ok(0));
        if gone {
            return sent * BURST as u64;
        }
    }
    most
}

#[test]
fn floods_of_frames_end_the_connection_and_nothing_else() {
    let mut target = Target::new("");
    let mut tally = Tally::new("08-http2", "flood of HTTP/2 frames");
    let frames = times(50_000);
    let connections = 5;
    let taken = target.attack(&mut tally, |server| {
        let reset = |stream| {
            let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST), cancel].concat()
        };
        let endless = |stream| {
            // One head that never ends: literal headers of a kilobyte, 0x00 name value.
            let field = [&[0x00, 1, b'a', 0x7f, 0x81, 0x07][..], &[b'x'; 1_024]].concat();
            if stream == 1 {
                frame(HEADERS, END_STREAM, 1, REQUEST)
            } else {
                frame(CONTINUATION, 0, 1, &field)
            }
        };
        let mut taken = Vec::new();
        for _ in 0..connections {
            taken.push(("streams opened and reset", burst(server, frames, reset)));
            taken.push(("continuations", burst(server, frames, endless)));
            taken.push(("pings", burst(server, frames, |_| frame(PING, 0, 0, &[7; 8]))));
            taken.push(("settings", burst(server, frames, |_| frame(SETTINGS, 0, 0, &[]))));
            taken.push(("streams with a wrong number", burst(server, frames, |_| reset(2))));
        }
        taken
    });
    for (kind, count) in taken {
        tally.tried(1);
        tally.note(format!("{kind}: {count} of {frames}"));
        // Pings and settings are answered one by one and cost what they cost; the others must be refused.
        let bounded = !matches!(kind, "pings" | "settings");
        if bounded && count >= frames {
            tally.failed(format!("{kind}: all {count} were taken"));
        }
    }
    tally.finish();
}
