-- What each sender has uploaded. Not an index of `uploads`, because it is written behind it: `by_source.rs`.
DROP INDEX uploads_by_source;
CREATE TABLE uploads_of_source (
    app    TEXT    NOT NULL,
    source TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (app, source, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO uploads_of_source SELECT app, source, seq FROM uploads ORDER BY app, source, seq;
CREATE TRIGGER uploads_of_source_deleted AFTER DELETE ON uploads BEGIN
    DELETE FROM uploads_of_source WHERE app = old.app AND source = old.source AND seq = old.seq;
END;

-- How far `uploads_of_source` and `latest` have followed; one row.
CREATE TABLE followed (
    upto INTEGER NOT NULL
) STRICT;
INSERT INTO followed SELECT coalesce(max(seq), 0) FROM uploads;
