package nat64

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"re6st/addressing"
)

// DefaultPool is of the addresses that are reserved for future use (RFC 1112,
// section 4): no network numbers hosts from them, so that it clashes with nobody's, and
// Linux forwards them. They never leave the gateway.
const DefaultPool = "240.64.0.0/16"

// Lengths of headers, and offsets in them.
const (
	header6      = 40
	header4      = 20
	fragmentSize = 8
	icmpHeader   = 8
	tcpHeader    = 20
	udpHeader    = 8
	// minMTU6 is what every IPv6 link carries (RFC 8200, section 5). A packet of
	// IPv4 that may be fragmented is made to fit.
	minMTU6 = 1280
	// maxError4 is how long an ICMP error for IPv4 gets (RFC 1812, section
	// 4.3.2.3).
	maxError4 = 576
	maxPacket = 65535
)

// Protocol numbers.
const (
	protoHopByHop    = 0
	protoICMP4       = 1
	protoTCP         = 6
	protoUDP         = 17
	protoDCCP        = 33
	protoRouting     = 43
	protoFragment    = 44
	protoICMP6       = 58
	protoDestination = 60
	protoUDPLite     = 136
)

// Result is what became of a packet.
type Result uint8

// The results.
const (
	Translated  Result = iota
	Malformed          // headers that contradict themselves or the length
	Source             // from an address that is not to be translated
	Destination        // for an address that is not to be translated (RFC 6052, section 3.1)
	Exhausted          // the pool has no address left
	Unmapped           // for an address of the pool that nobody has
	Unsupported        // a header or an ICMP type that has no counterpart
	Fragment           // a fragment whose checksum cannot be known
	Results            // how many there are
)

func (r Result) String() string {
	return [...]string{"translated", "malformed", "source", "destination", "exhausted", "unmapped", "unsupported", "fragment"}[r]
}

// Config says what is translated.
type Config struct {
	Prefix  netip.Prefix   // of length 96
	Pool    netip.Prefix   // IPv4, at least a /29
	Sources []netip.Prefix // IPv6 sources: those of the mesh
	Refused []netip.Prefix // IPv4 destinations beyond those that nobody may have
	Self    netip.Addr     // IPv6 source of errors whose own cannot be shown (RFC 6791)
}

// Translator is not for concurrent use.
type Translator struct {
	config         Config
	prefix         [12]byte
	self           [16]byte
	pool           *pool
	identification uint16
	refusals       refusals
}

// New makes a translator without mappings.
func New(c Config) (*Translator, error) {
	const prefixBits, poolBitsMin, poolBitsMax = 96, 8, 29
	switch {
	case c.Prefix.Bits() != prefixBits || !c.Prefix.Addr().Is6():
		return nil, fmt.Errorf("NAT64 prefix %v: not an IPv6 prefix of length 96", c.Prefix)
	case !c.Pool.Addr().Is4() || c.Pool.Bits() < poolBitsMin || c.Pool.Bits() > poolBitsMax || c.Pool != c.Pool.Masked():
		return nil, fmt.Errorf("NAT64 pool %v: not an IPv4 prefix of length %d to %d", c.Pool, poolBitsMin, poolBitsMax)
	case !c.Self.Is6():
		return nil, fmt.Errorf("NAT64 address %v: not an IPv6 address", c.Self)
	}
	t := &Translator{config: c, self: c.Self.As16(), pool: newPool(c.Pool)}
	t.SetPrefix(c.Prefix)
	return t, nil
}

// Mappings is how many sources have an address.
func (t *Translator) Mappings() int { return len(t.pool.index) }

// Own is the translator's own IPv4 address, from which it sends errors.
func Own(pool netip.Prefix) netip.Addr { return pool.Masked().Addr().Next() }

// Translate translates one packet. next gives a buffer of the size asked for, for
// each packet that comes of it: one, or several fragments, or the error that
// answers it. It is called only when the packet will be made.
func (t *Translator) Translate(now time.Time, packet []byte, next func(size int) []byte) Result {
	if len(packet) == 0 {
		return Malformed
	}
	switch packet[0] >> 4 {
	case 6:
		return t.to4(now, packet, next)
	case 4:
		return t.to6(now, packet, next)
	}
	return Malformed
}

// embedded is the IPv4 address in one under the prefix.
func (t *Translator) embedded(address []byte) (uint32, bool) {
	return binary.BigEndian.Uint32(address[12:16]), [12]byte(address[:12]) == t.prefix
}

func (t *Translator) embed(out []byte, address uint32) {
	copy(out, t.prefix[:])
	binary.BigEndian.PutUint32(out[12:], address)
}

// isReachable says whether an IPv4 address may stand under the prefix.
func (t *Translator) isReachable(address uint32) bool {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], address)
	a := netip.AddrFrom4(b)
	return addressing.MayEmbed(t.config.Prefix, a) && !contains(t.config.Refused, a)
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// SetPrefix replaces the NAT64 prefix, of length 96. The mappings stay.
func (t *Translator) SetPrefix(p netip.Prefix) {
	b := p.Addr().As16()
	t.config.Prefix = p
	copy(t.prefix[:], b[:])
}
