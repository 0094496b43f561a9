-- The change that made a function: what tells it from others that had its name before.
ALTER TABLE functions ADD COLUMN id BIGINT NOT NULL DEFAULT 0;
UPDATE functions SET id = COALESCE(
    (SELECT MAX(c.id) FROM changes c
     WHERE c.tenant = functions.tenant AND c.action = 'function.create'
         AND c.subject = 'functions/' || functions.name),
    version
);

-- What handlers are given and nobody is shown. Set for a function, by name.
CREATE TABLE secrets (
    tenant TEXT NOT NULL,
    function TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Encrypted with the host's key, for this row alone.
    sealed TEXT NOT NULL,
    set_at BIGINT NOT NULL,
    set_by TEXT NOT NULL,
    PRIMARY KEY (tenant, function, name),
    FOREIGN KEY (tenant, function) REFERENCES functions (tenant, name)
);
