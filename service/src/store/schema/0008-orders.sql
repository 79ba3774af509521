-- What an operator has a device do with its updates. A device has one at most; it ends when the device said what became of it.
CREATE TABLE device_order (
    device TEXT PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    -- The device's generation by which it hears of it.
    number BIGINT NOT NULL,
    act TEXT NOT NULL,
    app TEXT NOT NULL,
    minutes BIGINT NOT NULL,
    who TEXT NOT NULL,
    given BIGINT NOT NULL,
    answered BIGINT,
    refusal TEXT NOT NULL
);
