package addressing

import "net/netip"

// wellKnownNAT64 is the prefix of RFC 6052, section 2.1.
var wellKnownNAT64 = netip.AddrFrom16([16]byte{1: 0x64, 2: 0xff, 3: 0x9b})

// nat64Bits: of the lengths of RFC 6052, section 2.2, we take one.
const nat64Bits = 96

// EmbedIPv4 is the IPv6 address that stands for an IPv4 address under a NAT64
// prefix of length 96 (RFC 6052, section 2.2).
func EmbedIPv4(prefix netip.Prefix, a netip.Addr) netip.Addr {
	out, in := prefix.Addr().As16(), a.As4()
	copy(out[12:], in[:])
	return netip.AddrFrom16(out)
}

// ExtractIPv4 is the reverse of EmbedIPv4.
func ExtractIPv4(prefix netip.Prefix, a netip.Addr) (netip.Addr, bool) {
	if prefix.Bits() != nat64Bits || !a.Is6() || !prefix.Contains(a) {
		return netip.Addr{}, false
	}
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[12:])), true
}

// MayEmbed reports whether a NAT64 prefix may stand for an IPv4 address. Under
// none may it for addresses that mean a host or its own surroundings: they would
// be those of the gateway. "The Well-Known Prefix MUST NOT be used to represent
// non-global IPv4 addresses" beyond these (RFC 6052, section 3.1).
func MayEmbed(prefix netip.Prefix, a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	b := a.As4()
	switch {
	case b[0] == 0, b[0] == 10, b[0] == 127, b[0] >= 224, // multicast and the reserved ones behind it
		b[0] == 100 && b[1]&0xc0 == 64,
		b[0] == 169 && b[1] == 254,
		b[0] == 172 && b[1]&0xf0 == 16,
		b[0] == 192 && b[1] == 168:
		return false
	}
	return prefix.Addr() != wellKnownNAT64 || !isSpecialIPv4(b)
}

// isSpecialIPv4: not global by the registry of RFC 6890, and possible as an
// address of another host in a laboratory.
func isSpecialIPv4(b [4]byte) bool {
	three := [3]byte(b[:3])
	switch {
	case b[0] == 198 && b[1]&0xfe == 18, // benchmarks (RFC 2544)
		three == [3]byte{192, 0, 0} && b[3] != 9 && b[3] != 10,                                     // protocols, but for two anycast services
		three == [3]byte{192, 0, 2}, three == [3]byte{198, 51, 100}, three == [3]byte{203, 0, 113}: // documentation
		return true
	}
	return false
}
