-- What outlives the message server: sessions with an expiry, their subscriptions, what waits for them, and the
-- messages themselves, each once however many refer to it.

CREATE TABLE session (
    id         INTEGER PRIMARY KEY,
    principal  TEXT NOT NULL,
    client_id  TEXT,               -- NULL: a device has one session
    expiry_ms  INTEGER NOT NULL,   -- how long it outlives its connection
    ends_ms    INTEGER,            -- when it ends; NULL while it is connected
    sent_below INTEGER NOT NULL    -- what waits with a lower seq may have been sent
) STRICT;
CREATE INDEX session_of ON session (principal);

CREATE TABLE subscription (
    session             INTEGER NOT NULL,
    filter              TEXT NOT NULL,      -- as the client wrote it, $share included
    qos                 INTEGER NOT NULL,
    no_local            INTEGER NOT NULL,
    retain_as_published INTEGER NOT NULL,
    subscription_id     INTEGER,
    PRIMARY KEY (session, filter)
) STRICT, WITHOUT ROWID;

CREATE TABLE stored_publish (
    id         INTEGER PRIMARY KEY,
    holders    INTEGER NOT NULL DEFAULT 0,  -- rows of queued and retained that refer to it
    topic      TEXT NOT NULL,
    qos        INTEGER NOT NULL,
    retain     INTEGER NOT NULL,
    expires_ms INTEGER,
    properties TEXT,                        -- JSON of store::publish::Properties
    payload    BLOB NOT NULL
) STRICT;

CREATE TABLE queued (
    session          INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    publish          INTEGER NOT NULL,
    bytes            INTEGER NOT NULL,
    qos              INTEGER NOT NULL,      -- the lower of the publish's and the subscription's
    retain           INTEGER NOT NULL,      -- as this subscriber sees it
    subscription_ids TEXT NOT NULL,         -- numbers with a space between
    received         INTEGER NOT NULL DEFAULT 0, -- QoS 2: PUBREC came
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;

-- Incoming QoS 2 identifiers whose message is taken and whose PUBREL has not come.
CREATE TABLE received (
    session   INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (session, packet_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER queued_put AFTER INSERT ON queued BEGIN
    UPDATE stored_publish SET holders = holders + 1 WHERE id = new.publish;
END;
CREATE TRIGGER queued_gone AFTER DELETE ON queued BEGIN
    UPDATE stored_publish SET holders = holders - 1 WHERE id = old.publish;
    DELETE FROM stored_publish WHERE id = old.publish AND holders <= 0;
END;
CREATE TRIGGER session_gone AFTER DELETE ON session BEGIN
    DELETE FROM subscription WHERE session = old.id;
    DELETE FROM queued WHERE session = old.id;
    DELETE FROM received WHERE session = old.id;
END;
