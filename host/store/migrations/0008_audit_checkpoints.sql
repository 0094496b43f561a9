-- Up to which change a tenant's record was forgotten, with what the host signed then. The first change stays.
CREATE TABLE audit_checkpoints (
    tenant TEXT NOT NULL,
    -- The last change that is gone, and its hash, to which the next one is chained.
    id BIGINT NOT NULL,
    hash TEXT NOT NULL,
    at BIGINT NOT NULL,
    -- The public key, and the signature.
    public_key TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (tenant)
);
