package babel

import (
	"testing"
	"time"

	"re6st/babel/wire"
)

// asked counts the wildcard requests that went to neighbours by unicast.
func (s *script) asked() (n int) {
	for _, u := range s.heard {
		if r, ok := u.tlv.(*wire.RouteRequest); ok && !r.Prefix.IsValid() && !u.dst.IsMulticast() {
			n++
		}
	}
	s.heard = nil
	return n
}

// A socket that loses datagrams makes us ask every neighbour once, after the
// flood; and if it goes on, ever more rarely.
func TestSocketDrops_AsksWithoutStorm(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	b, c := s.peer(1), s.peer(1)
	for range 20 {
		s.e.SocketDrops(s.now, 1)
		s.pass(100 * time.Millisecond)
	}
	if n := s.asked(); n != 0 {
		t.Errorf("%d requests in the middle of the flood", n)
	}
	s.pass(2 * time.Second)
	if n := s.asked(); n != 3 {
		t.Errorf("%d requests after it, want one for each neighbour", n)
	}
	// The answers are lost too, for ten minutes.
	for range 600 {
		s.e.SocketDrops(s.now, 1)
		a.greet()
		b.greet()
		c.greet()
		s.pass(time.Second)
	}
	if n := s.asked(); n < 12 || n > 30 {
		t.Errorf("%d requests in ten minutes of losses", n)
	}
	s.idle(10*time.Minute, a, b, c)
	s.asked()
	s.e.SocketDrops(s.now, 1)
	s.pass(2 * time.Second)
	if n := s.asked(); n != 3 {
		t.Errorf("%d requests after a long peace, want 3", n)
	}
	s.e.SocketDrops(s.now, 2) // no such link
}
