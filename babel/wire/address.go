package wire

import "net/netip"

// octets is the number of octets that hold a prefix of this length.
func octets(bits int) int { return (bits + 7) / 8 }

// addressBits is the size of the addresses that an encoding of prefixes has.
func addressBits(ae AE) int {
	if ae == AEIPv4 || ae == AEv4viav6 {
		return 32
	}
	return 128
}

// prefixOf makes a prefix of full octets; bits beyond the length are cleared
// (RFC 8966, section 4.6.9: "the last octet ... MUST be ignored upon reception").
// IPv4 addresses mapped into IPv6 are refused: they would name an IPv4 prefix in
// a second way that no table expects.
func prefixOf(ae AE, full [16]byte, bits int) (netip.Prefix, bool) {
	var addr netip.Addr
	if addressBits(ae) == 32 {
		addr = netip.AddrFrom4([4]byte(full[:4]))
	} else {
		addr = netip.AddrFrom16(full)
		if addr.Is4In6() && bits >= 96 {
			return netip.Prefix{}, false
		}
	}
	// Unmap never happens here: Masked keeps the family.
	p := netip.PrefixFrom(addr, bits).Masked()
	return p, p.IsValid()
}

// plainPrefix reads a prefix without compression, as in requests and in the
// Source Prefix sub-TLV, and says how many octets it took.
func plainPrefix(ae AE, bits int, b []byte) (p netip.Prefix, n int, ok bool) {
	if bits > addressBits(ae) || ae > AEv4viav6 || ae == AEWildcard {
		return p, 0, false
	}
	var full [16]byte
	n = octets(bits)
	at := full[:n]
	if ae == AELinkLocal {
		// fe80::/64 is implied; a shorter prefix cannot be said this way.
		if bits < 64 {
			return p, 0, false
		}
		full[0], full[1] = 0xfe, 0x80
		n -= 8
		at = full[8 : 8+n]
	}
	if len(b) < n {
		return p, 0, false
	}
	copy(at, b)
	p, ok = prefixOf(ae, full, bits)
	return p, n, ok
}

// address reads a full address.
func address(ae AE, b []byte) (a netip.Addr, n int, ok bool) {
	var full [16]byte
	switch ae {
	case AEIPv4:
		if len(b) < 4 {
			return a, 0, false
		}
		return netip.AddrFrom4([4]byte(b[:4])), 4, true
	case AEIPv6:
		if len(b) < 16 {
			return a, 0, false
		}
		a = netip.AddrFrom16([16]byte(b[:16]))
		return a, 16, !a.Is4In6()
	case AELinkLocal:
		if len(b) < 8 {
			return a, 0, false
		}
		full[0], full[1] = 0xfe, 0x80
		copy(full[8:], b[:8])
		return netip.AddrFrom16(full), 8, true
	}
	return a, 0, false
}

// isCompactLinkLocal tells whether AE 3 can say the address.
func isCompactLinkLocal(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && [8]byte(b[:8]) == [8]byte{0xfe, 0x80}
}

// appendAddress writes AE-dependent octets; aeOf chooses the encoding.
func appendAddress(b []byte, a netip.Addr) []byte {
	switch aeOf(a) {
	case AEIPv4:
		v := a.As4()
		return append(b, v[:]...)
	case AELinkLocal:
		v := a.As16()
		return append(b, v[8:]...)
	case AEIPv6:
		v := a.As16()
		return append(b, v[:]...)
	}
	return b
}

func aeOf(a netip.Addr) AE {
	switch {
	case !a.IsValid():
		return AEWildcard
	case a.Is4():
		return AEIPv4
	case isCompactLinkLocal(a):
		return AELinkLocal
	}
	return AEIPv6
}

// prefixAE is the encoding of a prefix in requests (RFC 9229, section 2.3: IPv4
// requests use AE 1).
func prefixAE(p netip.Prefix) AE {
	switch {
	case !p.IsValid():
		return AEWildcard
	case p.Addr().Is4():
		return AEIPv4
	}
	return AEIPv6
}

// prefixOctets gives the significant octets of a prefix.
func prefixOctets(p netip.Prefix) (full [16]byte, n int) {
	if p.Addr().Is4() {
		v := p.Addr().As4()
		copy(full[:], v[:])
	} else {
		full = p.Addr().As16()
	}
	return full, octets(p.Bits())
}
