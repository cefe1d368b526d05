-- Times are milliseconds since 1970 (UTC). Addresses are 16 bytes, so that
-- their order as BLOBs is their order as addresses.

-- What the network is. One row.
CREATE TABLE network (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    prefix      TEXT    NOT NULL,                     -- IPv6
    ipv4        TEXT    NOT NULL DEFAULT '',          -- prefix, or empty
    node_prefix INTEGER NOT NULL CHECK (node_prefix BETWEEN 1 AND 128),
    domain      TEXT    NOT NULL,
    registries  TEXT    NOT NULL,                     -- JSON list of URLs
    parameters  TEXT    NOT NULL,                     -- JSON object
    version     INTEGER NOT NULL CHECK (version >= 1), -- of the signed document; it only rises
    issued      INTEGER NOT NULL,
    document    TEXT    NOT NULL                      -- compact JWS
) STRICT;

CREATE TRIGGER network_version_rises BEFORE UPDATE ON network
WHEN NEW.version <= OLD.version
BEGIN SELECT RAISE(ABORT, 'network version does not rise'); END;

CREATE TABLE tokens (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    hash          BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256 of the secret
    name          TEXT    NOT NULL DEFAULT '',
    uses          INTEGER NOT NULL CHECK (uses >= 1),
    used          INTEGER NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
    prefix_length INTEGER NOT NULL CHECK (prefix_length BETWEEN 1 AND 128),
    gateway       INTEGER NOT NULL DEFAULT 0 CHECK (gateway IN (0, 1)),
    announce      TEXT    NOT NULL DEFAULT '[]',     -- JSON list of prefixes
    created       INTEGER NOT NULL,
    expires       INTEGER NOT NULL,
    revoked       INTEGER                            -- when, or NULL
) STRICT;

-- A node and its lease. Rows are never deleted: a prefix is for life.
CREATE TABLE nodes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    token      INTEGER NOT NULL REFERENCES tokens (id),
    key        BLOB    NOT NULL UNIQUE CHECK (length(key) = 32), -- SHA-256 of the SubjectPublicKeyInfo
    name       TEXT    NOT NULL UNIQUE,
    first      BLOB    NOT NULL UNIQUE CHECK (length(first) = 16), -- first address of the lease
    last       BLOB    NOT NULL UNIQUE CHECK (length(last) = 16),  -- last address
    length     INTEGER NOT NULL CHECK (length BETWEEN 1 AND 128),
    ipv4_first BLOB    UNIQUE CHECK (length(ipv4_first) = 4),      -- for machines that speak IPv4; none yet
    ipv4_length INTEGER CHECK (ipv4_length BETWEEN 1 AND 32),
    gateway    INTEGER NOT NULL DEFAULT 0 CHECK (gateway IN (0, 1)),
    announce   TEXT    NOT NULL DEFAULT '[]',
    enrolled   INTEGER NOT NULL,
    CHECK (first <= last),
    CHECK ((ipv4_first IS NULL) = (ipv4_length IS NULL))
) STRICT;

-- The authoritative check that leases are disjoint: whoever inserts, and
-- whatever an allocator in memory believes. Since those that are there are
-- disjoint, only the nearest one that begins before our end can overlap.
CREATE TRIGGER leases_disjoint BEFORE INSERT ON nodes
WHEN (SELECT last FROM nodes WHERE first <= NEW.last ORDER BY first DESC LIMIT 1) >= NEW.first
BEGIN SELECT RAISE(ABORT, 'leases overlap'); END;

CREATE TRIGGER leases_stay BEFORE UPDATE OF first, last, length ON nodes
BEGIN SELECT RAISE(ABORT, 'a lease does not change'); END;

CREATE TRIGGER nodes_stay BEFORE DELETE ON nodes
BEGIN SELECT RAISE(ABORT, 'a lease is for life'); END;

-- What was, or will be, signed: the intent is here before the key is used. The
-- record is what stands in the journal, byte for byte.
CREATE TABLE issuances (
    sequence INTEGER PRIMARY KEY CHECK (sequence >= 1),
    node     INTEGER NOT NULL REFERENCES nodes (id),
    serial   BLOB    NOT NULL UNIQUE CHECK (length(serial) = 16),
    tbs      BLOB    NOT NULL,                                   -- TBSCertificate (DER)
    record   BLOB    NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),         -- SHA-256 of the record
    issued   INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    not_after  INTEGER NOT NULL
) STRICT;

CREATE INDEX issuances_by_node ON issuances (node, sequence);

CREATE TRIGGER issuances_stay BEFORE DELETE ON issuances
BEGIN SELECT RAISE(ABORT, 'an issuance stays'); END;

-- What nodes reported last. It is written now and then, and can be lost.
CREATE TABLE reports (
    node            INTEGER PRIMARY KEY REFERENCES nodes (id),
    endpoints       TEXT    NOT NULL,   -- JSON list of ip:port
    protocol        INTEGER NOT NULL,
    version         TEXT    NOT NULL,
    network_version INTEGER NOT NULL,
    tunnels         INTEGER NOT NULL,
    routes          INTEGER NOT NULL,
    seen            INTEGER NOT NULL
) STRICT;
