//! The anchor and the file of stops.

use std::fs;
use std::path::Path;

use tallystick::log::{IncidentReport, ReadOnly, State, Stop, stops};
use tallystick::note::sign;
use tallystick::store::IncidentKind;
use tallystick::store::anchor::{Anchor as _, Anchored, FileAnchor};
use tallystick::tlog::{TreeHead, TreeSize};

use super::super::server::copy_tree;
use super::{Campaign, Random, damage, refused};
use crate::support::logs::{candidates, leaf, open_log, signer, start_time};

fn head(size: u64) -> TreeHead {
    TreeHead { size: TreeSize(size), root: leaf(size) }
}

fn anchored(size: u64) -> Anchored {
    Anchored { vkey: signer().verifier().to_string(), epoch: 3, tree: head(size), stops: 2 }
}

fn try_anchor(template: &Path, newest: u64, random: &mut Random) -> Result<&'static str, String> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("anchor");
    fs::copy(template, &path).unwrap();
    damage(&path, random);
    let expected = anchored(newest);
    match FileAnchor::at(&path).read() {
        Err(error) => drop(refused(&error)?),
        Ok(read) if read.as_ref() != Some(&expected) => return Err(format!("it reads {read:?}")),
        Ok(_) => {}
    }
    let mut anchor = match FileAnchor::at(&path).open() {
        Err(error) => return refused(&error),
        Ok(Some((anchor, opened))) if opened == expected => anchor,
        Ok(opened) => return Err(format!("it opens {opened:?}")),
    };
    let older = anchor.advance(3, &head(newest - 1), &head(newest), start_time());
    if older.is_ok() {
        return Err("it moved from a head that is not its own".to_owned());
    }
    match anchor.advance(3, &head(newest), &head(newest + 1), start_time()) {
        Err(error) => refused(&error),
        Ok(()) if FileAnchor::at(&path).read().is_ok_and(|read| read == Some(anchored(newest + 1))) => {
            Ok("unharmed")
        }
        Ok(()) => Err("its move is lost".to_owned()),
    }
}

#[test]
fn a_damaged_anchor_never_shows_an_older_head() {
    let directory = tempfile::tempdir().unwrap();
    // One whose newest text is in either slot.
    let templates = [8, 9].map(|newest: u64| {
        let path = directory.path().join(format!("anchor-{newest}"));
        let mut anchor = FileAnchor::at(&path).create(&anchored(1), start_time()).unwrap();
        (1..newest).for_each(|size| {
            anchor.advance(3, &head(size), &head(size + 1), start_time()).unwrap();
        });
        (path, newest)
    });
    let what = "anchor with random damage in one to three pages";
    let mut campaign = Campaign::new("05-pages-anchor", what, 100);
    while let Some(mut random) = campaign.next() {
        let (path, newest) = &templates[random.below(2) as usize];
        campaign.ended(try_anchor(path, *newest, &mut random));
    }
    campaign.finish();
}

fn try_stops(template: &Path, written: &[Stop], random: &mut Random) -> Result<&'static str, String> {
    let place = tempfile::tempdir().unwrap();
    copy_tree(template, place.path());
    let anchor = place.path().join("anchor.db");
    damage(&place.path().join("anchor.db.stops"), random);
    let is_read = match stops(&anchor) {
        Err(error) => refused(&error).map(|_| false)?,
        Ok(read) if read == written => true,
        Ok(read) => return Err(format!("it reads {read:?}")),
    };
    let log = open_log(place.path()).map_err(|error| format!("the log is not served: {error}"))?;
    match (&*log.state(), is_read) {
        (State::ReadOnly(ReadOnly::Contradicted { stop: 1, .. }), true) => Ok("unharmed"),
        (State::ReadOnly(ReadOnly::StopsUnreadable { .. }), false) => Ok("refused"),
        (state, _) => Err(format!("the log is {state:?}")),
    }
}

#[tokio::test]
async fn a_log_with_damaged_stops_signs_nothing() {
    let template = tempfile::tempdir().unwrap();
    let log = open_log(template.path()).unwrap();
    log.append(candidates(0..3)).await.unwrap();
    for size in [40, 50] {
        let note = sign(&head(size).format(), &[&signer()]).unwrap();
        let report =
            |_: &ReadOnly| IncidentReport { kind: IncidentKind::Misbehavior, detail: "{}".to_owned() };
        log.judge(&head(size), &note, report).unwrap();
    }
    log.close();
    let written = stops(&template.path().join("anchor.db")).unwrap();
    let sizes: Vec<_> = written.iter().map(|stop| (stop.number, stop.size, stop.ended)).collect();
    assert_eq!(sizes, [(1, 40, None), (2, 50, None)]);
    let what = "file of stops with random damage in one to three places";
    let mut campaign = Campaign::new("05-pages-stops", what, 40);
    while let Some(mut random) = campaign.next() {
        campaign.ended(try_stops(template.path(), &written, &mut random));
    }
    campaign.finish();
}
