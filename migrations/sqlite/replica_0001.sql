-- The full mirror of one remote log. Everything in here was verified under a signed head before it was written, and all of it but
-- the heads can be fetched again. What is verified is insert-only, by trigger; the index is derived data and may be rebuilt.
-- Every body that is not text carries a checksum of its own, because SQLite's pages have none.

-- Which log this is. One row for ever: a database never changes its name or its key.
CREATE TABLE identity (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    name       TEXT NOT NULL,
    vkey       TEXT NOT NULL,
    index_key  BLOB NOT NULL CHECK (length(index_key) = 24),  -- checksum, then the secret of the keyed hash
    created_at INTEGER NOT NULL                               -- microseconds since 1970, UTC, as every time in here
) STRICT;

-- What module paths and versions of this log look like, for their compression. Written once, from the first tiles.
CREATE TABLE dictionary (
    dictionary_id INTEGER PRIMARY KEY CHECK (dictionary_id = 1),
    body          BLOB NOT NULL
) STRICT;

-- Records of full level-0 tiles, 16 a row (store/sqlite/packed.rs). Record r is in row r / 16.
CREATE TABLE segment (
    segment_id INTEGER PRIMARY KEY,
    body       BLOB NOT NULL
) STRICT;

-- Full hash tiles of level 1 and up. Level 0 is computed from the records.
CREATE TABLE tile (
    tile_id INTEGER PRIMARY KEY,   -- level << 48 | number
    body    BLOB NOT NULL
) STRICT;

-- The right edge of the verified prefix (store/sqlite/replica/edge.rs): one row, replaced by each commit. Its size is the
-- number of records that are verified and can be read.
CREATE TABLE edge (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL CHECK (size >= 0),
    body BLOB NOT NULL
) STRICT;

-- Signed heads whose every record is in here. The largest is the newest.
CREATE TABLE head (
    size    INTEGER PRIMARY KEY CHECK (size >= 0),
    root    BLOB NOT NULL CHECK (length(root) = 32),
    note    TEXT NOT NULL,                                    -- byte for byte
    seen_at INTEGER NOT NULL
) STRICT;

-- REPLACE deletes without asking the delete triggers, unless a connection has set recursive_triggers. A trigger before
-- the insert is asked by every connection.
CREATE TRIGGER identity_replace BEFORE INSERT ON identity WHEN EXISTS (SELECT 1 FROM identity)
    BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER dictionary_replace BEFORE INSERT ON dictionary WHEN EXISTS (SELECT 1 FROM dictionary)
    BEGIN SELECT RAISE(ABORT, 'dictionary is insert-only'); END;
CREATE TRIGGER segment_replace BEFORE INSERT ON segment WHEN EXISTS (SELECT 1 FROM segment WHERE segment_id = NEW.segment_id)
    BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
CREATE TRIGGER tile_replace BEFORE INSERT ON tile WHEN EXISTS (SELECT 1 FROM tile WHERE tile_id = NEW.tile_id)
    BEGIN SELECT RAISE(ABORT, 'tile is insert-only'); END;
CREATE TRIGGER edge_replace BEFORE INSERT ON edge WHEN EXISTS (SELECT 1 FROM edge)
    BEGIN SELECT RAISE(ABORT, 'the edge only moves forward'); END;
CREATE TRIGGER head_backwards BEFORE INSERT ON head WHEN EXISTS (SELECT 1 FROM head WHERE size >= NEW.size)
    BEGIN SELECT RAISE(ABORT, 'a head must be larger than every head before it'); END;
-- Whoever serves a head serves every record under it.
CREATE TRIGGER head_ahead BEFORE INSERT ON head WHEN NEW.size > (SELECT coalesce(max(size), 0) FROM edge)
    BEGIN SELECT RAISE(ABORT, 'a head must not be ahead of the records'); END;

CREATE TRIGGER identity_update BEFORE UPDATE ON identity BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER identity_delete BEFORE DELETE ON identity BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER dictionary_update BEFORE UPDATE ON dictionary BEGIN SELECT RAISE(ABORT, 'dictionary is insert-only'); END;
CREATE TRIGGER dictionary_delete BEFORE DELETE ON dictionary BEGIN SELECT RAISE(ABORT, 'dictionary is insert-only'); END;
CREATE TRIGGER segment_update BEFORE UPDATE ON segment BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
CREATE TRIGGER segment_delete BEFORE DELETE ON segment BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
CREATE TRIGGER tile_update BEFORE UPDATE ON tile BEGIN SELECT RAISE(ABORT, 'tile is insert-only'); END;
CREATE TRIGGER tile_delete BEFORE DELETE ON tile BEGIN SELECT RAISE(ABORT, 'tile is insert-only'); END;
CREATE TRIGGER edge_backwards BEFORE UPDATE ON edge WHEN NEW.size <= OLD.size OR NEW.id <> OLD.id
    BEGIN SELECT RAISE(ABORT, 'the edge only moves forward'); END;
CREATE TRIGGER edge_delete BEFORE DELETE ON edge BEGIN SELECT RAISE(ABORT, 'the edge only moves forward'); END;
CREATE TRIGGER head_update BEFORE UPDATE ON head BEGIN SELECT RAISE(ABORT, 'head is insert-only'); END;
CREATE TRIGGER head_delete BEFORE DELETE ON head BEGIN SELECT RAISE(ABORT, 'head is insert-only'); END;

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
