-- What a witness remembers: for each log the newest checkpoint that it cosigned. Nothing in here may ever go back, and what is
-- lost cannot be fetched again: a witness that forgets can sign two histories.

-- Which witness this is. One row for ever: a database never changes its key.
CREATE TABLE identity (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    vkey       TEXT NOT NULL,
    created_at INTEGER NOT NULL                               -- microseconds since 1970, UTC, as every time in here
) STRICT;

CREATE TABLE checkpoint (
    origin      TEXT PRIMARY KEY,
    size        INTEGER NOT NULL CHECK (size >= 0),
    root        BLOB NOT NULL CHECK (length(root) = 32),
    note        TEXT NOT NULL,                                -- the log's verified signatures and our cosignature
    cosigned_at INTEGER NOT NULL
) STRICT;

-- Two signed checkpoints that no single log can have, or a request whose proof did not hold. Bounded by the program.
CREATE TABLE evidence (
    evidence_id INTEGER PRIMARY KEY,
    origin      TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('fork', 'inconsistent')),
    size        INTEGER NOT NULL,
    digest      BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    standing    TEXT NOT NULL,                                -- the checkpoint that we cosigned
    offered     TEXT NOT NULL,                                -- what came, byte for byte
    seen_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX evidence_by_log ON evidence (origin, kind);

CREATE TRIGGER identity_replace BEFORE INSERT ON identity WHEN EXISTS (SELECT 1 FROM identity)
    BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER identity_update BEFORE UPDATE ON identity BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER identity_delete BEFORE DELETE ON identity BEGIN SELECT RAISE(ABORT, 'identity is insert-only'); END;
CREATE TRIGGER checkpoint_backwards BEFORE UPDATE ON checkpoint
    WHEN NEW.origin <> OLD.origin OR NEW.size < OLD.size OR NEW.size = OLD.size AND NEW.root <> OLD.root
    BEGIN SELECT RAISE(ABORT, 'a witness only goes forward'); END;
CREATE TRIGGER checkpoint_replace BEFORE INSERT ON checkpoint WHEN EXISTS (SELECT 1 FROM checkpoint WHERE origin = NEW.origin)
    BEGIN SELECT RAISE(ABORT, 'a witness only goes forward'); END;
CREATE TRIGGER checkpoint_delete BEFORE DELETE ON checkpoint BEGIN SELECT RAISE(ABORT, 'a witness only goes forward'); END;
CREATE TRIGGER evidence_update BEFORE UPDATE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is insert-only'); END;
CREATE TRIGGER evidence_delete BEFORE DELETE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is insert-only'); END;
