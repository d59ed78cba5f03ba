-- Operations up to this one are forgotten.
CREATE TABLE operation_forgotten (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    n   INTEGER NOT NULL
) STRICT;
INSERT INTO operation_forgotten (one, n) VALUES (1, 0);
-- What is not answered yet, so that looking for it does not read all there is.
CREATE INDEX dispatch_pending ON dispatch (operation) WHERE status IS NULL;
CREATE INDEX operation_time ON operation (time, n);
