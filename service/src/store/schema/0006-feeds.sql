-- Streams of release sets that groups follow.
CREATE TABLE feed (
    catalog TEXT NOT NULL,
    product TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    -- The waves of the deployments that it makes.
    waves TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (catalog, product, name),
    FOREIGN KEY (catalog, product) REFERENCES product (catalog, name) ON DELETE CASCADE
);

CREATE TABLE feed_entry (
    catalog TEXT NOT NULL,
    product TEXT NOT NULL,
    feed TEXT NOT NULL,
    number BIGINT NOT NULL,
    releases TEXT NOT NULL,
    notes TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (catalog, product, feed, number),
    FOREIGN KEY (catalog, product, feed) REFERENCES feed (catalog, product, name) ON DELETE CASCADE
);

-- The feed that a group follows, and the entry that it stays at.
ALTER TABLE device_group ADD COLUMN feed TEXT;
ALTER TABLE device_group ADD COLUMN pinned BIGINT;
