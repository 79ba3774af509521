-- What is in the store of artefacts, whole.
CREATE TABLE artefact (
    catalog TEXT NOT NULL REFERENCES catalog (name),
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (catalog, sha256)
);
