-- A second copy of what a damaged page could hide. A b-tree whose newest row is lost looks like a
-- shorter one, and a witness that forgets can sign two histories. Triggers write the copy in the
-- transaction of the first one, on other pages. The program compares the two before it decides.

CREATE TABLE checkpoint_copy (
    origin      TEXT PRIMARY KEY,
    size        INTEGER NOT NULL CHECK (size >= 0),
    root        BLOB NOT NULL CHECK (length(root) = 32),
    note        TEXT NOT NULL,
    cosigned_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO checkpoint_copy (origin, size, root, note, cosigned_at)
    SELECT origin, size, root, note, cosigned_at FROM checkpoint;

CREATE TRIGGER checkpoint_inserted AFTER INSERT ON checkpoint BEGIN
    INSERT INTO checkpoint_copy (origin, size, root, note, cosigned_at)
        VALUES (NEW.origin, NEW.size, NEW.root, NEW.note, NEW.cosigned_at);
END;
CREATE TRIGGER checkpoint_updated AFTER UPDATE ON checkpoint BEGIN
    UPDATE checkpoint_copy
        SET size = NEW.size, root = NEW.root, note = NEW.note, cosigned_at = NEW.cosigned_at
        WHERE origin = NEW.origin;
END;
CREATE TRIGGER checkpoint_copy_backwards BEFORE UPDATE ON checkpoint_copy
    WHEN NEW.origin <> OLD.origin OR NEW.size < OLD.size
      OR NEW.size = OLD.size AND NEW.root <> OLD.root
    BEGIN SELECT RAISE(ABORT, 'a witness only goes forward'); END;
CREATE TRIGGER checkpoint_copy_delete BEFORE DELETE ON checkpoint_copy
    BEGIN SELECT RAISE(ABORT, 'a witness only goes forward'); END;

CREATE TABLE evidence_copy (
    evidence_id INTEGER PRIMARY KEY,
    origin      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    size        INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    standing    TEXT NOT NULL,
    offered     TEXT NOT NULL,
    seen_at     INTEGER NOT NULL
) STRICT;
INSERT INTO evidence_copy (evidence_id, origin, kind, size, digest, standing, offered, seen_at)
    SELECT evidence_id, origin, kind, size, digest, standing, offered, seen_at FROM evidence;

CREATE TRIGGER evidence_inserted AFTER INSERT ON evidence BEGIN
    INSERT INTO evidence_copy (evidence_id, origin, kind, size, digest, standing, offered, seen_at)
        VALUES (NEW.evidence_id, NEW.origin, NEW.kind, NEW.size, NEW.digest, NEW.standing, NEW.offered,
            NEW.seen_at);
END;
CREATE TRIGGER evidence_copy_update BEFORE UPDATE ON evidence_copy
    BEGIN SELECT RAISE(ABORT, 'evidence is insert-only'); END;
CREATE TRIGGER evidence_copy_delete BEFORE DELETE ON evidence_copy
    BEGIN SELECT RAISE(ABORT, 'evidence is insert-only'); END;
