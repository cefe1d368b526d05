package nat64

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Answers to packets that are not translated: an application then learns at once
// what otherwise it would wait for.
const (
	prohibited, unreachableAddress = 1, 3 // codes of RFC 4443, section 3.1
	redirect6                      = 137
	hopLimit                       = 64

	// RFC 4443, section 2.4 (f): errors are bounded, in mean and at once.
	refusalInterval = 10 * time.Millisecond
	refusalBurst    = 20
)

// refuse answers a packet of the mesh with an ICMPv6 error, unless it may have
// none (RFC 4443, section 2.4 (e)).
func (t *Translator) refuse(now time.Time, b []byte, p packet6, m meaning, next func(int) []byte) {
	source, destination := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	isError := p.protocol == protoICMP6 && (p.offset > 0 || len(p.payload) == 0 || p.payload[0] < echoRequest6 || p.payload[0] == redirect6)
	if isError || destination.IsMulticast() || !contains(t.config.Sources, source) || !t.refusals.take(now) {
		return
	}
	quoted := b[:min(len(b), minMTU6-header6-icmpHeader)]
	out := next(header6 + icmpHeader + len(quoted))
	clear(out[:header6+icmpHeader])
	out[0] = 6 << 4
	binary.BigEndian.PutUint16(out[4:], uint16(icmpHeader+len(quoted)))
	out[6], out[7] = protoICMP6, hopLimit
	copy(out[8:24], t.self[:])
	copy(out[24:40], b[8:24])
	icmp := out[header6:]
	icmp[0], icmp[1] = m.kind, m.code
	binary.BigEndian.PutUint32(icmp[4:], m.word)
	copy(icmp[icmpHeader:], quoted)
	binary.BigEndian.PutUint16(icmp[2:], ^fold(pseudo6(out[8:24], out[24:40], len(icmp), protoICMP6)+sum(icmp)))
}

// refusals bounds how many there are.
type refusals struct{ due time.Time } // when all that were sent would be, one an interval

func (r *refusals) take(now time.Time) bool {
	const most = refusalBurst * refusalInterval
	ahead := r.due.Sub(now)
	if ahead < 0 || ahead > most+refusalInterval { // idle, or the clock was set back
		r.due, ahead = now, 0
	}
	if ahead > most-refusalInterval {
		return false
	}
	r.due = r.due.Add(refusalInterval)
	return true
}

// segmentsLeft is where a packet's first routing header that is not at its end
// says so: what an error about it points at (RFC 7915, section 5.1). Extension
// headers in front of it were walked over already.
func segmentsLeft(b []byte) (uint32, bool) {
	next, at := b[6], header6
	for next == protoHopByHop || next == protoDestination || next == protoRouting {
		size, ok := extension(b[at:])
		if !ok {
			return 0, false
		}
		if next == protoRouting && b[at+3] != 0 {
			return uint32(at + 3), b[at] != protoICMP6 // which may be an error itself
		}
		next, at = b[at], at+size
	}
	return 0, false
}
