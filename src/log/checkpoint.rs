//! The log's head a second time, as [C2SP tlog-checkpoint] wants it: under an origin of its own,
//! which is the log's name.
//!
//! ```text
//! sum.corp.example
//! 1234
//! 5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=
//!
//! — sum.corp.example Az3grkwA…
//! — witness.example jWbPPwAA…             cosignatures, where there are any
//! ```
//!
//! The heads of all Go checksum databases have one first line, by which witnesses could not tell
//! them apart. Size and root are those of the published head, the key is the same, and it is signed
//! at the same moment: after the commit, and never by a log that signs nothing.
//!
//! Cosignatures come later, from whoever asks the witnesses, and are put into [`Cosignatures`].
//! They are of one checkpoint; when the log has grown since, the newest head is served without, and
//! a proof is given under the cosigned one as long as that covers its record.
//!
//! [C2SP tlog-checkpoint]: https://c2sp.org/tlog-checkpoint

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::note::{self, Signature, SignerKey};
use crate::tlog::{Checkpoint, Origin, TreeHead};

/// A checkpoint signed by the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// Size and root.
    pub tree: TreeHead,
    /// The signed note, without cosignatures.
    pub note: String,
}

/// A checkpoint with the cosignatures that witnesses gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedCheckpoint {
    /// What they cosigned.
    pub checkpoint: Arc<SignedCheckpoint>,
    /// Their signatures, verified by whoever brought them.
    pub signatures: Vec<Signature>,
}

/// The newest checkpoint that has cosignatures. Empty until somebody asks witnesses.
#[derive(Debug, Default)]
pub struct Cosignatures(ArcSwapOption<CosignedCheckpoint>);

impl Cosignatures {
    /// The newest checkpoint with cosignatures.
    pub fn newest(&self) -> Option<Arc<CosignedCheckpoint>> {
        self.0.load_full()
    }

    /// Takes the cosignatures of a checkpoint, in place of those that were there, unless those are
    /// of a larger tree.
    pub fn put(&self, cosigned: CosignedCheckpoint) {
        let cosigned = Arc::new(cosigned);
        let size = |of: &CosignedCheckpoint| of.checkpoint.tree.size;
        self.0.rcu(|now| match now {
            Some(now) if size(now) > size(&cosigned) => Some(now.clone()),
            _ => Some(cosigned.clone()),
        });
    }
}

impl CosignedCheckpoint {
    /// The note with its cosignatures. Those that would make it too large or too many are left out.
    pub fn note(&self) -> String {
        let SignedCheckpoint { note, .. } = &*self.checkpoint;
        note::append_signatures(note, &self.signatures).unwrap_or_else(|_| note.clone())
    }
}

/// The log's own signature under a tree head, as a checkpoint.
pub(super) fn sign_checkpoint(signers: &[SignerKey], tree: TreeHead) -> Option<Arc<SignedCheckpoint>> {
    let origin = origin(signers.first()?.name().as_str());
    let signers: Vec<&SignerKey> = signers.iter().collect();
    let note = note::sign(&Checkpoint::new(origin, tree).format(), &signers);
    Some(Arc::new(SignedCheckpoint { tree, note: note.expect("a checkpoint is a valid note text") }))
}

/// The origin of a log's checkpoints.
fn origin(name: &str) -> Origin {
    name.parse().expect("a key's name has no control characters, and is an origin")
}
