package addressing

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
)

// CheckPrefix says what is wrong with a prefix that came from outside: it must
// be written with no bit set after its length, since two spellings of one prefix
// would be two keys, and an IPv4-mapped one belongs to neither family.
func CheckPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("not a prefix")
	case p.Addr().Is4In6():
		return fmt.Errorf("prefix %v: IPv4-mapped", p)
	case p != p.Masked():
		return fmt.Errorf("prefix %v: bits are set after its length", p)
	}
	return nil
}

// Covers reports whether every address of inner is in outer. A prefix that
// CheckPrefix refuses covers nothing, and nothing covers it.
func Covers(outer, inner netip.Prefix) bool {
	return CheckPrefix(outer) == nil && CheckPrefix(inner) == nil &&
		outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// ComparePrefixes orders as RFC 3779, section 2.2.3.3 and 2.2.3.6, does: IPv4
// before IPv6, then by address, the shorter one of two that begin together first.
func ComparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
