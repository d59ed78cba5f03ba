-- Receipts forgotten so far: what has ended, less these, is what is kept.
CREATE TABLE forgotten (receipts INTEGER NOT NULL) STRICT;
INSERT INTO forgotten
    SELECT ifnull((SELECT sum(count) FROM ledger WHERE status > 0), 0)
        - (SELECT count(*) FROM message WHERE ended_at IS NOT NULL);
