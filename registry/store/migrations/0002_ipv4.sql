-- Leases of IPv4 subnets, drawn in the transaction that draws the prefix.

-- Length of a node's IPv4 subnet; 0: what follows from the network's length.
ALTER TABLE network ADD COLUMN ipv4_prefix INTEGER NOT NULL DEFAULT 0 CHECK (ipv4_prefix BETWEEN 0 AND 32);

-- NULL: the network's; 0: none.
ALTER TABLE tokens ADD COLUMN ipv4_length INTEGER CHECK (ipv4_length BETWEEN 0 AND 32);

-- What the node asked for: with no lease beside it, none was left.
ALTER TABLE nodes ADD COLUMN ipv4_wanted INTEGER NOT NULL DEFAULT 0 CHECK (ipv4_wanted BETWEEN 0 AND 32);
ALTER TABLE nodes ADD COLUMN ipv4_last BLOB CHECK (length(ipv4_last) = 4);

CREATE UNIQUE INDEX nodes_by_ipv4_last ON nodes (ipv4_last);

CREATE TRIGGER ipv4_leases_whole BEFORE INSERT ON nodes
WHEN (NEW.ipv4_first IS NULL) <> (NEW.ipv4_last IS NULL) OR NEW.ipv4_first > NEW.ipv4_last
BEGIN SELECT RAISE(ABORT, 'an IPv4 lease has a first and a last address'); END;

-- As leases_disjoint: the nearest one that begins before our end.
CREATE TRIGGER ipv4_leases_disjoint BEFORE INSERT ON nodes
WHEN NEW.ipv4_first IS NOT NULL
AND (SELECT ipv4_last FROM nodes WHERE ipv4_first <= NEW.ipv4_last ORDER BY ipv4_first DESC LIMIT 1) >= NEW.ipv4_first
BEGIN SELECT RAISE(ABORT, 'IPv4 leases overlap'); END;

CREATE TRIGGER ipv4_leases_stay BEFORE UPDATE OF ipv4_first, ipv4_last, ipv4_length ON nodes
BEGIN SELECT RAISE(ABORT, 'a lease does not change'); END;
