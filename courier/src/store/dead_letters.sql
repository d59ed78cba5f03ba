-- How often the next server has failed at a message.
ALTER TABLE message ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

-- What ended undeliverable, with its data: to be sent again or discarded. Its receipt stays in `message` meanwhile.
CREATE TABLE dead_letter (
    id    BLOB    NOT NULL PRIMARY KEY,
    since INTEGER NOT NULL,
    data  BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX dead_letter_since ON dead_letter (since);
