-- What is kept of one remote log that we ask on demand: only what was verified, and only what was asked for. All of it
-- can be fetched again, except the heads that were seen: they are what the log is held to.

-- Which log this is. One row for ever: a database never changes its name or its key.
CREATE TABLE identity (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    name       TEXT NOT NULL,
    vkey       TEXT NOT NULL,
    created_at INTEGER NOT NULL                               -- microseconds since 1970, UTC, as every time in here
) STRICT;

-- Signed heads, all consistent with each other. The largest is the newest.
CREATE TABLE head (
    size    INTEGER PRIMARY KEY CHECK (size >= 0),
    root    BLOB NOT NULL CHECK (length(root) = 32),
    note    TEXT NOT NULL,                                    -- byte for byte
    seen_at INTEGER NOT NULL
) STRICT;

-- Verified hash tiles of height 8, for each the widest that was verified: narrower ones are its beginning.
CREATE TABLE tile (
    level  INTEGER NOT NULL CHECK (level BETWEEN 0 AND 7),
    number INTEGER NOT NULL CHECK (number >= 0),
    width  INTEGER NOT NULL CHECK (width BETWEEN 1 AND 256),
    body   BLOB NOT NULL CHECK (length(body) = 32 * width),
    sum    INTEGER NOT NULL,                                  -- xxh3 of the body
    PRIMARY KEY (level, number, width)
) STRICT;

-- Records, each with the head under which its inclusion was verified.
CREATE TABLE record (
    record_id INTEGER PRIMARY KEY CHECK (record_id >= 0),
    module    TEXT NOT NULL UNIQUE,                           -- path@version
    body      TEXT NOT NULL,                                  -- the two go.sum lines
    head_size INTEGER NOT NULL REFERENCES head (size),
    sum       INTEGER NOT NULL                                -- xxh3 of module, newline, body
) STRICT;

-- A signed contradiction. With a row in here the log is not believed any more.
CREATE TABLE misbehaviour (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    text    TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER identity_update BEFORE UPDATE ON identity BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER identity_delete BEFORE DELETE ON identity BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER head_update BEFORE UPDATE ON head BEGIN SELECT RAISE(ABORT, 'head is insert-only'); END;
CREATE TRIGGER head_delete BEFORE DELETE ON head BEGIN SELECT RAISE(ABORT, 'head is insert-only'); END;
CREATE TRIGGER record_update BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'record is insert-only'); END;
CREATE TRIGGER record_delete BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'record is insert-only'); END;
CREATE TRIGGER misbehaviour_update BEFORE UPDATE ON misbehaviour BEGIN SELECT RAISE(ABORT, 'misbehaviour is insert-only'); END;
CREATE TRIGGER misbehaviour_delete BEFORE DELETE ON misbehaviour BEGIN SELECT RAISE(ABORT, 'misbehaviour is insert-only'); END;
CREATE TRIGGER tile_update BEFORE UPDATE ON tile BEGIN SELECT RAISE(ABORT, 'tile is insert-only'); END;
-- Every new head has new partial tiles. A narrow one may go when a wider one begins with the same hashes.
CREATE TRIGGER tile_delete BEFORE DELETE ON tile
    WHEN NOT EXISTS (
        SELECT 1 FROM tile AS wider
        WHERE wider.level = OLD.level AND wider.number = OLD.number AND wider.width > OLD.width
            AND substr(wider.body, 1, length(OLD.body)) = OLD.body
    )
    BEGIN SELECT RAISE(ABORT, 'tile is insert-only'); END;
