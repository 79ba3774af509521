-- Recovery keys of devices' data disks, of the owner that the device has now.
CREATE TABLE recovery_key (
    device TEXT PRIMARY KEY REFERENCES device (id),
    -- Sealed by the service's own key, for this catalog and device.
    sealed {bytes} NOT NULL,
    since BIGINT NOT NULL,
    -- When somebody read it: the device is then asked for another.
    read_at BIGINT
);
