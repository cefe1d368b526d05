package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// prefixRange gives the first and last address. Prefixes are stored as ranges,
// since that is what an index can find overlaps by.
func prefixRange(p netip.Prefix) (first, last [16]byte) {
	first = p.Masked().Addr().As16()
	last = first
	for bit := p.Bits(); bit < 128; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return first, last
}

type scanner interface{ Scan(...any) error }

func makePrefix(first []byte, length int) (netip.Prefix, error) {
	if len(first) != 16 {
		return netip.Prefix{}, fmt.Errorf("%w: a lease of %d bytes", ErrCorrupt, len(first))
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(first)), length), nil
}

// ipv4Range gives the columns of an IPv4 lease, NULL where there is none.
func ipv4Range(p netip.Prefix) (first, last []byte, length sql.NullInt64) {
	if !p.IsValid() {
		return nil, nil, length
	}
	a := p.Masked().Addr().As4()
	b := a
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return a[:], b[:], sql.NullInt64{Int64: int64(p.Bits()), Valid: true}
}

// makeIPv4 is the zero prefix where the columns are NULL.
func makeIPv4(first []byte, length sql.NullInt64) (netip.Prefix, error) {
	if !length.Valid {
		return netip.Prefix{}, nil
	}
	if len(first) != 4 {
		return netip.Prefix{}, fmt.Errorf("%w: an IPv4 lease of %d bytes", ErrCorrupt, len(first))
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(first)), int(length.Int64)), nil
}

func encodePrefixes(ps []netip.Prefix) (string, error) {
	if ps == nil {
		ps = []netip.Prefix{}
	}
	text, err := json.Marshal(ps)
	return string(text), err
}

func decodePrefixes(text string) ([]netip.Prefix, error) {
	ps := []netip.Prefix{}
	if err := json.Unmarshal([]byte(text), &ps); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return ps, nil
}
