package wire

import (
	"encoding/hex"
	"net/netip"
	"time"
)

const (
	// Port is the UDP port of both ends (RFC 8966, section 5).
	Port = 6696
	// Infinity is the metric of a retraction and the rxcost of a deaf link.
	Infinity = 0xFFFF
	// HeaderLen is the length of a packet header.
	HeaderLen = 4

	// Version is that of the protocol, in each packet header.
	Version = 2

	magic = 42
)

// Group is the multicast address of all Babel routers of a link.
func Group() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 13: 0x01, 15: 0x06})
}

// Type is the type of a TLV (RFC 8966, section 4.6).
type Type uint8

const (
	TypePad1         Type = 0
	TypePadN         Type = 1
	TypeAckRequest   Type = 2
	TypeAck          Type = 3
	TypeHello        Type = 4
	TypeIHU          Type = 5
	TypeRouterID     Type = 6
	TypeNextHop      Type = 7
	TypeUpdate       Type = 8
	TypeRouteRequest Type = 9
	TypeSeqnoRequest Type = 10

	// RFC 8967. The reader leaves them to babel/mac.
	TypeMAC              Type = 16
	TypePC               Type = 17
	TypeChallengeRequest Type = 18
	TypeChallengeReply   Type = 19
)

// subType is the type of a sub-TLV (section 4.7).
type subType uint8

const (
	subPad1         subType = 0
	subPadN         subType = 1
	subTimestamp    subType = 3   // RFC 9616
	subSourcePrefix subType = 128 // RFC 9079

	// Sub-TLVs that say something of the route and not of the hop, and that a
	// relay passes on with it. The standard knows none: a router cannot tell, of
	// what it does not understand, whether it is still true one hop further
	// (Diversity and Timestamp are not). So there is a range of its own for them,
	// the first half of what section 5 leaves to experiments; all other unknown
	// ones are ignored and end here, as everywhere.
	subOpaqueFirst subType = 112
	subOpaqueLast  subType = 119

	// subMandatory marks the sub-TLVs without which the TLV must not be
	// understood (section 4.4).
	subMandatory subType = 0x80
)

// AE is an address encoding (section 4.1.4).
type AE uint8

const (
	AEWildcard  AE = 0
	AEIPv4      AE = 1
	AEIPv6      AE = 2
	AELinkLocal AE = 3
	AEv4viav6   AE = 4 // RFC 9229
)

// RouterID names the originator of a route. All zeros and all ones are illegal
// (section 4.1.3); the zero value means none.
type RouterID [8]byte

// IsLegal tells whether the router-id may appear in a packet.
func (id RouterID) IsLegal() bool {
	return id != RouterID{} && id != RouterID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}

// String is the colon hex in groups of two octets, as in 2001:0db8:0042:0001.
func (id RouterID) String() string {
	b := make([]byte, 0, 19)
	for i := 0; i < len(id); i += 2 {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, id[i:i+2])
	}
	return string(b)
}

// Interval is a time on the wire, in centiseconds (section 4.1.2).
type Interval uint16

// Duration converts; the largest is 655.35 s.
func (i Interval) Duration() time.Duration { return time.Duration(i) * 10 * time.Millisecond }

// IntervalOf rounds up to centiseconds, as an interval is a promise, within 10 ms
// and 655.34 s: zero is illegal in most TLVs and 0xFFFF means "never again" in
// Updates.
func IntervalOf(d time.Duration) Interval {
	const unit = 10 * time.Millisecond
	return Interval(min(max((d+unit-1)/unit, 1), 0xFFFE))
}

// TLV is one of the structs below, always by pointer.
type TLV interface{ tlvType() Type }

// AckRequest asks for an Ack within Interval (section 4.6.3).
type AckRequest struct {
	Opaque   uint16
	Interval Interval
}

// Ack answers an AckRequest (section 4.6.4).
type Ack struct{ Opaque uint16 }

// Hello announces the sender (section 4.6.5). Interval zero: unscheduled.
type Hello struct {
	Unicast   bool
	Seqno     uint16
	Interval  Interval
	Timestamp Timestamp
}

// Timestamp is the sub-TLV of RFC 9616 in a Hello: when it was sent, in
// microseconds of the sender's clock.
type Timestamp struct {
	Present  bool
	Transmit uint32
}

// IHU says "I hear you" (section 4.6.6). Address zero: whoever receives it.
type IHU struct {
	RxCost   uint16
	Interval Interval
	Address  netip.Addr
	Echo     Echo
}

// Echo is the sub-TLV of RFC 9616 in an IHU: the transmit timestamp of the
// neighbour's last Hello, and when that arrived by our clock.
type Echo struct {
	Present         bool
	Origin, Receive uint32
}

// Update announces or, with Metric Infinity, retracts a route (section 4.6.9).
// The reader has resolved Prefix, RouterID and NextHop; the writer compresses.
type Update struct {
	AE       AE
	Prefix   netip.Prefix // zero with AEWildcard: retract everything
	From     netip.Prefix // zero: any source (RFC 9079)
	Interval Interval     // 0xFFFF: not repeated
	Seqno    uint16
	Metric   uint16
	RouterID RouterID   // zero in a retraction: the sender said none
	NextHop  netip.Addr // zero in a retraction, or when writing: the packet's source, unless an Update before it in the packet has an IPv6 one
	// Attachment is the opaque sub-TLVs, as they are on the wire. It may be a part
	// of the datagram, and lives as long.
	Attachment []byte
}

// RouteRequest asks for an Update or, without prefix, for all (section 4.6.10).
type RouteRequest struct {
	Prefix netip.Prefix
	From   netip.Prefix
}

// SeqnoRequest asks for a route with a newer seqno (section 4.6.11).
type SeqnoRequest struct {
	Prefix   netip.Prefix
	From     netip.Prefix
	Seqno    uint16
	HopCount uint8
	RouterID RouterID
}

func (*AckRequest) tlvType() Type   { return TypeAckRequest }
func (*Ack) tlvType() Type          { return TypeAck }
func (*Hello) tlvType() Type        { return TypeHello }
func (*IHU) tlvType() Type          { return TypeIHU }
func (*Update) tlvType() Type       { return TypeUpdate }
func (*RouteRequest) tlvType() Type { return TypeRouteRequest }
func (*SeqnoRequest) tlvType() Type { return TypeSeqnoRequest }
