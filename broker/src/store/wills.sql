-- The wills of durable sessions, from CONNECT until they are published or discarded.

CREATE TABLE will (
    publish   INTEGER PRIMARY KEY,
    session   INTEGER NOT NULL,
    principal TEXT NOT NULL,
    delay_ms  INTEGER NOT NULL,
    expiry_ms INTEGER,           -- of the message, from its publication
    due_ms    INTEGER            -- when it is to be published; NULL while the session is connected
) STRICT;
CREATE INDEX will_of_session ON will (session);
CREATE INDEX will_of ON will (principal);

CREATE TRIGGER will_put AFTER INSERT ON will BEGIN
    UPDATE stored_publish SET holders = holders + 1 WHERE id = new.publish;
END;
CREATE TRIGGER will_gone AFTER DELETE ON will BEGIN
    UPDATE stored_publish SET holders = holders - 1 WHERE id = old.publish;
    DELETE FROM stored_publish WHERE id = old.publish AND holders <= 0;
END;
