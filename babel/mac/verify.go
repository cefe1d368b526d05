package mac

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"re6st/babel/wire"
)

// Outcome is what became of a packet.
type Outcome uint8

const (
	// Accepted: it is authentic and fresh.
	Accepted Outcome = iota
	// Unsigned: no MAC in the trailer.
	Unsigned
	// Forged: none of its MACs is by one of our keys.
	Forged
	// Uncounted: no packet counter.
	Uncounted
	// Replayed: the packet counter was seen before, or is too old.
	Replayed
	// Unproven: authentic, but it may be old. Its sender has to answer a challenge.
	Unproven
)

func (o Outcome) String() string {
	return [...]string{"accepted", "no MAC", "wrong MAC", "no packet counter", "replayed", "not proven fresh"}[o]
}

// Verdict says what to do with a packet, and what to send to its sender: at
// once, by unicast, and before anything else on this interface. The nonces live
// until the next call and as long as the packet.
type Verdict struct {
	Outcome Outcome
	// IsMeeting: with this packet the peer became known, or known in a new life.
	IsMeeting bool
	// Reply is the nonce of a Challenge Reply, if MustReply.
	Reply     []byte
	MustReply bool
	// Challenge is the nonce of a Challenge Request, or nil.
	Challenge []byte
}

// Verify is RFC 8967, section 4.3. Before a MAC has matched nothing is
// remembered and nothing sent.
func (i *Interface) Verify(now time.Time, src, dst netip.AddrPort, packet []byte) Verdict {
	signed, trailer, err := wire.Split(packet)
	if err != nil || !hasMAC(trailer) {
		return Verdict{Outcome: Unsigned}
	}
	if !i.matches(src, dst, signed, trailer) {
		return Verdict{Outcome: Forged}
	}
	addr := src.Addr().WithZone("")
	p := i.peers.find(now, addr)
	s := preparse(p, signed[wire.HeaderLen:])
	isMulticast := dst.Addr().IsMulticast()
	isMeeting := s.isProof && !p.hasIndex(s.pc.Index)
	v := Verdict{Outcome: judge(now, p, s, isMulticast)}
	v.IsMeeting = isMeeting && v.Outcome == Accepted

	// "A challenge sent to a multicast address MUST be silently ignored", and one
	// in a packet that was seen before may be.
	wantsReply := s.hasRequest && !isMulticast && v.Outcome != Replayed
	if wantsReply || v.Outcome == Unproven {
		if p == nil {
			p = i.peers.add(now, addr)
		}
		i.answer(now, p, s, wantsReply, &v)
	}
	return v
}

// answer obeys the limits: a replayed packet costs us one of ours in gap.
func (i *Interface) answer(now time.Time, p *peer, s preparsed, wantsReply bool, v *Verdict) {
	if p == nil {
		return
	}
	if wantsReply && isDue(now, p.repliedAt) {
		p.repliedAt = now
		v.Reply, v.MustReply = s.request, true
	}
	if v.Outcome == Unproven && isDue(now, p.challengedAt) {
		p.challengedAt = now
		if !p.hasNonce || now.Sub(p.nonceAt) >= nonceRepeat {
			binary.BigEndian.PutUint64(p.nonce[:], i.rand.Uint64())
			p.hasNonce, p.nonceAt = true, now
		}
		v.Challenge = p.nonce[:]
	}
}

func hasMAC(trailer []byte) bool {
	for t := range wire.Each(trailer) {
		if t == wire.TypeMAC {
			return true
		}
	}
	return false
}

// matches: "The MAC of the packet MUST NOT be computed for each MAC TLV contained
// in the packet, but only once for each configured key."
func (i *Interface) matches(src, dst netip.AddrPort, signed, trailer []byte) bool {
	pseudo := appendPseudo(i.pseudo[:0], src, dst)
	for _, h := range i.hashers {
		if h.matches(pseudo, signed, trailer) {
			return true
		}
	}
	return false
}

// preparsed is what the first walk through the body yields.
type preparsed struct {
	pc         wire.PC
	hasPC      bool
	request    []byte // nonce of the last Challenge Request
	hasRequest bool
	isProof    bool // a Challenge Reply with our nonce
}

func preparse(p *peer, body []byte) preparsed {
	var s preparsed
	for t, b := range wire.Each(body) {
		switch t {
		case wire.TypePC:
			if pc, ok := wire.ParsePC(b); ok && !s.hasPC {
				s.pc, s.hasPC = pc, true
			}
		case wire.TypeChallengeRequest:
			if len(b) <= wire.NonceMax {
				s.request, s.hasRequest = b, true
			}
		case wire.TypeChallengeReply:
			if p != nil && p.hasNonce && bytes.Equal(b, p.nonce[:]) {
				s.isProof = true
			}
		}
	}
	return s
}

func judge(now time.Time, p *peer, s preparsed, isMulticast bool) Outcome {
	switch {
	case !s.hasPC:
		return Uncounted
	case p == nil:
		return Unproven
	case s.isProof:
		p.prove(now, s.pc)
		return Accepted
	case !p.hasIndex(s.pc.Index):
		return Unproven
	case !p.take(now, s.pc.Count, isMulticast):
		// "No challenge is sent in this case, since the mismatch might be caused by
		// harmless packet reordering."
		return Replayed
	}
	return Accepted
}
