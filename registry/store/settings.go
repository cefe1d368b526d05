package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"re6st/addressing"
)

// Settings are what the network is. The document is the signed form of it; the
// Store does not look inside.
type Settings struct {
	Prefix     netip.Prefix
	IPv4       netip.Prefix // zero: none
	IPv4Prefix int          // length of a node's IPv4 subnet; 0 where IPv4 is zero
	NodePrefix int
	Domain     string
	Registries []string
	Parameters json.RawMessage
	Version    uint64
	Issued     time.Time
	Document   string
}

func (s Settings) networks() networks {
	return networks{ipv6: s.Prefix, ipv4: s.IPv4, ipv4Length: s.IPv4Prefix}
}

// Settings reads the network's row; ErrNotFound before Init.
func (s *Store) Settings(ctx context.Context) (Settings, error) {
	return readSettings(ctx, s.read)
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readSettings(ctx context.Context, db querier) (Settings, error) {
	var out Settings
	var prefix, ipv4, registries, parameters string
	var issued int64
	err := db.QueryRowContext(ctx, "SELECT prefix, ipv4, ipv4_prefix, node_prefix, domain, registries, parameters, version, issued, document FROM network").
		Scan(&prefix, &ipv4, &out.IPv4Prefix, &out.NodePrefix, &out.Domain, &registries, &parameters, &out.Version, &issued, &out.Document)
	if err != nil {
		return Settings{}, fmt.Errorf("reading the network's settings: %w", classify(err))
	}
	out.Issued, out.Parameters = fromMillis(issued), json.RawMessage(parameters)
	if err := json.Unmarshal([]byte(registries), &out.Registries); err != nil {
		return Settings{}, fmt.Errorf("reading the network's settings: %w: %w", ErrCorrupt, err)
	}
	if out.Prefix, err = netip.ParsePrefix(prefix); err != nil {
		return Settings{}, fmt.Errorf("reading the network's settings: %w: %w", ErrCorrupt, err)
	}
	if ipv4 != "" {
		if out.IPv4, err = netip.ParsePrefix(ipv4); err != nil {
			return Settings{}, fmt.Errorf("reading the network's settings: %w: %w", ErrCorrupt, err)
		}
		if out.IPv4Prefix == 0 { // a database that is older than the column
			out.IPv4Prefix = addressing.IPv4Length(out.IPv4)
		}
	}
	return out, nil
}

// Init stores what the network is, once.
func (s *Store) Init(ctx context.Context, n Settings) error {
	registries, err := json.Marshal(n.Registries)
	if err != nil {
		return fmt.Errorf("storing the network's settings: %w", err)
	}
	ipv4 := ""
	if n.IPv4.IsValid() {
		ipv4 = n.IPv4.String()
	}
	s.writer.Lock()
	defer s.writer.Unlock()
	_, err = s.write.ExecContext(ctx, `INSERT INTO network (id, prefix, ipv4, ipv4_prefix, node_prefix, domain, registries, parameters, version, issued, document)
		VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		n.Prefix.String(), ipv4, n.IPv4Prefix, n.NodePrefix, n.Domain, string(registries), string(n.Parameters), n.Version, millis(n.Issued), n.Document)
	if err != nil {
		return fmt.Errorf("storing the network's settings: %w", classify(err))
	}
	s.spaces = newSpaces(n.networks())
	return nil
}

// ChangeSettings gives the settings to change, and stores what comes back under
// a version that is higher by one, in one transaction. Where change answers
// false, nothing is stored.
func (s *Store) ChangeSettings(ctx context.Context, change func(*Settings) (bool, error)) (Settings, error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	var out Settings
	err := s.inTransaction(ctx, func(tx *sql.Tx) error {
		var err error
		if out, err = readSettings(ctx, tx); err != nil {
			return err
		}
		version := out.Version
		out.Version++
		changed, err := change(&out)
		if err != nil {
			return err
		}
		if !changed {
			out.Version = version
			return nil
		}
		_, err = tx.ExecContext(ctx, "UPDATE network SET parameters = ?, version = ?, issued = ?, document = ?",
			string(out.Parameters), out.Version, millis(out.Issued), out.Document)
		return classify(err)
	})
	if err != nil {
		return Settings{}, fmt.Errorf("changing the network's settings: %w", err)
	}
	return out, nil
}
