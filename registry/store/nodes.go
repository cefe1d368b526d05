package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"re6st/addressing"
	"re6st/registry/api"
)

const nodeColumns = `nodes.id, nodes.name, nodes.key, nodes.first, nodes.length, nodes.ipv4_first, nodes.ipv4_length, nodes.ipv4_wanted, nodes.gateway, nodes.announce,
	nodes.token, nodes.enrolled, issuances.serial, issuances.not_before, issuances.not_after
	FROM nodes JOIN issuances ON issuances.sequence = (SELECT max(sequence) FROM issuances WHERE node = nodes.id)`

// Nodes lists all nodes by name.
func (s *Store) Nodes(ctx context.Context) ([]api.NodeInfo, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT "+nodeColumns+" ORDER BY nodes.name")
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", classify(err))
	}
	defer rows.Close()
	all := []api.NodeInfo{}
	for rows.Next() {
		n, err := s.scanNode(rows)
		if err != nil {
			return nil, fmt.Errorf("listing nodes: %w", classify(err))
		}
		all = append(all, n)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing nodes: %w", classify(err))
	}
	return all, nil
}

// FindNode finds a node by its name, the serial of its certificate in hex, its
// prefix, or an address within.
func (s *Store) FindNode(ctx context.Context, text string) (api.NodeInfo, error) {
	where, argument := nodeCondition(text)
	n, err := s.scanNode(s.read.QueryRowContext(ctx, "SELECT "+nodeColumns+" WHERE "+where, argument))
	if err != nil {
		return api.NodeInfo{}, fmt.Errorf("looking for node %.80q: %w", text, classify(err))
	}
	return n, nil
}

// nodeCondition: what is in the text decides which column is meant; a name
// cannot have a colon, and a serial is longer than most names, so that a name
// that looks like one wins.
func nodeCondition(text string) (where string, argument any) {
	const byAddress = "nodes.id = (SELECT id FROM nodes WHERE first <= ?1 AND last >= ?1 ORDER BY first DESC LIMIT 1)"
	const byIPv4 = "nodes.id = (SELECT id FROM nodes WHERE ipv4_first <= ?1 AND ipv4_last >= ?1 ORDER BY ipv4_first DESC LIMIT 1)"
	if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
		return byIPv4 + fmt.Sprintf(" AND nodes.ipv4_length = %d", p.Bits()), p.Masked().Addr().AsSlice()
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		return byIPv4, a.AsSlice()
	}
	if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is6() {
		first, _ := prefixRange(p)
		return byAddress + fmt.Sprintf(" AND nodes.length = %d", p.Bits()), first[:]
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is6() {
		first := a.As16()
		return byAddress, first[:]
	}
	if serial, err := decodeHex(text, 16); err == nil {
		return "nodes.id = (SELECT node FROM issuances WHERE serial = ?)", serial
	}
	return "nodes.name = ?", text
}

// NodeID is the id of the node with the key, for its reports.
func (s *Store) NodeID(ctx context.Context, key [32]byte) (int64, error) {
	var id int64
	if err := s.read.QueryRowContext(ctx, "SELECT id FROM nodes WHERE key = ?", key[:]).Scan(&id); err != nil {
		return 0, fmt.Errorf("looking for the node of a key: %w", classify(err))
	}
	return id, nil
}

// LastTBS is what was signed for a node last.
func (s *Store) LastTBS(ctx context.Context, name string) ([]byte, error) {
	var tbs []byte
	err := s.read.QueryRowContext(ctx, "SELECT tbs FROM issuances WHERE node = (SELECT id FROM nodes WHERE name = ?) ORDER BY sequence DESC LIMIT 1", name).Scan(&tbs)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of %.80q: %w", name, classify(err))
	}
	return tbs, nil
}

// Counts are for the operator's log.
type Counts struct{ Nodes, Tokens int }

// Count counts.
func (s *Store) Count(ctx context.Context) (Counts, error) {
	var c Counts
	err := s.read.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM nodes), (SELECT count(*) FROM tokens)").Scan(&c.Nodes, &c.Tokens)
	if err != nil {
		return Counts{}, fmt.Errorf("counting: %w", classify(err))
	}
	return c, nil
}

func (s *Store) scanNode(row scanner) (api.NodeInfo, error) {
	var n api.NodeInfo
	var id, enrolled, notBefore, notAfter int64
	var key, first, first4, serial []byte
	var length, wanted4 int
	var length4 sql.NullInt64
	var announce string
	if err := row.Scan(&id, &n.Name, &key, &first, &length, &first4, &length4, &wanted4, &n.Gateway, &announce, &n.Token, &enrolled, &serial, &notBefore, &notAfter); err != nil {
		return api.NodeInfo{}, err
	}
	var err error
	if n.Prefix, err = makePrefix(first, length); err != nil {
		return api.NodeInfo{}, err
	}
	ipv4, err := makeIPv4(first4, length4)
	if err != nil {
		return api.NodeInfo{}, err
	}
	if ipv4.IsValid() {
		n.IPv4 = ipv4.String()
	}
	n.IPv4Exhausted = wanted4 > 0 && !ipv4.IsValid()
	if n.Announce, err = decodePrefixes(announce); err != nil {
		return api.NodeInfo{}, err
	}
	n.Address, n.RouterID = addressing.NodeAddress(n.Prefix), addressing.RouterIDOf(n.Prefix).String()
	n.Key, n.Serial = hex.EncodeToString(key), hex.EncodeToString(serial)
	n.Enrolled, n.NotBefore, n.NotAfter = fromMillis(enrolled), fromMillis(notBefore), fromMillis(notAfter)
	n.Endpoints = []string{}
	if r, ok := s.reports.of(id); ok {
		seen := r.Seen.UTC().Truncate(time.Second)
		n.LastReport, n.Version = &seen, r.Version
		for _, e := range r.Peer.Endpoints {
			n.Endpoints = append(n.Endpoints, e.String())
		}
	}
	return n, nil
}
