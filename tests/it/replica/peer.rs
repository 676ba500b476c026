//! A log of 140,000 records as Go wrote it, and what any prefix of it looks like.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tallystick::module::ModuleVersion;
use tallystick::store::replica::{RecordText, ReplicaReader};
use tallystick::tlog::{Hash, RecordId, Tile, TileLevel, TreeSize};

use crate::support::hostile::{Behaviour, HostileServer};

pub(crate) const NAME: &str = "peer.example";
/// Two windows and a part of a third, which ends in a part of a tile.
pub(crate) const SIZE: u64 = 140_000;
/// `-grow` of the generator: heads of each of so many equal steps.
const STEPS: u64 = 35;
/// Other heads: around the ends of a tile and of a window.
const SMALL: [u64; 8] = [1, 2, 255, 256, 257, 600, 65_536, 65_537];

pub(crate) struct Peer {
    directory: PathBuf,
    pub(crate) vkey: String,
}

/// The log, made once.
pub(crate) fn peer() -> &'static Result<Peer, String> {
    static PEER: OnceLock<Result<Peer, String>> = OnceLock::new();
    PEER.get_or_init(make)
}

fn make() -> Result<Peer, String> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let failed = |error: std::io::Error| error.to_string();
    // A log that was made before is as good, if the programs are the same.
    let mut sources = format!("{SIZE} {STEPS} {SMALL:?}");
    for source in ["gen/main.go", "record/record.go", "go.sum"] {
        sources += &std::fs::read_to_string(peers.join(source)).map_err(failed)?;
    }
    let directory = target.join(format!("peer-{:x}", xxhash_rust::xxh3::xxh3_64(sources.as_bytes())));
    if !directory.exists() {
        let scratch = tempfile::tempdir_in(target).map_err(failed)?;
        let program = scratch.path().join("gen");
        build("gen", &program)?;
        let log = scratch.path().join("log");
        generate(&program, scratch.path(), &log, SIZE, STEPS);
        for size in SMALL {
            let small = scratch.path().join("small");
            generate(&program, scratch.path(), &small, size, 1);
            std::fs::copy(small.join("latest"), log.join(format!("heads/{size}"))).map_err(failed)?;
        }
        std::fs::copy(scratch.path().join("log.key"), log.join("key")).map_err(failed)?;
        if let Err(error) = std::fs::rename(&log, &directory)
            && !directory.exists()
        {
            return Err(failed(error));
        }
    }
    let key = std::fs::read_to_string(directory.join("key")).map_err(failed)?;
    Ok(Peer { directory, vkey: key.lines().nth(1).unwrap().to_owned() })
}

/// Builds a program of `bench/peers`.
fn build(name: &str, program: &Path) -> Result<(), String> {
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(program).arg(format!("./{name}"));
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers"));
    build.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly").env("GOWORK", "off");
    let built = build.output().map_err(|error| format!("go cannot be run: {error}"))?;
    if built.status.success() {
        return Ok(());
    }
    Err(format!("{name} cannot be built: {}", String::from_utf8_lossy(&built.stderr)))
}

/// x/mod's own server, `sumdb.NewServer` over `sumdb.NewTestServer`.
pub(crate) struct XmodServer {
    child: Child,
    pub(crate) url: String,
    pub(crate) vkey: String,
}

impl XmodServer {
    /// One with so many records.
    pub(crate) fn start(records: u64) -> Result<XmodServer, String> {
        let failed = |error: std::io::Error| error.to_string();
        let scratch = tempfile::tempdir().map_err(failed)?;
        let program = scratch.path().join("testserver");
        build("testserver", &program)?;
        // Free a moment ago; it tells of no port of its own.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        drop(listener);
        let mut command = Command::new(&program);
        command.args(["-n", &records.to_string(), "-addr", &address]).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let mut vkey = String::new();
        let stdout = child.stdout.take().expect("it was piped");
        let server = std::io::BufReader::new(stdout).read_line(&mut vkey).map_err(failed);
        let server = server.map(|_| XmodServer {
            child,
            url: format!("http://{address}"),
            vkey: vkey.trim().to_owned(),
        })?;
        crate::support::poll("x/mod's server listens", std::time::Duration::from_secs(30), || {
            std::net::TcpStream::connect(&address).ok()
        });
        Ok(server)
    }

    /// The body of a page that must be there. HTTP/1.0, which has no chunks.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        let address = self.url.strip_prefix("http://").expect("it was written so");
        let mut connection = std::net::TcpStream::connect(address).expect("it listens");
        write!(connection, "GET /{path} HTTP/1.0\r\n\r\n").expect("it reads");
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("there is a head");
        assert!(answer.starts_with(b"HTTP/1.0 200 "), "{path}");
        answer.split_off(end + 4)
    }
}

impl Drop for XmodServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn generate(program: &Path, scratch: &Path, directory: &Path, size: u64, steps: u64) {
    let mut command = Command::new(program);
    command.arg("-n").arg(size.to_string()).arg("-grow").arg(steps.to_string());
    command.arg("-dir").arg(directory).arg("-key").arg(scratch.join("log.key")).args(["-name", NAME]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "gen: {}", String::from_utf8_lossy(&output.stderr));
}

