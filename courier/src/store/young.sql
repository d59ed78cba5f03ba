-- What waits for another server mostly ends within moments. Such a row is young (1) and in no index of what waits until it
-- has grown old: `young.rs`. An older program puts none in and finds those that are there, if slowly.
ALTER TABLE message ADD COLUMN young INTEGER;

-- No row up to here that has not ended is young; one row.
CREATE TABLE young (after INTEGER NOT NULL) STRICT;
INSERT INTO young SELECT ifnull(max(seq), 0) FROM message;

DROP INDEX message_waiting;
CREATE INDEX message_waiting ON message (hop, seq)
    WHERE ended_at IS NULL AND answered_at IS NULL AND young IS NULL;
DROP INDEX message_due;
CREATE INDEX message_due ON message (due_at, kind) WHERE ended_at IS NULL AND young IS NULL;
