package addressing

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// OIDIPBlocks is id-pe-ipAddrBlocks (RFC 3779, section 2.2.1).
var OIDIPBlocks = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 7}

// Limits on what a certificate of someone else can make us hold.
const (
	maxBlocks         = 64
	maxExtensionBytes = 4096
)

// The address family numbers of IANA, as RFC 3779, section 2.2.3.3, writes them.
var (
	familyIPv4 = []byte{0, 1}
	familyIPv6 = []byte{0, 2}
)

// MarshalIPBlocks writes the value of the extension of RFC 3779, section 2.2.3:
//
//	IPAddrBlocks      ::= SEQUENCE OF IPAddressFamily
//	IPAddressFamily   ::= SEQUENCE {
//	   addressFamily     OCTET STRING (SIZE (2..3)),
//	   ipAddressChoice   CHOICE { inherit NULL, addressesOrRanges SEQUENCE OF IPAddressOrRange } }
//	IPAddressOrRange  ::= CHOICE { addressPrefix BIT STRING, addressRange IPAddressRange }
//
// The order of the prefixes does not matter. They may neither overlap nor follow
// one another without a gap: section 2.2.3.6 demands that such blocks be written
// as one, so they could not be read back.
func MarshalIPBlocks(prefixes []netip.Prefix) ([]byte, error) {
	sorted, err := canonicalBlocks(prefixes)
	if err != nil {
		return nil, fmt.Errorf("marshalling IP address blocks: %w", err)
	}
	split := slices.IndexFunc(sorted, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if split < 0 {
		split = len(sorted)
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addFamily(b, familyIPv4, sorted[:split])
		addFamily(b, familyIPv6, sorted[split:])
	})
	return b.Bytes()
}

func addFamily(b *cryptobyte.Builder, family []byte, prefixes []netip.Prefix) {
	if len(prefixes) == 0 {
		return
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1OctetString(family)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, p := range prefixes {
				addPrefix(b, p)
			}
		})
	})
}

// addPrefix writes the significant bits (RFC 3779, section 2.2.3.8).
func addPrefix(b *cryptobyte.Builder, p netip.Prefix) {
	length := (p.Bits() + 7) / 8
	b.AddASN1(cbasn1.BIT_STRING, func(b *cryptobyte.Builder) {
		b.AddUint8(uint8(8*length - p.Bits()))
		b.AddBytes(p.Addr().AsSlice()[:length])
	})
}

// canonicalBlocks sorts, and refuses what RFC 3779, section 2.2.3.6, does not
// let stand beside each other.
func canonicalBlocks(prefixes []netip.Prefix) ([]netip.Prefix, error) {
	if len(prefixes) == 0 {
		return nil, errors.New("no prefix")
	}
	if len(prefixes) > maxBlocks {
		return nil, fmt.Errorf("%d prefixes, at most %d", len(prefixes), maxBlocks)
	}
	for _, p := range prefixes {
		if err := CheckPrefix(p); err != nil {
			return nil, err
		}
	}
	sorted := slices.SortedFunc(slices.Values(prefixes), ComparePrefixes)
	for i := 1; i < len(sorted); i++ {
		a, b := sorted[i-1], sorted[i]
		if a.Overlaps(b) {
			return nil, fmt.Errorf("%v overlaps %v", a, b)
		}
		if lastAddress(a).Next() == b.Addr() {
			return nil, fmt.Errorf("%v follows %v without a gap", b, a)
		}
	}
	return sorted, nil
}

func lastAddress(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// ParseIPBlocks reads what MarshalIPBlocks writes, in its order, and nothing
// else. Legal but not for us: address ranges, inherit, SAFIs, other families.
func ParseIPBlocks(der []byte) ([]netip.Prefix, error) {
	prefixes, err := parseIPBlocks(der)
	if err != nil {
		return nil, fmt.Errorf("parsing IP address blocks: %w", err)
	}
	return prefixes, nil
}

func parseIPBlocks(der []byte) ([]netip.Prefix, error) {
	if len(der) > maxExtensionBytes {
		return nil, fmt.Errorf("%d bytes, at most %d", len(der), maxExtensionBytes)
	}
	input := cryptobyte.String(der)
	var families cryptobyte.String
	if !input.ReadASN1(&families, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, errors.New("not one SEQUENCE")
	}
	var prefixes []netip.Prefix
	for !families.Empty() {
		var err error
		if prefixes, err = readFamily(&families, prefixes); err != nil {
			return nil, err
		}
	}
	// The rest of the rules by one comparison: order, no empty family, no
	// overlap, minimal lengths, zero padding.
	again, err := MarshalIPBlocks(prefixes)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, der) {
		return nil, errors.New("not in canonical form")
	}
	return prefixes, nil
}

func readFamily(families *cryptobyte.String, prefixes []netip.Prefix) ([]netip.Prefix, error) {
	var family, blocks, afi cryptobyte.String
	if !families.ReadASN1(&family, cbasn1.SEQUENCE) || !family.ReadASN1(&afi, cbasn1.OCTET_STRING) {
		return nil, errors.New("an IPAddressFamily without addressFamily")
	}
	if family.PeekASN1Tag(cbasn1.NULL) {
		return nil, errors.New("inherited blocks are not supported")
	}
	if !family.ReadASN1(&blocks, cbasn1.SEQUENCE) || !family.Empty() {
		return nil, errors.New("an IPAddressFamily without addressesOrRanges")
	}
	for !blocks.Empty() {
		if len(prefixes) == maxBlocks {
			return nil, fmt.Errorf("more than %d prefixes", maxBlocks)
		}
		p, err := readPrefix(&blocks, afi)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

func readPrefix(s *cryptobyte.String, afi []byte) (netip.Prefix, error) {
	if s.PeekASN1Tag(cbasn1.SEQUENCE) {
		return netip.Prefix{}, errors.New("address ranges are not supported")
	}
	var bits asn1.BitString
	if !s.ReadASN1BitString(&bits) {
		return netip.Prefix{}, errors.New("a prefix that is no BIT STRING")
	}
	size := 0
	switch {
	case bytes.Equal(afi, familyIPv4):
		size = 4
	case bytes.Equal(afi, familyIPv6):
		size = 16
	default:
		return netip.Prefix{}, fmt.Errorf("address family %.8x is not supported", afi)
	}
	if len(bits.Bytes) > size {
		return netip.Prefix{}, fmt.Errorf("a prefix of %d bits in an address of %d", bits.BitLength, size*8)
	}
	// A copy: bits.Bytes is a part of the input, and has room behind it.
	address, _ := netip.AddrFromSlice(slices.Concat(bits.Bytes, make([]byte, size-len(bits.Bytes))))
	p := netip.PrefixFrom(address, bits.BitLength)
	return p, CheckPrefix(p)
}