impl Peer {
    /// The directory as a source.
    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.directory.display())
    }

    /// Where Go wrote it.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn signer(&self) -> tallystick::note::SignerKey {
        let key = std::fs::read_to_string(self.directory.join("key")).unwrap();
        key.lines().next().unwrap().parse().unwrap()
    }

    /// The signed head of a size, as Go wrote it.
    pub(crate) fn head(&self, size: u64) -> Vec<u8> {
        std::fs::read(self.directory.join(format!("heads/{size}"))).unwrap()
    }

    /// The bytes of a tile, cut out of the widest that Go wrote.
    pub(crate) fn tile(&self, tile: &Tile) -> Option<Vec<u8>> {
        let widest = tile.parent(0, TreeSize(SIZE)).filter(|widest| widest.width >= tile.width)?;
        let mut body = std::fs::read(self.directory.join(widest.path())).unwrap();
        let length = match tile.level {
            TileLevel::Hash(_) => tile.width as usize * 32,
            TileLevel::Data => {
                let mut ends = (1..body.len()).filter(|at| body[at - 1..=*at] == *b"\n\n");
                ends.nth(tile.width as usize - 1).unwrap() + 1
            }
        };
        body.truncate(length);
        Some(body)
    }

    /// What an honest server answers whose newest head has this size.
    pub(crate) fn answer(&self, path: &str, size: u64) -> Option<Vec<u8>> {
        if path == "/latest" {
            return Some(self.head(size));
        }
        let tile = Tile::parse(path.trim_start_matches('/')).ok()?;
        // Old partial tiles are kept, wider ones than the tree has do not exist.
        let there = tile.parent(0, TreeSize(size)).is_some_and(|now| now.width >= tile.width);
        there.then(|| self.tile(&tile)).flatten()
    }

    /// A server of the first `size` records whose answers `change` may change.
    pub(crate) fn serve(
        &'static self,
        size: u64,
        change: impl Fn(&str, Vec<u8>) -> Behaviour + Send + Sync + 'static,
    ) -> HostileServer {
        HostileServer::start(move |path| match self.answer(path, size) {
            Some(body) => change(path, body),
            None => Behaviour::not_found(),
        })
    }

    pub(crate) fn serve_honestly(&'static self, size: u64) -> HostileServer {
        self.serve(size, |_, body| Behaviour::ok(body))
    }

    fn data(&self, number: u64, width: u32) -> String {
        let tile = Tile { height: 8, level: TileLevel::Data, number, width };
        String::from_utf8(self.tile(&tile).unwrap()).unwrap()
    }

    /// Every record, tile and head of a mirror is what Go wrote; nothing is there beyond its size. One module version of
    /// `stride` is looked up.
    pub(crate) fn assert_mirrored(&self, reader: &ReplicaReader, size: u64, stride: usize) {
        let head = reader.head().unwrap();
        assert_eq!((reader.size().0, head.tree.size.0), (size, size));
        assert_eq!(head.note.as_bytes(), self.head(size));
        self.assert_records(reader, size, stride);
        for level in 0..4 {
            let mut hashes = size >> (8 * level);
            for number in 0.. {
                let tile = reader.tile(level, number).unwrap();
                assert_eq!(tile.is_some(), hashes > 0, "level {level} number {number}");
                let Some(tile) = tile else { break };
                let width = hashes.min(256) as u32;
                let want = Tile { height: 8, level: TileLevel::Hash(level), number, width };
                let bytes: Vec<u8> = tile.iter().flat_map(|hash| *hash.as_bytes()).collect();
                assert!(bytes == self.tile(&want).unwrap(), "{want}");
                hashes -= u64::from(width);
            }
        }
    }

    /// The first `size` records are what Go wrote, by number and by name.
    pub(crate) fn assert_records(&self, reader: &ReplicaReader, size: u64, stride: usize) {
        for number in 0..size.div_ceil(256) {
            let ids = number * 256..size.min((number + 1) * 256);
            let (mut data, width) = (String::new(), (ids.end - ids.start) as u32);
            assert_eq!(reader.push_data(ids.clone(), &mut data).unwrap(), u64::from(width));
            let want = self.data(number, width);
            assert!(data == want, "data tile {number} of a mirror of {size} is not what Go wrote");
            for (id, text) in
                ids.zip(want.split("\n\n")).filter(|(id, _)| (*id as usize).is_multiple_of(stride))
            {
                let words: Vec<&str> = text.split(' ').collect();
                let module: ModuleVersion = format!("{}@{}", words[0], words[1]).parse().unwrap();
                let found = reader.find(&module).unwrap().unwrap_or_else(|| panic!("{module} is not found"));
                assert_eq!((found.id, found.lines.to_text().trim_end()), (RecordId(id), text.trim_end()));
            }
        }
        let mut beyond = String::new();
        assert_eq!(reader.push_data(reader.size().0..u64::MAX, &mut beyond).unwrap(), 0);
        let absent: ModuleVersion = "example.com/absent@v1.0.0".parse().unwrap();
        assert_eq!(reader.find(&absent).unwrap(), None);
        // A record in the middle, by each way.
        let middle = size / 2;
        let record: Vec<RecordText> = reader.records(middle..middle + 1).unwrap();
        let mut text = String::new();
        record[0].push_text(&mut text);
        assert_eq!(reader.leaves(middle..middle + 1).unwrap(), [Hash::of_record(text.as_bytes())]);
    }
}
