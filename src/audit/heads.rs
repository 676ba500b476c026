//! The heads that the tree must have, each compared when the records have reached its size.

use super::finding::{AuditFinding, Findings, Subject};
use crate::note::{self, VerifierKey};
use crate::tlog::{Hash, TreeHead};

/// A head that is to be compared.
#[derive(Clone, Debug)]
pub(super) struct ExpectedHead {
    /// Where it is from.
    origin: String,
    pub(super) tree: TreeHead,
    note: Vec<u8>,
}

/// Heads by size, the largest first.
#[derive(Debug, Default)]
pub(super) struct Expected {
    heads: Vec<ExpectedHead>,
}

impl Expected {
    /// Adds a head whose signature was verified.
    pub(super) fn add(&mut self, origin: String, tree: TreeHead, note: Vec<u8>) {
        let same = |head: &ExpectedHead| head.tree == tree;
        if self.heads.iter().any(same) {
            return;
        }
        let at = self.heads.partition_point(|head| head.tree.size >= tree.size);
        self.heads.insert(at, ExpectedHead { origin, tree, note });
    }

    /// Adds a head, if it is one of the log.
    pub(super) fn open(&mut self, origin: String, note: Vec<u8>, key: &VerifierKey, findings: &mut Findings) {
        let opened = note::open(&note, &[key]).map_err(|error| error.to_string());
        let tree = opened.and_then(|opened| TreeHead::parse(&opened.text).map_err(|error| error.to_string()));
        match tree {
            Ok(tree) => self.add(origin, tree, note),
            Err(why) => findings.push(AuditFinding::new(Subject::Heads, origin, why)),
        }
    }

    /// The largest that was added, the first of several.
    pub(super) fn largest(&self) -> Option<TreeHead> {
        self.heads.first().map(|head| head.tree)
    }

    /// Takes the heads away that this audit does not reach, and says so.
    pub(super) fn outside(&mut self, from: u64, to: u64) -> Vec<String> {
        let reached = |head: &ExpectedHead| (from..=to).contains(&head.tree.size.0);
        let outside: Vec<ExpectedHead> = self.heads.extract_if(.., |head| !reached(head)).collect();
        let say = |head: ExpectedHead| {
            let why =
                if head.tree.size.0 < from { "was audited before" } else { "is larger than the newest head" };
            format!("the head of {} ({}) {why}", head.tree.size.records(), head.origin)
        };
        outside.into_iter().map(say).collect()
    }

    /// The heads of at most so many records, the smallest first.
    pub(super) fn up_to(&mut self, size: u64) -> Vec<ExpectedHead> {
        let at = self.heads.partition_point(|head| head.tree.size.0 > size);
        let mut reached = self.heads.split_off(at);
        reached.reverse();
        reached
    }
}

impl ExpectedHead {
    /// The finding that the records give another root.
    pub(super) fn is_not_of(&self, root: Hash) -> AuditFinding {
        let what = format!(
            "the root of the first {} is {root}, the signed note says {}:\n{}",
            self.tree.size.records(),
            self.tree.root,
            String::from_utf8_lossy(&self.note)
        );
        AuditFinding::new(Subject::Heads, self.origin.clone(), what)
    }
}
