//! The second thread of fsck: what is found by name, and where each record comes from.

use std::sync::mpsc::Receiver;

use super::Findings;
use crate::store::{LogReader, StoredRecord};
use crate::tlog::{RecordId, TILE_WIDTH, TreeSize};

/// Checks the records that come in, a tile at a time, until there are no more.
pub(super) fn check(
    reader: &dyn LogReader,
    size: TreeSize,
    records: Receiver<Vec<StoredRecord>>,
) -> Findings {
    let mut findings = Findings::default();
    for tile in records {
        for record in &tile {
            check_record(reader, size, record, &mut findings);
        }
        check_evidence(reader, size, &tile, &mut findings);
    }
    findings
}

/// A record must be found under its module version, and no other may be. That is also what makes
/// module versions unique: of two records of one module version, one is found at the number of the
/// other.
fn check_record(reader: &dyn LogReader, size: TreeSize, record: &StoredRecord, findings: &mut Findings) {
    let module = &record.lines.module;
    let place = || format!("index entry of record {} ({module})", record.id);
    match reader.find(module, size) {
        Ok(Some(found)) if found.id == record.id => {}
        Ok(Some(found)) => findings.add(place(), format!("record {} is found instead", found.id)),
        Ok(None) => findings.add(place(), "missing".to_owned()),
        Err(error) => findings.add_error(place, &error),
    }
}

/// The evidence of a full tile is kept together, so that one answer says whether all of it can be
/// read.
fn check_evidence(reader: &dyn LogReader, size: TreeSize, tile: &[StoredRecord], findings: &mut Findings) {
    let Some(first) = tile.first() else { return };
    let sealed = first.id.0 / TILE_WIDTH < size.0 / TILE_WIDTH;
    for record in if sealed { &tile[..1] } else { tile } {
        let RecordId(id) = record.id;
        let place = || format!("evidence of record {id}");
        match reader.evidence(record.id) {
            Ok(Some(_)) => {}
            Ok(None) => findings.add(place(), "missing".to_owned()),
            Err(error) => findings.add_error(place, &error),
        }
    }
}
