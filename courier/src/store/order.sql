-- How far each sender's envelopes have been taken, by their place in its outbox.
CREATE TABLE reached (
    origin TEXT    PRIMARY KEY,
    seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
