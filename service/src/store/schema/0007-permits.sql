-- Leave for a developer to put apps onto a device. At most one of a device is in force: what has neither expired nor ended.
CREATE TABLE permit (
    id TEXT PRIMARY KEY,
    device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    catalog TEXT NOT NULL REFERENCES catalog (name) ON DELETE CASCADE,
    developer TEXT NOT NULL,
    note TEXT NOT NULL,
    issuer TEXT NOT NULL,
    -- No two of a device have the same: it takes none that is not newer than all it has had.
    issued BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    ended BIGINT,
    token TEXT NOT NULL,
    UNIQUE (device, issued)
);
