package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"

	"re6st/addressing"
)

// networks are the prefixes that leases come from.
type networks struct {
	ipv6, ipv4 netip.Prefix // ipv4 is zero where there is none
	ipv4Length int          // of a node's subnet, where its token says nothing
}

// spaces are the indexes of what is free in the networks. The table decides:
// they are only how it is found quickly.
type spaces struct {
	networks
	ipv6, ipv4 *addressing.Space
}

func newSpaces(n networks) *spaces {
	return &spaces{networks: n, ipv6: addressing.NewSpace(n.ipv6), ipv4: addressing.NewSpace(n.ipv4)}
}

// insert marks what a node got as taken.
func (s *spaces) insert(ipv6, ipv4 netip.Prefix) error {
	err := s.ipv6.Insert(ipv6)
	if ipv4.IsValid() {
		err = errors.Join(err, s.ipv4.Insert(ipv4))
	}
	return err
}

// loadSpaces puts all leases into the indexes.
func (s *Store) loadSpaces(ctx context.Context) error {
	settings, err := s.Settings(ctx)
	if errors.Is(err, ErrNotFound) {
		return nil // Init comes
	}
	if err != nil {
		return err
	}
	s.writer.Lock()
	defer s.writer.Unlock()
	return s.loadSpacesLocked(ctx, settings.networks())
}

func (s *Store) loadSpacesLocked(ctx context.Context, n networks) error {
	loaded := newSpaces(n)
	rows, err := s.write.QueryContext(ctx, "SELECT first, length, ipv4_first, ipv4_length FROM nodes ORDER BY first")
	if err != nil {
		return fmt.Errorf("reading the leases: %w", classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var first, first4 []byte
		var length int
		var length4 sql.NullInt64
		if err := rows.Scan(&first, &length, &first4, &length4); err != nil {
			return fmt.Errorf("reading the leases: %w", classify(err))
		}
		ipv6, err := makePrefix(first, length)
		if err != nil {
			return fmt.Errorf("reading the leases: %w", err)
		}
		ipv4, err := makeIPv4(first4, length4)
		if err != nil {
			return fmt.Errorf("reading the leases: %w", err)
		}
		if err := loaded.insert(ipv6, ipv4); err != nil {
			return fmt.Errorf("reading the leases: %w: %w", ErrCorrupt, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the leases: %w", classify(err))
	}
	s.spaces = loaded
	return nil
}

// pickIPv4 draws an IPv4 subnet. Where none is left the node is enrolled without:
// most of what it does needs none, and its status says so.
func (s *Store) pickIPv4(wanted int) (netip.Prefix, error) {
	if wanted == 0 {
		return netip.Prefix{}, nil
	}
	p, err := s.spaces.ipv4.Pick(s.rand, wanted)
	if errors.Is(err, addressing.ErrExhausted) {
		return netip.Prefix{}, nil
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("drawing an IPv4 /%d: %w", wanted, err)
	}
	return p, nil
}
