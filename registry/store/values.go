package store

import (
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

// scanPrefix reads the columns first and length.
func scanPrefix(row scanner) (netip.Prefix, error) {
	var first []byte
	var length int
	if err := row.Scan(&first, &length); err != nil {
		return netip.Prefix{}, err
	}
	return makePrefix(first, length)
}

func makePrefix(first []byte, length int) (netip.Prefix, error) {
	if len(first) != 16 {
		return netip.Prefix{}, fmt.Errorf("%w: a lease of %d bytes", ErrCorrupt, len(first))
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(first)), length), nil
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
