//! x/mod's `sumdb.Client`, the code inside the `go` command, without the command: every record of a log, all tiles, and
//! every way in which a look-up can fail.

use serde_json::{Value, json};
use tallystick::note::{self, SignerKey};

use super::*;

const SMALL: u64 = 1_300;
const LARGE: u64 = 3_000;

/// The modules of the first `size` records, and the line that the client must return for each.
fn records(size: u64) -> (Vec<String>, Vec<String>) {
    (0..size)
        .map(|i| {
            let lines = logs::lines(i).to_text();
            (logs::module(i).to_string(), lines.lines().next().unwrap().to_owned())
        })
        .unzip()
}

fn assert_all(looked: &oracle::Looked, lines: &[String]) {
    assert!(looked.security.is_empty(), "{:?}", looked.security);
    for (found, line) in looked.results.iter().zip(lines) {
        assert_eq!(found.error, "");
        assert_eq!(found.lines.as_deref(), Some(std::slice::from_ref(line)));
    }
    assert_eq!(looked.results.len(), lines.len());
}

#[test]
fn every_record_and_every_tile_as_the_log_grows() {
    if !oracle::is_there("every_record_and_every_tile_as_the_log_grows") {
        return;
    }
    let directory = LogDirectory::new(NAME, NO_MODULES);
    let mut latest = String::new();
    let mut roots = Vec::new();
    for size in [1, SMALL, LARGE] {
        grow(&directory, size);
        let server = directory.serve();
        let (modules, lines) = records(size);
        // With the head that the client kept from the smaller log, and the server's next one proved against it.
        let more = json!({"workers": 8, "latest": latest});
        let looked = oracle::look_up(&server.vkey, &server.url, &modules, more);
        assert_all(&looked, &lines);
        assert_eq!(looked.latest, server.get("/latest").text());
        latest = looked.latest;
        let older: Vec<u64> =
            [1, 2, 255, 256, 257, 1_299, 1_300, 2_999].into_iter().filter(|older| *older < size).collect();
        let audit = oracle::rehash(&server.vkey, &server.url, &older);
        assert!(latest.starts_with(&format!("go.sum database tree\n{size}\n{}\n", audit.root)), "{latest}");
        // Hashes and records of each width, and the widths of the level above.
        assert_eq!((audit.size, audit.tiles), (size, 2 * size + size / 256));
        roots.push(audit.root);
    }
    roots.dedup();
    assert_eq!(roots.len(), 3, "each size has a root of its own");
}

/// A log of `LARGE` records, and what a client does with it behind a front.
struct Lab {
    server: Server,
    signer: SignerKey,
    /// The note of the first `SMALL` records.
    old_note: String,
    note: String,
}

impl Lab {
    fn new(directory: &LogDirectory) -> Lab {
        grow(directory, SMALL);
        let server = directory.serve();
        let old_note = server.get("/latest").text();
        server.stop();
        grow(directory, LARGE);
        let server = directory.serve();
        let note = server.get("/latest").text();
        Lab { signer: signer(directory), old_note, note, server }
    }

    /// Looks record 700 up, in a full tile, through `change`.
    fn look_up(
        &self,
        more: Value,
        change: impl Fn(&str, Page) -> Page + Send + Sync + 'static,
    ) -> oracle::Looked {
        let front = tampering(&self.server.url, change);
        oracle::look_up(&self.server.vkey, &front.url(), &[logs::module(700).to_string()], more)
    }

    /// The same, where only the note of look-ups is another one.
    fn with_note(&self, note: &str) -> oracle::Looked {
        let (from, to) = (self.note.clone(), note.to_owned());
        self.look_up(json!({}), move |path, page| edit(path, page, |text| text.replace(&from, &to)))
    }

    fn sign(&self, text: &str) -> String {
        note::sign(text, &[&self.signer]).unwrap()
    }
}

/// What becomes of a look-up's text.
type Edit = fn(String) -> String;

fn edit(path: &str, page: Page, change: impl Fn(String) -> String) -> Page {
    match path.starts_with("/lookup/") {
        true => Page { body: change(page.text()).into_bytes(), ..page },
        false => page,
    }
}

/// The look-up failed so, returned no lines, and nothing was kept that could be believed later.
#[track_caller]
fn assert_refused(looked: &oracle::Looked, text: &str) {
    let found = &looked.results[0];
    assert!(found.error.contains(text), "{text:?} is not in {:?}", found.error);
    assert_eq!(found.lines, None);
    assert!(!looked.cached.iter().any(|file| file.contains("/lookup/")), "{:?}", looked.cached);
}

#[test]
fn every_error_of_the_client() {
    if !oracle::is_there("every_error_of_the_client") {
        return;
    }
    let directory = LogDirectory::new(NAME, NO_MODULES);
    let lab = Lab::new(&directory);
    statuses(&lab);
    records_that_are_none(&lab);
    notes_that_are_none(&lab);
    tiles_that_are_none(&lab);
    kept_files(&lab);
    forks(&lab);
    never_asked(&lab);
}

