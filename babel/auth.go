package babel

import (
	"net/netip"
	"slices"
	"time"

	"re6st/babel/mac"
	"re6st/babel/wire"
)

// auth is RFC 8967 on a link: it stands before the parser and the neighbours.
type auth struct {
	*mac.Interface
	MACState
	reportAt time.Time
	meeting  meeting
}

const (
	// A challenge to a router that is none yet must not push out a neighbour.
	authPeersMax       = 2 * neighboursMax
	authTunnelPeersMax = 2 * tunnelPeersMax
	// reportGap is the least time between two events about refused packets.
	reportGap = 10 * time.Second
)

// SetKeys changes the keys of a link; none turn the MAC off. What is known of
// the neighbours stays, so that nothing is lost while a key is being replaced:
// add the new one everywhere, then remove the old one everywhere (RFC 8967,
// section 5).
func (e *Engine) SetKeys(now time.Time, index int, keys []mac.Key, acceptUnsigned bool) {
	if l := e.link(index); e.begin(now) && l != nil {
		l.setKeys(keys, acceptUnsigned)
	}
}

func (l *link) setKeys(keys []mac.Key, acceptUnsigned bool) {
	l.Keys, l.AcceptUnsigned = slices.Clone(keys), acceptUnsigned
	switch {
	case len(keys) == 0:
		l.auth, l.reserved = nil, 0
		return
	case l.auth == nil:
		most := authPeersMax
		if l.Kind == Tunnel {
			most = authTunnelPeersMax
		}
		l.auth = &auth{Interface: mac.NewInterface(l.e.Rand, most, keys)}
	default:
		l.auth.SetKeys(keys)
	}
	l.reserved = l.auth.Overhead()
}

// authenticate tells whether a datagram may be read, and answers it as RFC 8967
// demands.
func (l *link) authenticate(now time.Time, src netip.AddrPort, dst netip.Addr, payload []byte) bool {
	a := l.auth
	if a == nil {
		return true
	}
	v := a.Verify(now, src, netip.AddrPortFrom(dst, wire.Port), payload)
	a.count(v)
	from := src.Addr().WithZone("")
	if v.MustReply || v.Challenge != nil {
		l.answer(from, v)
	}
	if v.Outcome != mac.Accepted && !l.AcceptUnsigned {
		l.reportRefused(now, from, v.Outcome)
		return false
	}
	if v.IsMeeting {
		// Each may have dropped what the other said so far.
		l.helloSoon(now)
	}
	return true
}

func (a *auth) count(v mac.Verdict) {
	switch v.Outcome {
	case mac.Accepted:
		a.Accepted++
	case mac.Unsigned:
		a.Unsigned++
	case mac.Forged:
		a.Forged++
	case mac.Uncounted:
		a.Uncounted++
	case mac.Replayed:
		a.Replayed++
	case mac.Unproven:
		a.Unproven++
	}
	if v.MustReply {
		a.Replies++
	}
	if v.Challenge != nil {
		a.Challenges++
	}
}

// answer sends reply and challenge in one packet. Whoever is challenged "SHOULD
// NOT send any other packets over the same interface before", which the challenger
// would drop: it overtakes what is already waiting.
func (l *link) answer(dst netip.Addr, v mac.Verdict) {
	b := l.newBatch(dst)
	if v.MustReply {
		b.add(&wire.ChallengeReply{Nonce: v.Reply})
	}
	if v.Challenge != nil {
		b.add(&wire.ChallengeRequest{Nonce: v.Challenge})
	}
	b.end()
	packets := l.e.out.Packets
	last := len(packets) - 1
	p := packets[last]
	p.isAnswer = true
	at := slices.IndexFunc(packets, func(q Packet) bool { return q.Interface == l.Index && !q.isAnswer })
	copy(packets[at+1:], packets[at:last])
	packets[at] = p
}

func (l *link) reportRefused(now time.Time, from netip.Addr, o mac.Outcome) {
	if now.Before(l.auth.reportAt) {
		return
	}
	l.auth.reportAt = now.Add(reportGap)
	l.e.emit(Event{Kind: PacketRefused, Interface: l.Index, Neighbour: from, Text: o.String()})
}

func (a *auth) state(l *link) MACState {
	if a == nil {
		return MACState{}
	}
	s := a.MACState
	s.Keys, s.AcceptUnsigned = len(l.Keys), l.AcceptUnsigned
	return s
}

// seal is what a packet needs to be completed when it leaves.
type seal struct {
	mac.Sealer
	src    netip.AddrPort
	length int // of header and body
}

func (l *link) newSeal(length int) *seal {
	if l.auth == nil {
		return nil
	}
	return &seal{l.auth.Sealer(), netip.AddrPortFrom(l.LinkLocal, wire.Port), length}
}

// close may be called again, when the packet is sent again.
func (s *seal) close(data []byte, dst netip.Addr) []byte {
	return s.Seal(data[:s.length], s.src, netip.AddrPortFrom(dst, wire.Port))
}
