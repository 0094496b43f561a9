-- Requests whose senders gave them a key, so that what was done for one is not done again. Kept for a day.
CREATE TABLE requests (
    tenant TEXT NOT NULL,
    actor TEXT NOT NULL,
    -- SHA-256 of the sender's key, as hexadecimal digits.
    request TEXT NOT NULL,
    -- SHA-256 of what was asked for.
    fingerprint TEXT NOT NULL,
    -- What was made or changed.
    subject TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant, actor, request)
);
CREATE INDEX requests_by_time ON requests (at);