fn statuses(lab: &Lab) {
    for status in [400, 403, 404, 409, 500, 503] {
        for family in ["/lookup/", "/tile/"] {
            let looked = lab.look_up(json!({}), move |path, page| match path.starts_with(family) {
                true => Page {
                    status,
                    content_type: page.content_type,
                    body: format!("the reason for {status}\n").into_bytes(),
                },
                false => page,
            });
            assert_refused(&looked, &format!("{status} Whatever: the reason for {status}"));
        }
    }
    // Our own words for a module that is not there, through the whole stack.
    let absent = ["corp.example/absent@v1.0.0".to_owned()];
    let looked = oracle::look_up(&lab.server.vkey, &lab.server.url, &absent, json!({}));
    assert_refused(&looked, "404 Not Found: not found: no route of this checksum database covers");
}

fn records_that_are_none(lab: &Lab) {
    let changes: [(Edit, &str); 12] = [
        (|_| String::new(), "malformed record data"),
        (|_| "<html></html>\n".to_owned(), "malformed record data"),
        (|text| text.replacen("700\n", "\n", 1), "malformed record data"),
        (|text| text.replacen("700\n", "0x2bc\n", 1), "malformed record data"),
        (|text| text.replacen("700\n", "9223372036854775808\n", 1), "malformed record data"),
        (|text| text.replacen(" h1:", "\u{7}h1:", 1), "malformed record data"),
        (|text| text.replacen("700\n", "9223372036854775807\n", 1), "in tree of size 3000"),
        (|text| text.replacen("700\n", "3000\n", 1), "cannot validate record 3000 in tree of size 3000"),
        (|text| text.replacen("700\n", "701\n", 1), "cannot authenticate record data in server response"),
        // x/mod lets a record begin with an empty line, and finds that it is not the record.
        (|text| text.replacen("700\n", "700\n\n", 1), "cannot authenticate record data in server response"),
        (|text| text.replacen(" h1:", " h1:x", 1), "cannot authenticate record data in server response"),
        (
            |text| text.replacen("\n\n", "\ncorp.example/x v1.0.0 h1:x\n\n", 1),
            "cannot authenticate record data in server response",
        ),
    ];
    for (change, text) in changes {
        assert_refused(&lab.look_up(json!({}), move |path, page| edit(path, page, change)), text);
    }
}

fn notes_that_are_none(lab: &Lab) {
    let stranger = SignerKey::generate(NAME.parse().unwrap(), [9; 32]);
    let head = lab.note.split("\n\n").next().unwrap().to_owned() + "\n";
    let foreign = note::sign(&head, &[&stranger]).unwrap();
    let signature = lab.note.lines().last().unwrap();
    let many = "\u{2014} other.example AAAAAAAA\n".repeat(100);
    let table = [
        (String::new(), "cannot validate record 700 in tree of size 0"),
        ("garbage".to_owned(), "reading tree note: malformed note"),
        (head.clone(), "reading tree note: malformed note"),
        (lab.note.trim_end().to_owned(), "reading tree note: malformed note"),
        (lab.note.replace('\u{2014}', "-"), "reading tree note: malformed note"),
        (format!("{}{many}", lab.note), "reading tree note: malformed note"),
        (foreign, "reading tree note: note has no verifiable signatures"),
        (lab.note.replace("\n3000\n", "\n3001\n"), "reading tree note: invalid signature for key"),
        (lab.sign("go.sum database tree\n3000\n"), "reading tree: malformed tree note"),
        (lab.sign(&head.replace("3000", "03000")), "reading tree: malformed tree note"),
        (lab.sign(&head.replace("3000", "-1")), "reading tree: malformed tree note"),
        (lab.sign("go.sum database tree\n3000\nAAAA\n"), "reading tree: malformed tree note"),
        (lab.sign("another origin\n3000\nAAAA\n"), "reading tree: malformed tree note"),
        // A size that the tiles do not have, with a root of nothing: signed, and still not to be proved.
        (lab.sign(&head.replace("3000", "5000")), "404 Whatever"),
    ];
    for (note, text) in table {
        assert_refused(&lab.with_note(&note), text);
    }
    // Unknown signatures beside ours, up to a hundred in all, and later lines in the text are allowed.
    let others = "\u{2014} other.example AAAAAAAA\n".repeat(99);
    let lines = records(701).1;
    for note in [format!("{}\n{others}{signature}\n", head), lab.sign(&format!("{head}more\n"))] {
        assert_all(&lab.with_note(&note), &lines[700..]);
    }
}

