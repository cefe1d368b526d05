package babel

import (
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

var (
	prefix4  = netip.MustParsePrefix("198.51.100.0/24")
	ours4    = netip.MustParseAddr("192.0.2.1")
	theirs4  = netip.MustParseAddr("192.0.2.2")
	anywhere = netip.MustParsePrefix("::/0")
)

func (s *script) link4(index int, kind Kind, ipv4 netip.Addr) *peer {
	s.Helper()
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: index, LinkLocal: self, Kind: kind, MTU: 1420, IPv4: ipv4})
	return s.peer(index)
}

func (s *script) updatesOf(index int, prefix netip.Prefix) (all []*wire.Update) {
	for _, u := range s.heard {
		if x, ok := u.tlv.(*wire.Update); ok && u.index == index && x.Prefix == prefix {
			all = append(all, x)
		}
	}
	return all
}

// RFC 9229, section 2.1: "if the outgoing interface has been assigned an IPv4
// address, the sender SHOULD prefer an ordinary IPv4 announcement"; never both.
func TestC124_AddressEncodingBySender(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	s.link(2, Tunnel)
	s.link4(3, Tunnel, ours4)
	s.link4(4, Wired, netip.MustParseAddr("2001:db8::1")) // is none
	a.announce(prefix4, originA, 1, 100)
	s.pass(100 * time.Millisecond)
	check := func(when string, isFinite bool) {
		t.Helper()
		for index, want := range map[int]wire.AE{2: wire.AEv4viav6, 3: wire.AEIPv4, 4: wire.AEv4viav6} {
			said := s.updatesOf(index, prefix4)
			if len(said) == 0 {
				t.Errorf("%s: nothing on link %d", when, index)
			}
			for _, u := range said {
				if u.AE != want || isFinite != (u.Metric != Infinity) {
					t.Errorf("%s on link %d: %+v, want AE %d", when, index, u, want)
				}
				if isFinite && index == 3 && u.NextHop != ours4 {
					t.Errorf("%s: next hop %v", when, u.NextHop)
				}
				if isFinite && index != 3 && u.NextHop != self {
					t.Errorf("%s: next hop %v", when, u.NextHop)
				}
			}
		}
		s.heard = nil
	}
	check("announced", true)
	a.retract(prefix4)
	s.pass(100 * time.Millisecond)
	check("retracted", false)
}

// RFC 9229, section 2.2: a retraction by either encoding ends a route by the
// other; an IPv4 route by IPv4 goes by its own next hop.
func TestC122_C124_ReceivedEncodings(t *testing.T) {
	viaV4 := &wire.Update{Prefix: prefix4, Interval: 6000, Seqno: 1, Metric: 100, RouterID: originA, NextHop: theirs4}
	viaV6 := &wire.Update{Prefix: prefix4, Interval: 6000, Seqno: 1, Metric: 100, RouterID: originA}
	gone4 := &wire.Update{Prefix: prefix4, Interval: 6000, Metric: Infinity, NextHop: theirs4}
	gone6 := &wire.Update{Prefix: prefix4, Interval: 6000, Metric: Infinity}
	for _, v := range []struct {
		name string
		in   *wire.Update
		out  *wire.Update
		want netip.Addr
	}{
		{"AE 1 by AE 1", viaV4, gone4, theirs4},
		{"AE 1 by AE 4", viaV4, gone6, theirs4},
		{"AE 4 by AE 1", viaV6, gone4, netip.Addr{}},
		{"AE 4 by AE 4", viaV6, gone6, netip.Addr{}},
	} {
		s := newScript(t, nil)
		a := s.link4(1, Wired, ours4)
		a.say(v.in)
		want := v.want
		if !want.IsValid() {
			want = a.addr
		}
		if r := s.fib[keyOf(prefix4, nowhere)]; r.NextHop != want {
			t.Errorf("%s: route %+v", v.name, r)
		}
		a.say(v.out)
		s.wantUnreachable(v.name, prefix4)
	}
}

// RFC 9229, section 2.3: "AEs 1 and 4 MUST be treated in the same manner" in
// requests; ours use AE 1.
func TestC125_RequestsOfEitherEncoding(t *testing.T) {
	for _, ae := range []string{"01", "04"} {
		s := newScript(t, nil)
		a, b := s.link(1, Tunnel), s.link(2, Tunnel)
		a.announce(prefix4, originA, 1, 100)
		s.pass(time.Second)
		s.heard = nil
		b.raw("0905 " + ae + " 18 c63364")
		s.wantSaid("route request, AE "+ae, "2 "+b.addr.String()+" update 198.51.100.0/24 id a seqno 1 metric 196")
		b.raw("0a11 " + ae + " 18 0001 40 00 000000000000000a c63364")
		s.wantSaid("seqno request, AE "+ae, "2 "+b.addr.String()+" update 198.51.100.0/24 id a seqno 1 metric 196")
		b.raw("0a11 " + ae + " 18 0002 40 00 000000000000000a c63364")
		s.wantSaid("forwarded", "1 "+a.addr.String()+" seqno request 198.51.100.0/24 id a seqno 2 hops 63")
		b.raw("0905 " + ae + " 18 c63365")
		s.wantSaid("unknown", "2 "+b.addr.String()+" retract 198.51.101.0/24")
	}
}

