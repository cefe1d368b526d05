package addressing

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// RouterID names a node in Babel. RFC 8966, section 2.8: "an arbitrary string of
// 8 octets that is assumed unique across the routing domain".
type RouterID [8]byte

// RouterIDOf is the router-id of the node that owns the prefix: its first 64
// bits, so that an update says by itself who may originate it. Several nodes can
// share those bits if their prefixes are longer: then it is a hash of address
// and length, as it is for the two values that a router-id must not have (RFC
// 8966, section 4.1.3). An invalid prefix gives the zero RouterID, which no node has.
func RouterIDOf(p netip.Prefix) RouterID {
	if !p.IsValid() {
		return RouterID{}
	}
	p = p.Masked()
	address := p.Addr().As16()
	if p.Addr().Is6() && p.Bits() <= 64 {
		if id := RouterID(address[:8]); id.IsValid() {
			return id
		}
	}
	// IPv4 prefixes count from bit 0 of the four bytes; mapped addresses keep
	// the two families apart.
	sum := sha256.Sum256(append(address[:], byte(p.Bits())))
	for !RouterID(sum[:8]).IsValid() {
		sum = sha256.Sum256(sum[:])
	}
	return RouterID(sum[:8])
}

// IsValid reports whether a router may have the id. RFC 8966, section 4.1.3: "a
// router-id MUST NOT consist of either all binary zeroes or all binary ones."
func (id RouterID) IsValid() bool {
	v := binary.BigEndian.Uint64(id[:])
	return v != 0 && v != 1<<64-1
}

// String writes four groups as in an IPv6 address, without shortening them:
// 2001:0db8:0042:0001.
func (id RouterID) String() string {
	return fmt.Sprintf("%02x%02x:%02x%02x:%02x%02x:%02x%02x", id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7])
}

// ParseRouterID reads what String writes, and nothing else.
func ParseRouterID(s string) (RouterID, error) {
	var id RouterID
	if len(s) != 19 || s[4] != ':' || s[9] != ':' || s[14] != ':' || strings.ToLower(s) != s {
		return RouterID{}, fmt.Errorf("router-id %.40q: not four groups of four hexadecimal digits", s)
	}
	if _, err := hex.Decode(id[:], []byte(s[0:4]+s[5:9]+s[10:14]+s[15:19])); err != nil {
		return RouterID{}, fmt.Errorf("router-id %q: not four groups of four hexadecimal digits", s)
	}
	if !id.IsValid() {
		return RouterID{}, fmt.Errorf("router-id %q: %w", s, errForbiddenRouterID)
	}
	return id, nil
}

var errForbiddenRouterID = errors.New("all zeros and all ones are reserved")

// MarshalText implements encoding.TextMarshaler.
func (id RouterID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *RouterID) UnmarshalText(text []byte) error {
	parsed, err := ParseRouterID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
