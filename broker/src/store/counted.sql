-- A message is stored with those it is stored for among its holders, so that queueing it for one session writes two rows once
-- and its acknowledgement removes them once. An older program's rows are counted by the trigger, as before.
-- OR FAIL: with ABORT, SQLite copies each page such a statement touches, to undo it alone; whoever runs it undoes all.
ALTER TABLE queued ADD COLUMN counted INTEGER; -- 1: among the holders from the start

DROP TRIGGER queued_put;
CREATE TRIGGER queued_put AFTER INSERT ON queued WHEN new.counted IS NULL BEGIN
    UPDATE OR FAIL stored_publish SET holders = holders + 1 WHERE id = new.publish;
END;
DROP TRIGGER queued_gone;
CREATE TRIGGER queued_gone AFTER DELETE ON queued BEGIN
    DELETE FROM stored_publish WHERE id = old.publish AND holders <= 1;
    UPDATE OR FAIL stored_publish SET holders = holders - 1 WHERE id = old.publish;
END;
