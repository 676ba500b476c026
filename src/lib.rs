//! Tallystick: a private Go checksum database.
//!
//! A company runs one binary, and its builds check every Go module, public and private, against a transparency log that
//! the company controls and anyone inside can audit. This page is the architecture. How to run it is in README.md.
//!
//! # The house
//!
//! One library and one thin binary. A module uses only what stands above it; `tests/it/tidy` reads the sources and
//! holds us to it.
//!
//! | layer | module | what it is |
//! |---|---|---|
//! | core | [`note`] | signed notes and their keys |
//! | | [`tlog`] | the Merkle tree: hashes, proofs, tiles, records, tree heads |
//! | | [`module`] | module paths and versions |
//! | | [`dirhash`] | `h1:` hashes of zips, directories and go.mod files |
//! | | [`gosum`] | go.sum lines |
//! | | `xml` | text in XML |
//! | | [`visible`] | text of others as people may see it |
//! | | [`proof`] | the proof of a module version in a file, verified with keys alone |
//! | ground | [`clock`] | what time it is |
//! | | `crew` | threads for work in many small pieces |
//! | | `files` | files that others have made |
//! | | [`share`] | what clients use together, with a share for each |
//! | | [`config`] | what the operator said, and where |
//! | | [`store`] | one log, one database, beside it the records of a full mirror; one lock |
//! | | [`upstream`] | clients of other servers: module proxies, version control, checksum databases |
//! | engines | [`log`] | the own log: sequencer, right edge, anchor, fsck |
//! | | [`mirror`] | a remote log, verified |
//! | | [`notary`] | may this module enter, where does its line come from: look-up misses end here |
//! | | [`witness`] | a witness of other logs, and the own log before its witnesses |
//! | | [`audit`] | a full check of any checksum database, by what it serves |
//! | | [`gossip`] | signed heads that others were shown, compared with ours: nobody is shown another log unnoticed |
//! | | [`monitor`] | follows logs, and tells what happens in them |
//! | faces | [`http`] | paths, status codes, headers; TLS; metrics |
//! | | [`cli`] | one file a command |
//!
//! The core is pure: no files, network, clock, logging, SQL or async. Where the core needs data it says first which
//! (`inclusion_proof_indexes`, [`tlog::TilePlan::new`]) and is given it afterwards (`prove_inclusion`,
//! [`tlog::TilePlan::finish`]), so the same code serves SQLite, HTTP and tests.
//!
//! # Invariants
//!
//! What must never happen, and the test that would see it.
//!
//! 1. There are never two signed heads of one size with different roots. One process writes, and the database itself
//!    refuses a second: `sequencer::failures::an_older_writer_is_refused_by_the_database`.
//! 2. Whatever was acknowledged stays, byte for byte; the log's rows are insert-only, by trigger too:
//!    `crash::acknowledged_records_survive_kills`, `conformance::sqlite::triggers_refuse_changes_to_the_truth`.
//! 3. One set of hashes per module version for ever. Uniqueness is checked inside the append transaction, in an index that
//!    proves itself whole: `sequencer::races_for_one_version_have_one_winner`,
//!    `damage::places::an_index_that_is_not_whole_lets_nothing_in_twice`.
//! 4. A head that was ever served implies that every tile, record and proof under it can be served:
//!    `sequencer::tiles::every_size_to_600_one_by_one`, of a full mirror too:
//!    `files::segments_are_synced_before_the_database_hears_of_them`.
//! 5. No signature leaves before the commit that holds it is durable and the anchor knows it:
//!    `anchor::a_commit_whose_anchor_fails_is_not_published_until_the_next_start`.
//! 6. Bytes of another log are proved under a verified head before they are stored or served, and never repaired:
//!    `mirror::every_lie_is_refused`, and proved again before they become a record of ours:
//!    `replica::damage::what_cannot_be_proved_is_no_answer_to_a_look_up`.
//! 7. After a failed write the process signs nothing more. A full disk turns read-only until there is space. A damaged row
//!    answers 500 for itself and stops signing: `sequencer::failures::after_a_failed_write_nothing_is_signed`,
//!    `sequencer::failures::a_full_disk_is_read_only_until_there_is_space`,
//!    `damage::a_flipped_byte_is_never_served`, `damage::a_damaged_right_edge_is_served_as_far_as_it_can_be_read`,
//!    and what is lost is never said not to exist:
//!    `places::a_log_that_is_opened_damaged_never_says_that_something_is_not_there`.
//! 8. A restored, rolled-back, cloned or half-copied set of files signs nothing, and a key without its log signs nothing:
//!    `table::every_combination_signs_what_is_safe_or_names_the_next_step`, `anchor::a_restored_backup_signs_nothing`,
//!    `anchor::of_a_clone_and_its_original_the_older_epoch_loses`. Nor does one of which that was only found out by what others were
//!    shown, until a person has decided: `gossip::an_alarm_stays_over_restarts_until_an_operator_ends_it`. A log with
//!    witnesses asks them first: `first::a_witness_that_knows_more_keeps_an_old_copy_from_its_first_signature`.
//! 9. The core has no I/O, SQL is only in the store, time is only in the clock; secret key bytes are never printed:
//!    `tidy::a_module_uses_only_the_layers_before_it`, `note::key::the_secret_is_shown_by_to_skey_only`.
//! 10. A witness never cosigns two roots of one size, nor a tree that it has not seen proved to grow out of the last:
//!     `kills::a_killed_witness_never_cosigns_a_fork`, `role::of_two_histories_of_one_size_exactly_one_wins`, also when its
//!     memory is damaged: `role::a_row_that_is_lost_or_older_in_one_copy_cosigns_nothing`. Where cosignatures are
//!     demanded no head is published without them: `own::a_restart_does_not_publish_what_was_not_cosigned`,
//!     `pairs::no_memory_of_cosignatures_forks_a_log_or_publishes_what_waits`.
//! 11. Nothing outside stops the log except a head that contradicts what is committed:
//!     `sequencer::interleavings::what_left_the_process_never_stops_it_in_any_interleaving`.
//! 12. Everything is bounded, per client and in all: connections, requests that wait, bodies, headers, entries, redirects,
//!     fetches in flight, queues, signatures:
//!     `attack::shares::one_client_whose_look_ups_hang_does_not_keep_others_out`, `http::limits::long_urls_and_headers_are_refused`, `upstream::http::too_much_is_refused_with_and_without_a_length`,
//!     scratch too: `full_disk::a_zip_larger_than_what_is_left_leaves_the_log_writable`.
//!
//! # Walkthroughs
//!
//! **A look-up that hits.** [`http`] parses and unescapes the path → the log's [`log::Snapshot`] finds the record number in the
//! index and confirms it against the record → number, lines, and the same snapshot's head are one answer.
//!
//! **A look-up that misses, public.** [`http`] → [`notary`], one flight per module version → the route says which checksum
//! database → [`mirror`] looks it up there, proves the record under a head that is consistent with the newest one seen, keeps
//! the tiles → both lines and the evidence become a candidate → [`log`]: the sequencer commits it → answer. No zip is
//! downloaded.
//!
//! **A look-up that misses, private.** [`notary`] → the route names a source → [`upstream`] fetches zip and go.mod, or runs the
//! `go` command in a scratch directory → [`dirhash`] → candidate → sequencer → answer.
//!
//! **A look-up of another log.** `/sumdb/<name>/` → its mirror: the record that was proved before with the newest head known
//! of that log, all of whose proof is kept → else, if the path is not private here, [`mirror`] looks it up and proves it
//! while the client waits. Tiles alike. The notes are the other log's own.
//!
//! **A window of a full mirror.** [`mirror`] has a signed head, compared with every one before → a hash tile of level 1, verified up
//! to its root → its 256 data tiles, each hashed and held against its hash there, then packed → one transaction; with the last
//! window, when the root of all that is stored is the signed one, the head. Look-ups and tiles are answered from there first.
//!
//! **A mirror goes out and comes in.** Export: windows of records, hashed against the stored tree as they are read → files, the
//! head last. Import: files or any URL → the head, signed and of one log with every head known → the same way as from the
//! network, window by window. In between, `serve` computes what it has stored again, slice by slice, and condemns what is
//! not what was verified.
//!
//! **An audit.** [`audit`] asks a server, as anybody may, for its newest head → data tiles in order, several in flight, on all
//! cores: records, their hashes, their names → each hash tile, published head and sampled look-up is held against what follows
//! from the records → names that are there twice → report.
//!
//! **A proof goes out.** [`log`] finds the record → the newest checkpoint, or the newest cosigned one that covers it → the hashes of
//! the proof from the same snapshot's tiles → one file with record, proof and checkpoint. For a line that was taken from
//! another log [`mirror`] makes the same from the record, the tiles and the head that it kept. [`proof`] verifies either with
//! a key, wherever it is.
//!
//! **A proof.** [`http`] → the snapshot's size, or the one that is asked for → which hashes, in which tiles (`log::prover`) → one read
//! for each tile, of which those of level 1 and up are in memory with all their rows, and of level 0 only sixteen leaves and the
//! roots of the tile's sixteen subtrees → what was read leads to the hashes above it → the proof, verified up to the signed root
//! where there is one of that size → answer, for ever where the size was given.
//!
//! **A head that somebody was shown.** `POST /api/v1/gossip` → [`gossip`] opens the note: only a known key's counts → own log:
//! the stored tiles give the root at that size, and the proof; another root, or a larger tree than
//! is committed, is evidence, and [`log::Log::judge`] ends signing, durably → another log: [`mirror`] compares it as it does each head, and stops where it convicts.
//!
//! **A monitor's poll.** [`monitor`] → the newest head, by the mirror's engine: signed, and one log with every head before → new data
//! tiles, each verified under it → events → state and events durable in one write → web hook, feed, figures.
//!
//! **A batch.** The sequencer takes what has arrived → begins a transaction, in which the newest head and the writer's epoch
//! must be what it knows → sorts out new, present and conflicting → grows the tree by two ways that must agree, the edge by
//! the leaves as they came and the tower by the lines as they will be stored → signs → reads back what it encodes, commits, synced
//! → moves the anchor, synced → publishes → answers. Stop it anywhere: the next start continues.
//!
//! **A head and its witnesses.** Committed and anchored → where cosignatures are demanded it waits at the [`log::Gate`], else it is published →
//! [`witness::Witnesses`]: one round shows it to all, each from the size that it knows, with the proof from there → lines of the right
//! key that verify are kept, then counted → enough: the gate opens, `/tlog/checkpoint` shows them. A witness that shows a checkpoint with
//! our own signature that is not in the newest committed tree ends signing.
//!
//! **As a witness.** The request is parsed, the note opened with the keys of its origin → compared with what stands for that origin → the
//! cosignature is made, and the step is a compare-and-swap in one commit with whatever else has arrived → answer.
//!
//! **A start.** The directory's lock → the schema must be what the migrations make → the newest head must be signed by the
//! log's key, and no record may lie beyond it: else nothing is served → the database's own bytes give the root again, which must be the newest head's → no
//! head may be known that contradicts the log ([`log::Stop`]) → the anchor must
//! hold the newest head or the one before, in the newest epoch, and remember no stop that is missing → the writer's epoch moves on in both → an
//! anchor that is one head behind is moved.
//! A newest head that has not its demanded cosignatures waits again, and the newest that has is served. What disagrees or is damaged is
//! served read-only as far as it can be read, with the reason in `/readyz` and in the refusal of every append.
//!
//! # Glossary
//!
//! **Record**: the two go.sum lines of a module version, a leaf of the tree. **Tree head**: size and root. **Note**: a text
//! with signatures. **Checkpoint**: a tree head under an origin that only this log has. **Cosignature**: a witness's signature of a
//! checkpoint, with a time. **Tile**: 256 neighbouring hashes of one level, or 256 records. **Edge**: the unfinished tiles on the
//! right. **Tower**: the same tree as a stack of complete subtrees, to compare with. **Anchor**: a small file that remembers
//! the highest head published. **Epoch**: which process may write.
//! **Evidence**: why a record is in the log. **Route**: what happens to modules of some paths. **Flight**: the work for one
//! module version, shared by all who wait for it. **Checkpoint**: a tree head under an origin of its own. **Witness**: who cosigns
//! checkpoints that grow out of what it cosigned. **Quorum**: how many witnesses are enough.

// CORE: pure.
pub mod dirhash;
pub mod gosum;
pub mod module;
pub mod note;
pub mod proof;
pub mod tlog;
pub mod visible;
pub(crate) mod xml;
// GROUND: the outside world, each behind one narrow type.
pub mod clock;
pub mod config;
pub(crate) mod crew;
pub(crate) mod files;
pub mod share;
pub mod store;
pub mod upstream;
// ENGINES: what Tallystick does.
pub mod audit;
pub mod gossip;
pub mod log;
pub mod mirror;
pub mod monitor;
pub mod notary;
pub mod witness;
// FACES: how people and programs reach it.
pub mod cli;
pub mod http;