// RFC 9079, section 5.3: IPv4 has no source-specific routes in Linux; they are
// ignored, and nothing is asked of them.
func TestC118_SourceSpecificIPv4IsIgnored(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	from := netip.MustParsePrefix("192.0.2.0/24")
	a.say(&wire.Update{Prefix: prefix4, From: from, Interval: 6000, Seqno: 1, Metric: 100, RouterID: originA})
	a.say(&wire.Update{Prefix: prefix4, Interval: 6000, Seqno: 1, Metric: 100, RouterID: originA})
	if len(s.fib) != 1 || s.fib[keyOf(prefix4, nowhere)].NextHop != a.addr {
		t.Errorf("table %v", s.fib)
	}
	if s.e.find(keyOf(prefix4, from)) != nil {
		t.Error("it is stored")
	}
}

// Section 5.1 of RFC 9079: (D, ::/0) and (D, S) are two routes in everything.
func TestC115_C121_HoldsAreIndependent(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	say := func(p *peer, from netip.Prefix, metric uint16) {
		p.say(&wire.Update{Prefix: anywhere, From: from, Interval: 6000, Seqno: 1, Metric: metric, RouterID: originA})
	}
	say(a, nowhere, 100)
	say(a, prefixA, 100)
	say(b, prefixA, 200)
	a.say(&wire.Update{Prefix: anywhere, Interval: 6000, Metric: Infinity})
	if r := s.fib[keyOf(anywhere, nowhere)]; !r.Unreachable {
		t.Errorf("the plain one: %+v", r)
	}
	if r := s.fib[keyOf(anywhere, prefixA)]; r.NextHop != a.addr {
		t.Errorf("the other one has nothing to do with it: %+v", r)
	}
	say(a, nowhere, 100)
	a.say(&wire.Update{Prefix: anywhere, From: prefixA, Interval: 6000, Metric: Infinity})
	b.say(&wire.Update{Prefix: anywhere, From: prefixA, Interval: 6000, Metric: Infinity})
	if r := s.fib[keyOf(anywhere, prefixA)]; !r.Unreachable {
		t.Errorf("the source-specific one: %+v", r)
	}
	if r := s.fib[keyOf(anywhere, nowhere)]; r.NextHop != a.addr {
		t.Errorf("the plain one is back: %+v", r)
	}
}

// RFC 9079, section 5.3: a wildcard with a source prefix is ignored; without, it
// is about all sources.
func TestC117_Wildcards(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Tunnel)
	s.e.Originate(s.now, prefixA, prefixB, 0)
	a.say(&wire.Update{Prefix: anywhere, From: prefixA, Interval: 6000, Seqno: 1, Metric: 1, RouterID: originA},
		&wire.Update{Prefix: anywhere, Interval: 6000, Seqno: 1, Metric: 1, RouterID: originA})
	s.pass(2 * time.Second)
	s.heard = nil
	b.raw("090d 00 00 8009 40 20010db80042000a")
	s.wantSaid("a wildcard request with a source prefix")
	a.raw("0815 00 00 00 00 1770 0000 ffff 8009 40 20010db80042000a")
	s.wantRoute("a wildcard retraction with one", anywhere, a)
	b.raw("0902 00 00")
	s.pass(time.Second)
	if len(s.updatesOf(2, anywhere)) < 2 || len(s.updatesOf(2, prefixA)) < 1 {
		t.Errorf("a dump has all sources: %v", s.said())
	}
	a.raw("080a 00 00 00 00 1770 0000 ffff")
	s.wantUnreachable("a wildcard retraction", anywhere)
	if r := s.fib[keyOf(anywhere, prefixA)]; !r.Unreachable {
		t.Errorf("... of all sources: %+v", r)
	}
}

// RFC 9079, section 7.1: "any source" is said by saying nothing.
func TestC116_NoSourceOfLengthZero(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	s.e.Originate(s.now, prefixA, anywhere, 0)
	a.say(&wire.RouteRequest{Prefix: prefixA, From: anywhere})
	s.wantSaid("::/0 is no source", "1 * update 2001:db8:42:a::/64 id ff seqno 100 metric 0", "1 "+a.addr.String()+" update 2001:db8:42:a::/64 id ff seqno 100 metric 0")
	a.raw("060a 0000 000000000000000a 0815 02004000 1770 0001 0064 20010db80042000b 8001 00")
	s.wantRoute("received, it is an error", prefixB, nil)
}

// RFC 9079, section 7: the Update is ignored for its sub-TLV, and yet its prefix
// is the default for the next.
func TestC120_IgnoredSourceSpecificUpdateChangesTheState(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	a.raw("060a 0000 000000000000000a" +
		"0815 02804000 1770 0001 0064 20010db80042000a 8001 00 " +
		"080c 02004006 1770 0001 0064 000b")
	s.wantRoute("the first is ignored", prefixA, nil)
	s.wantRoute("the second counts", prefixB, a)
}

// RFC 9229, section 2.2: "if a node cannot install v4-via-v6 routes they MUST NOT
// be selected": the kernel says so, and the other route is taken.
func TestC126_RefusedByTheKernel(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link4(2, Wired, ours4)
	a.announce(prefix4, originA, 1, 100)
	b.say(&wire.Update{Prefix: prefix4, Interval: 6000, Seqno: 1, Metric: 150, RouterID: originA, NextHop: theirs4})
	r := s.fib[keyOf(prefix4, nowhere)]
	if r.NextHop != a.addr {
		t.Fatalf("route %+v", r)
	}
	s.e.RouteFailed(s.now, r, nil)
	s.drain()
	if r := s.fib[keyOf(prefix4, nowhere)]; r.NextHop != theirs4 {
		t.Errorf("route %+v", r)
	}
}
