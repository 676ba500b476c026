-- Segments lie in two files beside the database (store/sqlite/replica/segments.rs). What is in their table is moved there by who
-- opens it, and the table is gone then.
ALTER TABLE segment RENAME TO segment_to_move;

-- Where the last of them ends. Nothing of the files counts that is not below this.
ALTER TABLE edge ADD COLUMN segments_end INTEGER NOT NULL DEFAULT 0 CHECK (segments_end >= 0);

DROP TRIGGER edge_backwards;
CREATE TRIGGER edge_backwards BEFORE UPDATE ON edge
    WHEN NEW.size < OLD.size OR NEW.id <> OLD.id OR NEW.segments_end < OLD.segments_end
      OR NEW.size = OLD.size AND NEW.body <> OLD.body
    BEGIN SELECT RAISE(ABORT, 'the edge only moves forward'); END;
