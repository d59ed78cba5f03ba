-- What is counted for quotas: bytes of head and data.
ALTER TABLE message ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
UPDATE message SET size = length(head) + ifnull(length(data), 0) WHERE ended_at IS NULL;

-- What a push with a sender's id says, hashed: the same id with another content is refused.
ALTER TABLE message ADD COLUMN fingerprint BLOB;

-- Of the undelivered pushes of one sender to one hop with one key only the newest waits.
ALTER TABLE message ADD COLUMN supersede_key TEXT;
CREATE INDEX message_superseding ON message (hop, source, supersede_key)
    WHERE supersede_key IS NOT NULL AND ended_at IS NULL;

-- Why it ended so, as JSON, where the status does not say it all.
ALTER TABLE message ADD COLUMN cause TEXT;

-- A sender's id is used once per kind of message, whichever server it came in by. Older rows may have it twice.
UPDATE message SET sender_id = NULL WHERE sender_id IS NOT NULL
    AND seq NOT IN (SELECT min(seq) FROM message WHERE sender_id IS NOT NULL GROUP BY source, sender_id, kind);
DROP INDEX message_sender;
CREATE UNIQUE INDEX message_sender ON message (source, sender_id, kind) WHERE sender_id IS NOT NULL;
