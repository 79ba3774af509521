-- Times are seconds since 1970, flags 0 or 1. Codes and tokens are kept as their SHA-256 only.

CREATE TABLE catalog (
    name TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- The issuing authority: certificate in DER, key sealed by the service's own.
    issuer_certificate {bytes} NOT NULL,
    issuer_key {bytes} NOT NULL
);

CREATE TABLE product (
    catalog TEXT NOT NULL REFERENCES catalog (name),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (catalog, name)
);

CREATE TABLE device_group (
    catalog TEXT NOT NULL,
    product TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    policy TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (catalog, product, name),
    FOREIGN KEY (catalog, product) REFERENCES product (catalog, name)
);

CREATE TABLE person (
    subject TEXT PRIMARY KEY,
    operator BIGINT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE member (
    catalog TEXT NOT NULL REFERENCES catalog (name),
    subject TEXT NOT NULL REFERENCES person (subject),
    role TEXT NOT NULL,
    PRIMARY KEY (catalog, subject)
);

-- Without a catalog: the operator's, that `init` made.
CREATE TABLE invitation (
    code TEXT PRIMARY KEY,
    catalog TEXT REFERENCES catalog (name),
    subject TEXT NOT NULL,
    role TEXT,
    expires BIGINT NOT NULL
);

CREATE TABLE session (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL REFERENCES person (subject),
    token TEXT NOT NULL UNIQUE,
    token_expires BIGINT NOT NULL,
    refresh TEXT NOT NULL UNIQUE,
    refresh_expires BIGINT NOT NULL,
    -- The refresh token before, by which a copy is noticed.
    refreshed TEXT UNIQUE
);

CREATE TABLE machine (
    catalog TEXT NOT NULL REFERENCES catalog (name),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    certificate TEXT NOT NULL UNIQUE,
    PRIMARY KEY (catalog, name)
);

CREATE TABLE enrolment (
    id TEXT PRIMARY KEY,
    device TEXT NOT NULL,
    ek_public {bytes} NOT NULL,
    ek_certificate {bytes},
    ak_public {bytes} NOT NULL,
    secret TEXT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX enrolment_expires ON enrolment (expires);

CREATE TABLE device (
    id TEXT PRIMARY KEY,
    ek_public {bytes} NOT NULL,
    ek_certificate {bytes},
    ak_public {bytes} NOT NULL,
    enrolled BIGINT NOT NULL,
    claim_code TEXT,
    catalog TEXT,
    product TEXT,
    device_group TEXT,
    state TEXT NOT NULL,
    transfer TEXT,
    transfer_expires BIGINT,
    attested BIGINT,
    passed BIGINT,
    running TEXT,
    verdict TEXT,
    FOREIGN KEY (catalog, product, device_group) REFERENCES device_group (catalog, product, name)
);
CREATE INDEX device_place ON device (catalog, id);
CREATE INDEX device_group_place ON device (catalog, product, device_group);

CREATE TABLE used_nonce (
    nonce TEXT PRIMARY KEY,
    expires BIGINT NOT NULL
);
CREATE INDEX used_nonce_expires ON used_nonce (expires);

CREATE TABLE certificate (
    serial TEXT PRIMARY KEY,
    catalog TEXT NOT NULL,
    device TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Of the certificate in DER: by it a device is known that presents it.
    sha256 TEXT NOT NULL UNIQUE,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    revoked BIGINT
);
CREATE INDEX certificate_device ON certificate (device, not_after);
CREATE INDEX certificate_revoked ON certificate (catalog, revoked);
CREATE INDEX certificate_end ON certificate (not_after);

CREATE TABLE release (
    catalog TEXT NOT NULL REFERENCES catalog (name),
    name TEXT NOT NULL,
    published BIGINT NOT NULL,
    withdrawn BIGINT NOT NULL,
    reference_values TEXT NOT NULL,
    PRIMARY KEY (catalog, name)
);

CREATE TABLE report_batch (
    device TEXT NOT NULL,
    batch TEXT NOT NULL,
    digest TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (device, batch, digest)
);
CREATE INDEX report_batch_at ON report_batch (at);

CREATE TABLE report (
    catalog TEXT NOT NULL,
    device TEXT NOT NULL,
    os_version TEXT NOT NULL,
    app TEXT NOT NULL,
    app_version TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    product TEXT NOT NULL,
    device_group TEXT NOT NULL,
    count BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    heard BIGINT NOT NULL,
    PRIMARY KEY (catalog, device, os_version, app, app_version, kind, detail)
);
CREATE INDEX report_heard ON report (heard);

-- Only ever added to.
CREATE TABLE audit (
    number {number},
    at BIGINT NOT NULL,
    catalog TEXT,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    before_change TEXT,
    after_change TEXT
);
CREATE INDEX audit_catalog ON audit (catalog, number);
