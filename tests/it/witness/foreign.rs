//! Other people's programs: Tessera's own log asks our witness, by a policy file that this program could have written.

use std::path::{Path, PathBuf};
use std::process::Command;

use tallystick::note::{self, CosignatureVerifier, VerifierKey};
use tallystick::tlog::Checkpoint;

use crate::c2sp::build_in;
use crate::support::logs::signer_of;
use crate::support::witness::WitnessProcess;

const ONESHOT: &str = "github.com/transparency-dev/tessera/cmd/examples/posix-oneshot";

struct Tessera {
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl Tessera {
    fn start(test: &str, policy: &str) -> Option<Tessera> {
        let program = build_in(test, "tests/oracle/witness", ONESHOT)?;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("policy"), policy).unwrap();
        std::fs::write(directory.path().join("key"), signer_of(3).to_skey().as_bytes()).unwrap();
        std::fs::create_dir(directory.path().join("entries")).unwrap();
        Some(Tessera { program, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Adds entries, and publishes a checkpoint once the policy is satisfied.
    fn add(&self, entries: std::ops::Range<u32>) -> String {
        let _ = std::fs::remove_dir_all(self.path("entries"));
        std::fs::create_dir(self.path("entries")).unwrap();
        for i in entries {
            std::fs::write(self.path(&format!("entries/{i}")), format!("entry {i}\n")).unwrap();
        }
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let output = Command::new(&self.program)
            .args([
                flag("storage_dir", &self.path("log")),
                flag("entries", &self.path("entries/*")),
                flag("private_key", &self.path("key")),
                flag("witness_policy_file", &self.path("policy")),
                "--witness_timeout=20s".to_owned(),
            ])
            .output()
            .expect("what was built runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(self.path("log/checkpoint")).expect("a checkpoint was published")
    }
}

#[test]
fn tessera_publishes_with_our_cosignatures() {
    let (key, directory) = (signer_of(3).verifier(), tempfile::tempdir().unwrap());
    let witnesses: Vec<_> = (1..=2)
        .map(|i| {
            let (data, name) = (directory.path().join(i.to_string()), format!("witness.example/w{i}"));
            WitnessProcess::start(&data, &name, &[key.to_string()])
        })
        .collect();
    let line =
        |(i, witness): (usize, &WitnessProcess)| format!("witness w{i} {} {}\n", witness.vkey, witness.url);
    let lines: String = witnesses.iter().enumerate().map(line).collect();
    let policy = format!("{lines}group both all w0 w1\nquorum both\n");
    let Some(tessera) = Tessera::start("witness::tessera_publishes_with_our_cosignatures", &policy) else {
        return;
    };
    let mut size = 0;
    // The second run starts without knowing what the witnesses know.
    for entries in [0..3, 3..300] {
        size += u64::from(entries.end - entries.start);
        let checkpoint = tessera.add(entries);
        let opened = note::open(checkpoint.as_bytes(), &[&key as &VerifierKey]).unwrap();
        assert_eq!(Checkpoint::parse(&opened.text).unwrap().tree.size.0, size, "{checkpoint}");
        for witness in &witnesses {
            let key: CosignatureVerifier = witness.vkey.parse().unwrap();
            note::open(checkpoint.as_bytes(), &[&key])
                .unwrap_or_else(|error| panic!("{error}: {checkpoint}"));
        }
    }
}
