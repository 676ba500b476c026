//! Servers that lie without a signature: nothing of it is kept or answered, the URL is asked last from then on, and
//! another, honest one is asked instead.

use std::sync::Arc;

use super::*;

const QUOTE: &str = "rsc.io/quote@v1.5.2";
const QUOTE_PATH: &str = "/lookup/rsc.io/quote@v1.5.2";

/// A line that is no part of any record.
const EXTRA: &str = "rsc.io/quote v1.5.2 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

type Change = Arc<dyn Fn(&str, Vec<u8>) -> Behaviour + Send + Sync>;

/// A lie about each answer whose path begins so.
fn about(prefix: &'static str, change: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Change {
    Arc::new(move |path, body| Behaviour::ok(if path.starts_with(prefix) { change(body) } else { body }))
}

fn flip(mut body: Vec<u8>, byte: usize) -> Vec<u8> {
    body[byte] ^= 1;
    body
}

fn spliced(body: Vec<u8>, before: &str, extra: &str) -> Vec<u8> {
    let text = String::from_utf8(body).unwrap();
    let at = if before.is_empty() { text.len() } else { text.find(before).expect(before) };
    format!("{}{extra}{}", &text[..at], &text[at..]).into_bytes()
}

/// What a liar does, and words that its refusal must have.
type Liar = (&'static str, &'static str, Change);

fn liars() -> impl Iterator<Item = Liar> {
    [liars_about_the_record(), liars_about_the_note(), liars_about_the_tree()].into_iter().flatten()
}

