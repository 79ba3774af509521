-- Signed metadata as devices read it, by the names of The Update Framework.
CREATE TABLE update_metadata (
    file TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    version BIGINT NOT NULL,
    made BIGINT NOT NULL,
    content {bytes} NOT NULL
);
CREATE INDEX update_metadata_role ON update_metadata (role, version);

-- Documents of releases. One target may have several: patches are added.
CREATE TABLE update_release (
    target TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    catalog TEXT NOT NULL REFERENCES catalog (name),
    published BIGINT NOT NULL,
    content {bytes} NOT NULL,
    PRIMARY KEY (target, sha256)
);

-- Artefacts that releases name, which anybody may have, and the catalog whose they are.
CREATE TABLE update_blob (
    sha256 TEXT PRIMARY KEY,
    catalog TEXT NOT NULL REFERENCES catalog (name),
    size BIGINT NOT NULL
);

-- The service's own signing keys, sealed by its authority's.
CREATE TABLE update_key (
    id TEXT PRIMARY KEY,
    sealed {bytes} NOT NULL,
    created BIGINT NOT NULL
);

-- One row at most: counts what changes for any device.
CREATE TABLE update_generation (
    one BIGINT PRIMARY KEY,
    generation BIGINT NOT NULL
);

CREATE TABLE deployment (
    number {number},
    catalog TEXT NOT NULL,
    product TEXT NOT NULL,
    device_group TEXT NOT NULL,
    -- What never changes: releases, what goes, waves, windows, notes.
    content TEXT NOT NULL,
    feed TEXT,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- The generation at which each open wave was opened, with commas between them.
    opened TEXT NOT NULL,
    -- The generation at which somebody last paused, resumed or stopped it.
    changed BIGINT NOT NULL,
    chosen BIGINT NOT NULL,
    told BIGINT NOT NULL,
    complete BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    rolled_back BIGINT NOT NULL,
    FOREIGN KEY (catalog, product, device_group) REFERENCES device_group (catalog, product, name) ON DELETE CASCADE
);
CREATE INDEX deployment_group ON deployment (catalog, product, device_group, number);

CREATE TABLE deployment_device (
    deployment BIGINT NOT NULL REFERENCES deployment (number) ON DELETE CASCADE,
    device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    -- How far it is as a whole; empty until it says something.
    stage TEXT NOT NULL,
    -- How far each of its releases is that the device said something about.
    stages TEXT NOT NULL,
    release TEXT NOT NULL,
    reason TEXT NOT NULL,
    heard BIGINT NOT NULL,
    fetched BIGINT NOT NULL,
    PRIMARY KEY (deployment, device)
);
CREATE INDEX deployment_device_device ON deployment_device (device, deployment);

-- What a device is meant to run changed at these.
ALTER TABLE device ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE device_group ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
CREATE INDEX device_generation ON device (generation);
-- What a device last said that it runs, and when.
ALTER TABLE device ADD COLUMN asked BIGINT;
ALTER TABLE device ADD COLUMN runs TEXT;
