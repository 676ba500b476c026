-- A second copy of what a damaged page could hide: a b-tree whose newest row is lost looks like a
-- shorter one. Triggers write the copy in the transaction of the first one, on other pages, and the
-- program compares the two.

-- The newest head.
CREATE TABLE newest_head (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    size    INTEGER NOT NULL CHECK (size >= 0),
    root    BLOB NOT NULL CHECK (length(root) = 32),
    note    TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;
INSERT INTO newest_head (id, size, root, note, seen_at)
    SELECT 1, size, root, note, seen_at FROM head ORDER BY size DESC LIMIT 1;

CREATE TRIGGER head_inserted AFTER INSERT ON head BEGIN
    INSERT INTO newest_head (id, size, root, note, seen_at)
        VALUES (1, NEW.size, NEW.root, NEW.note, NEW.seen_at)
        ON CONFLICT (id) DO UPDATE SET
            size = excluded.size, root = excluded.root, note = excluded.note, seen_at = excluded.seen_at;
END;
CREATE TRIGGER newest_head_backwards BEFORE UPDATE ON newest_head WHEN NEW.size <= OLD.size
    BEGIN SELECT RAISE(ABORT, 'a head must be larger than every head before it'); END;
CREATE TRIGGER newest_head_delete BEFORE DELETE ON newest_head
    BEGIN SELECT RAISE(ABORT, 'the newest head only moves forward'); END;

-- How far the records go. The body of the edge has a checksum; what is kept twice says that it is
-- the newest body.
CREATE TABLE edge_copy (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    size         INTEGER NOT NULL CHECK (size >= 0),
    segments_end INTEGER NOT NULL CHECK (segments_end >= 0)
) STRICT;
INSERT INTO edge_copy (id, size, segments_end) SELECT id, size, segments_end FROM edge;

CREATE TRIGGER edge_inserted AFTER INSERT ON edge BEGIN
    INSERT INTO edge_copy (id, size, segments_end) VALUES (NEW.id, NEW.size, NEW.segments_end);
END;
CREATE TRIGGER edge_updated AFTER UPDATE ON edge BEGIN
    UPDATE edge_copy SET size = NEW.size, segments_end = NEW.segments_end;
END;
CREATE TRIGGER edge_copy_backwards BEFORE UPDATE ON edge_copy
    WHEN NEW.size < OLD.size OR NEW.id <> OLD.id OR NEW.segments_end < OLD.segments_end
    BEGIN SELECT RAISE(ABORT, 'the edge only moves forward'); END;
CREATE TRIGGER edge_copy_delete BEFORE DELETE ON edge_copy
    BEGIN SELECT RAISE(ABORT, 'the edge only moves forward'); END;
