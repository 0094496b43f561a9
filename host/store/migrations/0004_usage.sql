-- Usage by the hour, from the ledgers of hosts. Hours are counted since 1970, UTC.
CREATE TABLE usage_hours (
    tenant TEXT NOT NULL,
    hour BIGINT NOT NULL,
    function TEXT NOT NULL,
    revision BIGINT NOT NULL,
    invocations BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cold BIGINT NOT NULL,
    not_billed BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    memory_mib_ms BIGINT NOT NULL,
    cpu_us BIGINT NOT NULL,
    inference_cpu_us BIGINT NOT NULL,
    request_bytes BIGINT NOT NULL,
    response_bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant, hour, function, revision)
);

-- How far a ledger, by its id, is in `usage_hours`: moved in the transaction that adds to it, so that every
-- record is counted once.
CREATE TABLE usage_cursors (
    ledger TEXT NOT NULL PRIMARY KEY,
    segment BIGINT NOT NULL,
    position BIGINT NOT NULL
);

-- The most that a tenant may use, as JSON; null: no quotas.
ALTER TABLE tenants ADD COLUMN quotas TEXT;

-- What a tenant pays, by the name that the host's configuration gives to the prices; null: the default.
ALTER TABLE tenants ADD COLUMN plan TEXT;
