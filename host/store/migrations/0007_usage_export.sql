-- How far a ledger, by its id, has been taken by the collector outside: moved when it has said so, so that no
-- record is passed over.
CREATE TABLE usage_export_cursors (
    ledger TEXT NOT NULL PRIMARY KEY,
    segment BIGINT NOT NULL,
    position BIGINT NOT NULL
);
