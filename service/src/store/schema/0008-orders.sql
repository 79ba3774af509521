-- What an operator has a device do with its updates. A device has one at most.
CREATE TABLE device_order (
    device TEXT PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    -- By chance: of no other order of any service.
    number BIGINT NOT NULL,
    act TEXT NOT NULL,
    app TEXT NOT NULL,
    minutes BIGINT NOT NULL,
    who TEXT NOT NULL,
    given BIGINT NOT NULL,
    -- What the device said of it, and when.
    how TEXT,
    heard BIGINT,
    reason TEXT NOT NULL
);
