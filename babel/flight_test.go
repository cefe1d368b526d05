package babel

import (
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

// A tunnel that loses what was said at first seems to lead to a neighbour that
// acknowledges nothing. It is asked with each of its Hellos, and told everything
// when it answers: the next dump may be minutes away.
func TestNeighbourThatSeemedMuteIsToldAgain(t *testing.T) {
	s := newScript(t, nil)
	s.e.Originate(s.now, prefixB, nowhere, 0)
	s.up(1, Tunnel)
	p := s.meet(&peer{s: s, index: 1, addr: netip.MustParseAddr("fe80::1:1"), mute: true})
	count := func(is func(wire.TLV) bool) (n int) {
		for _, u := range s.heard {
			if is(u.tlv) {
				n++
			}
		}
		return n
	}
	ofOurs := func(tlv wire.TLV) bool { u, ok := tlv.(*wire.Update); return ok && u.Prefix == prefixB }
	probes := func(tlv wire.TLV) bool { r, ok := tlv.(*wire.AckRequest); return ok && r.Opaque == 0 }
	s.idle(30*time.Second, p)
	s.heard = nil
	const minutes = 2
	s.idle(minutes*time.Minute, p)
	if asked := count(probes); asked == 0 || asked > minutes*60/4+1 {
		t.Errorf("asked %d times in %d minutes, want once with each Hello", asked, minutes)
	}
	if n := count(ofOurs); n > 0 {
		t.Errorf("its prefix was said %d times", n)
	}
	p.mute, s.heard = false, nil
	p.say(&wire.Ack{Opaque: 0})
	s.pass(time.Second)
	if count(ofOurs) == 0 {
		t.Error("it is not told what it missed")
	}
	s.heard = nil
	s.idle(time.Minute, p)
	if n := count(probes); n > 0 {
		t.Errorf("asked %d times though it has answered", n)
	}
}
