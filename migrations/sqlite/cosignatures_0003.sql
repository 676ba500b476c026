-- A second copy of what a damaged page could hide or change. Triggers write it in the transaction
-- of the first one, and it lies on other pages. The program reads both.

-- Of a cosignature, the program takes the copy that verifies.
CREATE TABLE cosignature_copy (
    witness     TEXT NOT NULL,
    size        INTEGER NOT NULL CHECK (size >= 0),
    root        BLOB NOT NULL CHECK (length(root) = 32),
    line        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (witness, size)
) STRICT, WITHOUT ROWID;
INSERT INTO cosignature_copy (witness, size, root, line, received_at)
    SELECT witness, size, root, line, received_at FROM cosignature;

CREATE TRIGGER cosignature_inserted AFTER INSERT ON cosignature BEGIN
    INSERT OR REPLACE INTO cosignature_copy (witness, size, root, line, received_at)
        VALUES (NEW.witness, NEW.size, NEW.root, NEW.line, NEW.received_at);
END;
CREATE TRIGGER cosignature_deleted AFTER DELETE ON cosignature BEGIN
    DELETE FROM cosignature_copy WHERE witness = OLD.witness AND size = OLD.size;
END;

-- Nothing verifies this number, so the two copies must agree.
CREATE TABLE demanded_copy (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    after INTEGER NOT NULL CHECK (after >= 0)
) STRICT;
INSERT INTO demanded_copy (id, after) SELECT id, after FROM demanded;

CREATE TRIGGER demanded_inserted AFTER INSERT ON demanded BEGIN
    INSERT INTO demanded_copy (id, after) VALUES (NEW.id, NEW.after);
END;
CREATE TRIGGER demanded_deleted AFTER DELETE ON demanded BEGIN
    DELETE FROM demanded_copy;
END;