fn liars_about_the_record() -> Vec<Liar> {
    let other = || fixture_answer("lookup/github.com/google/uuid@v1.6.0").unwrap();
    // The head of the look-up is another one than that of `/latest`, signed and true.
    let own_note = || {
        let answer = String::from_utf8(fixture_answer(QUOTE_PATH).unwrap()).unwrap();
        answer.split_once("\n\n").unwrap().1.to_owned()
    };
    let with_note = move |record: &str| format!("{record}\n{}", own_note()).into_bytes();
    let forged = with_note(&format!(
        "942\n{EXTRA}rsc.io/quote v1.5.2/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    ));
    let beyond = |body: Vec<u8>| spliced(body[3..].to_vec(), "\nrsc.io", "66398721");
    vec![
        (
            "a record number that is another's",
            "record 943",
            about(QUOTE_PATH, |body| spliced(body[3..].to_vec(), "\nrsc.io", "943")),
        ),
        ("a record number beyond the tree", "cannot validate record 66398721", about(QUOTE_PATH, beyond)),
        ("a flipped hash in the record", "record", about(QUOTE_PATH, |body| flip(body, 30))),
        (
            "lines of its own",
            "record 942 of the log is another one",
            about(QUOTE_PATH, move |_| forged.clone()),
        ),
        (
            "another module's valid record",
            "it is about github.com/google/uuid",
            about(QUOTE_PATH, move |_| other()),
        ),
        (
            "a line before the record",
            "reading record",
            about(QUOTE_PATH, |body| [EXTRA.as_bytes(), &body].concat()),
        ),
        (
            "a line in the record",
            "reading record",
            about(QUOTE_PATH, |body| spliced(body, "\n\n", &format!("\n{}", EXTRA.trim_end()))),
        ),
    ]
}

/// The same about the note after the record, and about the answer as a whole.
fn liars_about_the_note() -> Vec<Liar> {
    let gzip = |_: &str, body: Vec<u8>| {
        let headers = vec![("Content-Encoding", "gzip".to_owned())];
        Behaviour::Answer { status: 200, headers, body }
    };
    vec![
        (
            "lines between record and note",
            "reading tree note",
            about(QUOTE_PATH, |body| spliced(body, "go.sum database tree", &format!("{EXTRA}\n"))),
        ),
        ("a line after the note", "reading tree note", about(QUOTE_PATH, |body| spliced(body, "", EXTRA))),
        (
            "one line only",
            "reading record",
            about(QUOTE_PATH, |body| {
                let text = String::from_utf8(body).unwrap();
                let line = text.lines().nth(2).unwrap();
                text.replace(&format!("{line}\n"), "").into_bytes()
            }),
        ),
        (
            "a flipped size in the note",
            "invalid signature",
            about(QUOTE_PATH, |body| {
                String::from_utf8(body).unwrap().replace("\n51929436\n", "\n51929437\n").into_bytes()
            }),
        ),
        (
            "no note",
            "reading tree note",
            about(QUOTE_PATH, |body| {
                let end = String::from_utf8_lossy(&body).find("\n\n").unwrap();
                body[..end + 2].to_vec()
            }),
        ),
        ("half an answer", "reading", about(QUOTE_PATH, |body| body[..body.len() / 2].to_vec())),
        (
            "an error page with 200",
            "reading record",
            about("/lookup/", |_| b"<html>Please log in</html>".to_vec()),
        ),
        ("an empty answer", "reading record", about("/lookup/", |_| Vec::new())),
        ("packed bytes", "reading record", about("/lookup/", |_| vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])),
        ("an encoding that is a lie", "cannot be decoded", Arc::new(gzip)),
    ]
}

/// The same about heads and tiles.
fn liars_about_the_tree() -> Vec<Liar> {
    vec![
        (
            "an error page as the head",
            "reading tree note",
            about("/latest", |_| b"<html>Please log in</html>".to_vec()),
        ),
        ("a flipped head", "invalid signature", about("/latest", |body| flip(body, 25))),
        (
            "an unsigned head",
            "reading tree note",
            about("/latest", |body| String::from_utf8(body).unwrap().split_once('\n').unwrap().1.into()),
        ),
        ("an error page as tiles", "bytes, not", about("/tile/", |_| b"404 page not found".to_vec())),
        ("short tiles", "bytes, not", about("/tile/8/0/", |body| body[32..].to_vec())),
        ("long tiles", "larger than", about("/tile/8/0/", |body| [body, vec![0; 32]].concat())),
        ("forged level 0", "does not match its hash in", about("/tile/8/0/003", |body| flip(body, 8191))),
        ("forged level 1", "does not match its hash in", about("/tile/8/1/000", |body| flip(body, 100))),
        ("forged level 2", "does not match its hash in", about("/tile/8/2/000", |body| flip(body, 100))),
        ("a forged edge", "do not lead to its root", about("/tile/8/3/", |body| flip(body, 95))),
        ("another edge", "do not lead to its root", about("/tile/8/2/003.p/", |body| flip(body, 0))),
    ]
}

fn server(change: &Change) -> HostileServer {
    let change = change.clone();
    fixture_server(move |path, body| change(path, body))
}

/// Called from [`super::every_lie_is_refused`], the name under which `lib.rs` lists it.
pub(super) async fn each_lie_is_neither_answered_nor_kept() {
    for (what, words, change) in liars() {
        let (client, server) = (Client::golang(), server(&change));
        let log = client.open(&[server.url()]);
        let unproven = unproven(log.lookup(&module(QUOTE), ample()).await);
        let text = unproven.to_string();
        assert!(text.contains(words) && text.contains(&server.url()), "{what}: {text}");
        assert_eq!(log.find(&module(QUOTE)).unwrap(), None, "{what}");
        assert!(log.is_stopped().is_none(), "{what}: unsigned bytes convict nobody");
        drop((log, server));

        // What was kept before the lie came out is true: with it and an honest server all is well.
        let honest = honest_fixture_server();
        let log = client.open(&[honest.url()]);
        let proven = log.lookup(&module(QUOTE), ample()).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_provable(&log, &proven);
    }
}

#[tokio::test]
async fn an_honest_url_is_asked_after_a_liar() {
    let honest = honest_fixture_server();
    for (what, words, change) in liars() {
        let (client, liar) = (Client::golang(), server(&change));
        let transport = client.transport(&[liar.url(), honest.url()]);
        let log = RemoteLog::open(client.options(transport.clone())).unwrap();
        let proven = log.lookup(&module(QUOTE), ample()).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(proven.record.0, 942, "{what}");
        assert_eq!(proven.head.size.0, 66_398_721, "{what}");
        assert_provable(&log, &proven);
        let health = transport.health();
        assert_eq!(health[1].1.lies, 0, "{what}: the honest one is not blamed");
        let unusable = ["cannot be decoded", "larger than"].contains(&words);
        assert!(health[0].1.lies > 0 || unusable, "{what}: {:?}", health[0]);
        if !unusable {
            let before = liar.paths().len();
            log.lookup(&module("github.com/google/uuid@v1.6.0"), ample()).await.unwrap();
            assert_eq!(liar.paths().len(), before, "{what}: a liar is asked last");
        }
    }
}

#[tokio::test]
async fn when_all_lie_each_is_named() {
    let client = Client::golang();
    let page =
        fixture_server(|path, body| Behaviour::ok(if path == "/latest" { body } else { b"<html>".to_vec() }));
    let tile = server(&about("/tile/8/0/003", |body| flip(body, 5)));
    let down = HostileServer::always(Behaviour::error(503, "being repaired"));
    let log = client.open(&[page.url(), down.url(), tile.url()]);
    let unproven = unproven(log.lookup(&module(QUOTE), ample()).await);
    let text = unproven.to_string();
    for server in [&page, &down, &tile] {
        assert!(text.contains(&server.url()), "{text}");
    }
    for words in [
        "being repaired",
        "reading record",
        "tile/8/0/003 does not match its hash in",
        "has 6 bytes, not 8192",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn every_bit_of_every_hash_that_matters_is_checked() {
    // One bit in each tile that the look-up reads, at both ends and in the middle.
    let (client, honest) = (Client::golang(), honest_fixture_server());
    client.open(&[honest.url()]).lookup(&module(QUOTE), ample()).await.unwrap();
    let tiles: Vec<String> = honest.paths().into_iter().filter(|path| path.starts_with("/tile/")).collect();
    assert!(tiles.len() >= 7, "{tiles:?}");
    for path in tiles {
        let length = fixture_answer(&path).unwrap().len();
        for byte in [0, length / 2, length - 1] {
            let lie = path.clone();
            let liar = fixture_server(move |path, body| {
                Behaviour::ok(if path == lie { flip(body, byte) } else { body })
            });
            let client = Client::golang();
            let text = unproven(client.open(&[liar.url()]).lookup(&module(QUOTE), ample()).await).to_string();
            assert!(text.contains(path.trim_start_matches('/')), "byte {byte} of {path}: {text}");
        }
    }
}

#[tokio::test]
async fn an_edge_from_two_urls_convicts_the_one_that_lied() {
    // The liar has nothing but a head, the record, and one forged tile of the edge; all else comes from the other.
    let forged = |path: &str| path.starts_with("/tile/8/2/003.p/");
    let liar = fixture_server(move |path, body| {
        if forged(path) {
            Behaviour::ok(flip(body, 0))
        } else if path.starts_with("/tile/") {
            Behaviour::not_found()
        } else {
            Behaviour::ok(body)
        }
    });
    let (client, honest) = (Client::golang(), honest_fixture_server());
    let transport = client.transport(&[liar.url(), honest.url()]);
    let log = RemoteLog::open(client.options(transport.clone())).unwrap();
    let proven = log.lookup(&module(QUOTE), ample()).await.unwrap();
    assert_provable(&log, &proven);
    let lies: Vec<u32> = transport.health().iter().map(|(_, health)| health.lies).collect();
    assert_eq!(lies, [1, 0]);
}

#[tokio::test]
async fn the_wrong_key_opens_nothing() {
    let (client, server) =
        (Client::new(GOLANG, &small_log::SmallLog::new(1).vkey()), honest_fixture_server());
    let text = unproven(client.open(&[server.url()]).lookup(&module(QUOTE), ample()).await).to_string();
    assert!(text.contains("latest") && text.contains("reading tree note"), "{text}");
    assert_eq!(server.paths(), ["/latest"]);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let answer = |behaviour: Behaviour| async move {
        let client = Client::golang();
        let server = HostileServer::start(move |path| match path {
            "/latest" => Behaviour::ok(fixture_answer("latest").unwrap()),
            _ => behaviour.clone(),
        });
        client.open(&[server.url()]).lookup(&module(QUOTE), ample()).await.unwrap_err()
    };
    let gone = answer(Behaviour::error(410, "not found: unknown revision v1.5.2")).await;
    assert!(matches!(&gone, RemoteError::NotFound { text } if text.contains("unknown revision")), "{gone:?}");
    let forbidden = answer(Behaviour::error(403, "blocked by policy")).await;
    assert!(matches!(&forbidden, RemoteError::Forbidden { text } if text.contains("blocked by policy")));
    let headers = vec![("Retry-After", "17".to_owned())];
    let busy = answer(Behaviour::Answer { status: 503, headers, body: Vec::new() }).await;
    let wait = Duration::from_secs(17);
    assert!(
        matches!(&busy, RemoteError::Unavailable { retry_after: Some(asked), .. } if *asked == wait),
        "{busy:?}"
    );
    let broken = answer(Behaviour::Reset).await;
    assert!(matches!(broken, RemoteError::Unavailable { retry_after: None, .. }), "{broken:?}");
}

#[tokio::test]
async fn a_missing_tile_is_not_a_missing_module() {
    let server = fixture_server(|path, body| {
        if path.starts_with("/tile/8/0/") { Behaviour::not_found() } else { Behaviour::ok(body) }
    });
    let client = Client::golang();
    let error = client.open(&[server.url()]).lookup(&module(QUOTE), ample()).await.unwrap_err();
    assert!(
        matches!(&error, RemoteError::Unavailable { text, .. } if text.contains("tile/8/0/")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_silent_server_costs_a_caller_its_deadline_and_no_more() {
    let (client, server) = (Client::golang(), HostileServer::always(Behaviour::Stall));
    let log = client.open(&[server.url()]);
    let start = Clock::system().instant();
    let error = log.lookup(&module(QUOTE), start + Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(&error, RemoteError::Unavailable { text, .. } if text.contains("in time")), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
}