fn tiles_that_are_none(lab: &Lab) {
    let honest = lab.look_up(json!({}), |_, page| page);
    let tiles: Vec<String> = honest.remote.into_iter().filter(|path| path.starts_with("/tile/")).collect();
    // The right edge of both levels, and the tile of record 700.
    assert_eq!(tiles.len(), 3, "{tiles:?}");
    for tile in tiles {
        for at in [0, 16, 31] {
            let asked = tile.clone();
            let looked = lab.look_up(json!({}), move |path, mut page| {
                if path == asked {
                    let last = page.body.len() - 1 - at;
                    page.body[last] ^= 0x80;
                }
                page
            });
            assert_refused(&looked, "downloaded inconsistent tile");
        }
        for length in [0, 31, 32, 8191, 8224] {
            let asked = tile.clone();
            let looked = lab.look_up(json!({}), move |path, mut page| {
                if path == asked {
                    page.body.resize(length, 7);
                }
                page
            });
            assert_refused(&looked, "TileReader returned bad result slice");
        }
    }
    // An older head asks for a partial tile that is full by now: where the partial one is gone, the full one does.
    let (from, to) = (lab.note.clone(), lab.old_note.clone());
    let looked = lab.look_up(json!({}), move |path, page| match path {
        "/tile/8/0/005.p/20" => {
            Page { status: 404, content_type: page.content_type, body: b"no such tile".to_vec() }
        }
        _ => edit(path, page, |text| text.replace(&from, &to)),
    });
    assert_all(&looked, &records(701).1[700..]);
    assert!(looked.remote.contains(&"/tile/8/0/005".to_owned()), "{:?}", looked.remote);
    assert_eq!(looked.latest, lab.old_note);
}

/// What the client keeps: its newest head, look-ups, tiles.
fn kept_files(lab: &Lab) {
    let same = |_: &str, page: Page| page;
    let line = &records(701).1[700..];
    // An older head in an answer is harmless to a client that knows a newer one.
    let (from, to) = (lab.note.clone(), lab.old_note.clone());
    let looked = lab.look_up(json!({"latest": lab.note}), move |path, page| {
        edit(path, page, |text| text.replace(&from, &to))
    });
    assert_all(&looked, line);
    assert_eq!(looked.latest, lab.note);
    // Another process writes the kept head at the same time.
    let looked = lab.look_up(json!({"latest": lab.old_note, "conflicts": 3}), same);
    assert_all(&looked, line);
    assert_eq!(looked.latest, lab.note);
    // A damaged kept head, and one that a key signed which is no longer configured.
    let stranger = SignerKey::generate(NAME.parse().unwrap(), [9; 32]);
    let foreign = note::sign("go.sum database tree\n1\nAAAA\n", &[&stranger]).unwrap();
    for (latest, text) in [
        ("\0\0\0\0".to_owned(), "initializing sumdb.Client: reading tree note: malformed note"),
        (foreign, "initializing sumdb.Client: reading tree note: note has no verifiable signatures"),
    ] {
        let looked = lab.look_up(json!({"latest": latest}), same);
        assert_refused(&looked, text);
        assert_eq!(looked.remote, [""; 0], "nothing is asked");
    }
    // A kept look-up is used, with tiles from the server, and proved again.
    let module = escaped(&logs::module(700).to_string());
    let body = lab.server.get(&format!("/lookup/{module}")).body;
    let kept = json!({"cache": {format!("{NAME}/lookup/{module}"): base64(&body)}});
    let looked = lab.look_up(kept, same);
    assert_all(&looked, line);
    assert!(looked.remote.iter().all(|path| path.starts_with("/tile/")), "{:?}", looked.remote);
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn forks(lab: &Lab) {
    // Same size, another root; a smaller size, another root.
    let root = lab.note.lines().nth(2).unwrap();
    let old_root = lab.old_note.lines().nth(2).unwrap();
    for (size, root) in [(LARGE, old_root), (SMALL, root)] {
        let forged = lab.sign(&format!("go.sum database tree\n{size}\n{root}\n"));
        let (from, to) = (lab.note.clone(), forged.clone());
        let looked = lab.look_up(json!({"latest": lab.note}), move |path, page| {
            edit(path, page, |text| text.replace(&from, &to))
        });
        assert_refused(&looked, "security error: misbehaving server");
        assert_eq!(looked.latest, lab.note);
        let [told] = looked.security.as_slice() else { panic!("told once: {:?}", looked.security) };
        for text in ["go.sum database server misbehavior detected!", "proof of misbehavior:", root] {
            assert!(told.contains(text), "{text:?} is not in {told}");
        }
        assert!(!told.contains("internal error"), "{told}");
    }
}

/// What fails before anybody is asked.
fn never_asked(lab: &Lab) {
    let ask = |module: &str, vkey: &str, more: Value| {
        let looked = oracle::look_up(vkey, &lab.server.url, &[module.to_owned()], more);
        assert_eq!(looked.remote, [""; 0], "{module}");
        looked.results[0].error.clone()
    };
    let vkey = &lab.server.vkey;
    let module = logs::module(700).to_string();
    let skipped = ask(&module, vkey, json!({"nosumdb": "other.example,corp.example"}));
    assert_eq!(skipped, "skipped (listed in GONOSUMDB)");
    let bad = ask("corp.example/a!b@v1.0.0", vkey, json!({}));
    assert!(bad.contains("malformed module path"), "{bad}");
    let bad = ask(&module, "sum.corp.example", json!({}));
    assert!(bad.contains("initializing sumdb.Client: malformed verifier id"), "{bad}");
}
