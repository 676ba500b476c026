-- The database of one log. What is the log's truth is insert-only, by trigger; the index is derived data and may be rebuilt.
-- Every body that is not text carries a checksum of its own, because SQLite's pages have none.

-- Who this log is. One row for ever: a database never changes its name or its key.
CREATE TABLE identity (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    name       TEXT NOT NULL,
    vkey       TEXT NOT NULL,
    index_key  BLOB NOT NULL CHECK (length(index_key) = 16),  -- secret of the keyed hash, so that nobody can craft colliding versions
    created_at INTEGER NOT NULL                               -- microseconds since 1970, UTC, as every time in here
) STRICT;

-- The epoch of the process that may write. An older writer that wakes up again finds a newer epoch and stops.
CREATE TABLE writer (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO writer (id, epoch) VALUES (1, 0);

-- Sealed records, 16 a row (store/sqlite/segment.rs). Record r is in row r / 16.
CREATE TABLE segment (
    segment_id INTEGER PRIMARY KEY,
    body       BLOB NOT NULL
) STRICT;

-- The right edge: the records of the last, unfinished level-0 tile, one a row.
CREATE TABLE tail (
    record_id INTEGER PRIMARY KEY,
    body      BLOB NOT NULL,
    evidence  TEXT NOT NULL
) STRICT;

-- Evidence of 256 sealed records, compressed together: it is read by people, not by builds.
CREATE TABLE evidence (
    tile_id INTEGER PRIMARY KEY,   -- number of the level-0 tile
    body    BLOB NOT NULL
) STRICT;

-- Full hash tiles of level 1 and up. Level 0 is in the segments; the roots of its segments, sixteen for each full tile, are
-- in here as level 64.
CREATE TABLE tile (
    tile_id INTEGER PRIMARY KEY,   -- level << 48 | number
    body    BLOB NOT NULL
) STRICT;

-- Every head that was ever signed.
CREATE TABLE head (
    size      INTEGER PRIMARY KEY CHECK (size >= 0),
    root      BLOB NOT NULL CHECK (length(root) = 32),
    note      TEXT NOT NULL,
    signed_at INTEGER NOT NULL
) STRICT;

-- What a person must look at. The digest keeps a client that repeats itself from filling the table.
CREATE TABLE incident (
    incident_id INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    digest      BLOB NOT NULL UNIQUE,
    detail      TEXT NOT NULL
) STRICT;

-- REPLACE deletes without asking the delete triggers, unless a connection has set recursive_triggers. A trigger before
-- the insert is asked by every connection. An incident that is there already is passed over.
CREATE TRIGGER identity_replace BEFORE INSERT ON identity WHEN EXISTS (SELECT 1 FROM identity)
    BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER writer_replace BEFORE INSERT ON writer WHEN EXISTS (SELECT 1 FROM writer)
    BEGIN SELECT RAISE(ABORT, 'the writer epoch only grows'); END;
CREATE TRIGGER segment_replace BEFORE INSERT ON segment WHEN EXISTS (SELECT 1 FROM segment WHERE segment_id = NEW.segment_id)
    BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
CREATE TRIGGER tail_replace BEFORE INSERT ON tail WHEN EXISTS (SELECT 1 FROM tail WHERE record_id = NEW.record_id)
    BEGIN SELECT RAISE(ABORT, 'tail is insert-only'); END;
CREATE TRIGGER evidence_replace BEFORE INSERT ON evidence WHEN EXISTS (SELECT 1 FROM evidence WHERE tile_id = NEW.tile_id)
    BEGIN SELECT RAISE(ABORT, 'evidence is insert-only'); END;
CREATE TRIGGER tile_replace BEFORE INSERT ON tile WHEN EXISTS (SELECT 1 FROM tile WHERE tile_id = NEW.tile_id)
    BEGIN SELECT RAISE(ABORT, 'tile is insert-only'); END;
CREATE TRIGGER incident_replace BEFORE INSERT ON incident
    WHEN EXISTS (SELECT 1 FROM incident WHERE incident_id = NEW.incident_id OR digest = NEW.digest)
    BEGIN SELECT RAISE(IGNORE); END;

CREATE TRIGGER identity_update BEFORE UPDATE ON identity BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER identity_delete BEFORE DELETE ON identity BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER writer_backwards BEFORE UPDATE ON writer WHEN NEW.epoch <= OLD.epoch
    BEGIN SELECT RAISE(ABORT, 'the writer epoch only grows'); END;
CREATE TRIGGER writer_delete BEFORE DELETE ON writer BEGIN SELECT RAISE(ABORT, 'the writer epoch only grows'); END;
CREATE TRIGGER segment_update BEFORE UPDATE ON segment BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
CREATE TRIGGER segment_delete BEFORE DELETE ON segment BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
CREATE TRIGGER tail_update BEFORE UPDATE ON tail BEGIN SELECT RAISE(ABORT, 'tail is insert-only'); END;
CREATE TRIGGER tail_delete BEFORE DELETE ON tail
    WHEN NOT EXISTS (SELECT 1 FROM segment WHERE segment_id = OLD.record_id / 16)
      OR NOT EXISTS (SELECT 1 FROM evidence WHERE tile_id = OLD.record_id / 256)
    BEGIN SELECT RAISE(ABORT, 'a tail row may go only when its segment and evidence exist'); END;
CREATE TRIGGER evidence_update BEFORE UPDATE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is insert-only'); END;
CREATE TRIGGER evidence_delete BEFORE DELETE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is insert-only'); END;
CREATE TRIGGER tile_update BEFORE UPDATE ON tile BEGIN SELECT RAISE(ABORT, 'tile is insert-only'); END;
CREATE TRIGGER tile_delete BEFORE DELETE ON tile BEGIN SELECT RAISE(ABORT, 'tile is insert-only'); END;
CREATE TRIGGER head_update BEFORE UPDATE ON head BEGIN SELECT RAISE(ABORT, 'head is insert-only'); END;
CREATE TRIGGER head_delete BEFORE DELETE ON head BEGIN SELECT RAISE(ABORT, 'head is insert-only'); END;
CREATE TRIGGER head_backwards BEFORE INSERT ON head WHEN EXISTS (SELECT 1 FROM head WHERE size >= NEW.size)
    BEGIN SELECT RAISE(ABORT, 'a head must be larger than every head before it'); END;
CREATE TRIGGER incident_update BEFORE UPDATE ON incident BEGIN SELECT RAISE(ABORT, 'incident is insert-only'); END;
CREATE TRIGGER incident_delete BEFORE DELETE ON incident BEGIN SELECT RAISE(ABORT, 'incident is insert-only'); END;

-- The index: sorted runs of (hash, record), merged in bounded steps (store/sqlite/index.rs).
CREATE TABLE index_run (
    run_id   INTEGER PRIMARY KEY,
    state    INTEGER NOT NULL CHECK (state IN (0, 1, 2)),  -- 0 being merged, 1 live, 2 to be swept
    first    INTEGER NOT NULL,                             -- the records [first, finish) are in it
    finish   INTEGER NOT NULL,
    bits     INTEGER NOT NULL                              -- 2^bits buckets, by the top bits of the hash
) STRICT;
CREATE TABLE index_bucket (
    bucket_id INTEGER PRIMARY KEY,                         -- run_id << 32 | bucket
    body      BLOB NOT NULL
) STRICT;
CREATE TABLE index_filter (
    part_id INTEGER PRIMARY KEY,                           -- run_id << 16 | part
    body    BLOB NOT NULL
) STRICT;
