-- What waits for third parties' services, by sender and in order: each sender has an order of its own there.
CREATE INDEX message_service ON message (hop, source, seq)
    WHERE hop >= 'ext/' AND hop < 'ext0' AND ended_at IS NULL AND answered_at IS NULL;
