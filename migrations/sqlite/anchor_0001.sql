-- The anchor of one log: the highest head ever published and the epoch of its writer. It is worth something only
-- where a restore or a clone of the log's database does not bring it back too: on another disk.
CREATE TABLE anchor (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    vkey       TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    size       INTEGER NOT NULL CHECK (size >= 0),
    root       BLOB NOT NULL CHECK (length(root) = 32),
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TRIGGER anchor_backwards BEFORE UPDATE ON anchor
    WHEN NEW.size < OLD.size OR NEW.epoch < OLD.epoch OR NEW.vkey <> OLD.vkey
      OR NEW.size = OLD.size AND NEW.root <> OLD.root
    BEGIN SELECT RAISE(ABORT, 'the anchor only moves forward'); END;
-- REPLACE does not ask the delete trigger.
CREATE TRIGGER anchor_replace BEFORE INSERT ON anchor WHEN EXISTS (SELECT 1 FROM anchor)
    BEGIN SELECT RAISE(ABORT, 'the anchor only moves forward'); END;
CREATE TRIGGER anchor_delete BEFORE DELETE ON anchor BEGIN SELECT RAISE(ABORT, 'the anchor only moves forward'); END;
