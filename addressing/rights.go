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

// Our arc is 2.25 with a number below 2^31: Go reads no larger one, so that a
// real UUID could not be read back. The extensions are not critical, as OpenSSL
// refuses a certificate with a critical extension that it does not know.
var (
	// OIDRights marks the extension that lists what a node may originate beyond
	// its own prefix.
	OIDRights = asn1.ObjectIdentifier{2, 25, 1374820913, 1}

	// OIDRole marks the extension that tells the registry's own certificate from
	// a node's. Its value is the UTF8String RoleRegistry.
	OIDRole = asn1.ObjectIdentifier{2, 25, 1374820913, 2}
)

// RoleRegistry is the role of the registry's server certificate.
const RoleRegistry = "registry"

// Rights are what a node may originate beyond its own prefix. They cannot be RFC
// 3779 blocks: those say which addresses someone owns, not which routes he may
// announce, and neither ::/0 nor two neighbours could stand in them as they are.
type Rights struct {
	Announce []netip.Prefix // exactly these: no more specific ones
	Gateway  bool           // default routes
}

// IsZero reports whether there are none, and no extension is needed.
func (r Rights) IsZero() bool { return len(r.Announce) == 0 && !r.Gateway }

// MarshalRights writes the value of the extension:
//
//	Rights ::= SEQUENCE {
//	   announce  SEQUENCE OF Announced,  -- in order, each once
//	   gateway   BOOLEAN }
//	Announced ::= SEQUENCE {
//	   addressFamily  OCTET STRING (SIZE (2)),
//	   addressPrefix  BIT STRING }        -- both as in RFC 3779
func MarshalRights(r Rights) ([]byte, error) {
	if len(r.Announce) > maxBlocks {
		return nil, fmt.Errorf("marshalling rights: %d prefixes, at most %d", len(r.Announce), maxBlocks)
	}
	for _, p := range r.Announce {
		if err := CheckPrefix(p); err != nil {
			return nil, fmt.Errorf("marshalling rights: %w", err)
		}
	}
	sorted := slices.Compact(slices.SortedFunc(slices.Values(r.Announce), ComparePrefixes))
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, p := range sorted {
				addAnnounced(b, p)
			}
		})
		b.AddASN1Boolean(r.Gateway)
	})
	return b.Bytes()
}

func addAnnounced(b *cryptobyte.Builder, p netip.Prefix) {
	family := familyIPv6
	if p.Addr().Is4() {
		family = familyIPv4
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1OctetString(family)
		addPrefix(b, p)
	})
}

// ParseRights reads what MarshalRights writes, and nothing else: rights that one
// reader sees and another does not are worse than none.
func ParseRights(der []byte) (Rights, error) {
	r, err := parseRights(der)
	if err != nil {
		return Rights{}, fmt.Errorf("parsing rights: %w", err)
	}
	return r, nil
}

func parseRights(der []byte) (Rights, error) {
	var r Rights
	if len(der) > maxExtensionBytes {
		return r, fmt.Errorf("%d bytes, at most %d", len(der), maxExtensionBytes)
	}
	input := cryptobyte.String(der)
	var body, announce cryptobyte.String
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) || !input.Empty() ||
		!body.ReadASN1(&announce, cbasn1.SEQUENCE) || !body.ReadASN1Boolean(&r.Gateway) || !body.Empty() {
		return r, errors.New("not a SEQUENCE of announce and gateway")
	}
	for !announce.Empty() {
		var one, afi cryptobyte.String
		if !announce.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1(&afi, cbasn1.OCTET_STRING) {
			return r, errors.New("a prefix without addressFamily")
		}
		p, err := readPrefix(&one, afi)
		if err != nil {
			return r, err
		}
		if !one.Empty() {
			return r, fmt.Errorf("bytes after prefix %v", p)
		}
		r.Announce = append(r.Announce, p)
	}
	again, err := MarshalRights(r)
	if err != nil {
		return r, err
	}
	if !bytes.Equal(again, der) {
		return r, errors.New("not in canonical form")
	}
	return r, nil
}
