//! Tallystick: a private Go checksum database.
//!
//! A company runs one binary, and its builds check every Go module, public and private, against a transparency log that
//! the company controls and anyone inside can audit. This page is the architecture. How to run it is in README.md.
//!
//! # Start here
//!
//! | to see | open |
//! |---|---|
//! | the protocol that the `go` command speaks | [`http::sumdb`], and [`http::ChecksumDatabase`] behind it |
//! | why no record is lost and no tree forks | `log::sequencer`: a commit, step by step; `log::start`: who may sign |
//! | the tree itself | [`tlog`], which needs nothing else of this crate |
//! | when bytes of another log are believed | [`mirror`], and its `verify` |
//! | where a line comes from | [`notary`] |
//! | what the operator can say | [`config::reference`] |
//! | which parts run, and who owns them | `cli::serve` and `cli::engines` |
//! | how a reload replaces them | `cli::running`, and `notary::routing` for look-ups under way |
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
//! | | [`gosum`] | go.sum lines, and go.sum files as `go` reads them |
//! | | `xml` | text in XML |
//! | | [`visible`] | text of others as people may see it |
//! | | [`proof`] | the proof of a module version in a file, verified with keys alone |
//! | ground | [`clock`] | what time it is |
//! | | `crew` | threads for work in many small pieces |
//! | | `files` | files that others have made |
//! | | [`share`] | what clients use together, with a share for each |
//! | | [`source`] | URLs with credentials, GOPROXY lists: parsed once, used everywhere |
//! | | [`route`] | which module goes where: declared by the configuration, followed by whoever records modules |
//! | | [`config`] | what the operator said, and where |
//! | | [`store`] | one log, one database, beside it the records of a full mirror; one lock |
//! | | [`upstream`] | clients of other servers: module proxies, version control, checksum databases |
//! | engines | [`log`] | the own log: sequencer, right edge, anchor, fsck |
//! | | [`mirror`] | a remote log, verified |
//! | | [`notary`] | may this module enter, where does its line come from: look-up misses end here |
//! | | [`witness`] | a witness of other logs, and the own log before its witnesses |
//! | | [`audit`] | a full check of any checksum database, by what it serves |
//! | | `check` | what a build uses, held against a log: go.sum lines, downloads, vendored files, programs |
//! | | [`gossip`] | signed heads that others were shown, compared with ours: nobody is shown another log unnoticed |
//! | | [`monitor`] | follows logs, and tells what happens in them |
//! | | [`operate`] | the use cases that the command line and the control socket share |
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
//! 13. The configuration in force is that of one file at one moment. After a reload no result of a
//!     route that it changed enters the log:
//!     `reload::no_interleaving_appends_a_result_of_a_route_that_was_changed`.
//!
//! # Walkthroughs
//!
//! Four ways through the house. The module documents hold the others: a start ([`log`]), a proof
//! ([`proof`]), a head and its witnesses ([`witness`]), a head that somebody was shown ([`gossip`]),
//! an export and an import ([`mirror`]), an audit ([`audit`]), a monitor's poll ([`monitor`]).
//!
//! **A look-up that hits.** `http::site` sees the request → [`http::sumdb`] finds the log by its
//! name and parses the path → the log's [`log::Snapshot`] finds the record number in the index and
//! confirms it against the record → record number, lines and the same snapshot's head are one
//! answer. What was asked for lately comes from memory.
//!
//! **A look-up that misses.** [`notary`]: everybody who asks for one module version joins one
//! flight → the first route that matches the path decides. A checksum database: [`mirror`] looks
//! the version up, proves the record under a head that is consistent with every head seen before,
//! and keeps the tiles. A source: [`upstream`] fetches zip and go.mod, or runs the `go` command in
//! a scratch directory, and [`dirhash`] hashes them. → Both lines and the evidence become a
//! candidate, and the candidates of a moment one append → [`log`] commits it → answer.
//!
//! **A commit.** The sequencer, the only writer, takes the candidates that have arrived → begins a
//! transaction, in which the newest head and the writer's epoch must be the ones that it knows →
//! sorts out new, present and conflicting records → grows the tree in two ways that must agree, the
//! right edge by the leaves as they came and the tower by the lines as they will be stored → signs →
//! reads back what it encoded, commits, synced → moves the anchor, synced → publishes, where
//! cosignatures are demanded after they came → answers. It may stop anywhere: the next start
//! continues, with the same code.
//!
//! **A window of a full mirror.** [`mirror`] has a signed head, compared with every head before →
//! it fetches a hash tile of level 1 and verifies it up to the signed root → it fetches the 256 data
//! tiles below, hashes each and holds it against its hash there, then packs it → segments, synced →
//! one transaction. With the last window, when the root of everything stored is the signed root, the
//! head. Look-ups and tiles are answered from there first.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | record | the two go.sum lines of a module version: a leaf of the tree |
//! | tree head | a size and a root |
//! | note | a text with signatures |
//! | checkpoint | a tree head under an origin of its own, as a signed note |
//! | cosignature | a witness's signature of a checkpoint, with a time |
//! | tile | 256 neighboring hashes of one level, or 256 records |
//! | right edge | the unfinished tiles at the right of the tree |
//! | tower | the same tree as a stack of complete subtrees, to compare with |
//! | anchor | a small file that remembers the highest head ever published |
//! | epoch | which process may write: a fencing token |
//! | evidence | why a record is in the log |
//! | route | where modules of some paths come from |
//! | flight | the work for one module version, shared by everybody who waits for it |
//! | witness | cosigns only checkpoints that grew out of the last one it cosigned |
//! | quorum | how many witnesses are enough |

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
pub mod route;
pub mod share;
pub mod source;
pub mod store;
pub mod upstream;
// ENGINES: what Tallystick does.
pub mod audit;
pub(crate) mod check;
pub mod gossip;
pub mod log;
pub mod mirror;
pub mod monitor;
pub mod notary;
pub mod operate;
pub mod witness;
// FACES: how people and programs reach it.
pub mod cli;
pub mod http;
