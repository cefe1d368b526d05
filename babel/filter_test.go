package babel

import (
	"testing"
	"time"

	"re6st/babel/wire"
)

// policy is a filter that changes its mind.
type policy struct {
	refused map[int]bool // interfaces on which prefixA is not announced
	add     map[int]uint16
	cost    uint16
}

func (p *policy) export(a Announcement) (uint16, bool) {
	return p.add[a.Interface], !(a.Prefix == prefixA && p.refused[a.Interface])
}

func (p *policy) config(c *Config) {
	c.Export = p.export
	c.ImportCost = func(u Update) uint16 {
		if u.Prefix == prefixA {
			return p.cost
		}
		return 0
	}
}

func TestExportIsPerInterface(t *testing.T) {
	p := &policy{refused: map[int]bool{2: true}, add: map[int]uint16{}}
	s := newScript(t, p.config)
	a, b, c := s.link(1, Tunnel), s.link(2, Tunnel), s.link(3, Tunnel)
	a.announce(prefixA, originA, 1, 100)
	a.announce(prefixB, originA, 1, 100)
	s.wantSaid("the filter hides A on link 2",
		"2 * update 2001:db8:42:b::/64 id a seqno 1 metric 196",
		"3 * update 2001:db8:42:a::/64 id a seqno 1 metric 196",
		"3 * update 2001:db8:42:b::/64 id a seqno 1 metric 196")

	b.say(&wire.RouteRequest{Prefix: prefixA})
	s.wantSaid("whoever asks is told that there is none", "2 "+b.addr.String()+" retract 2001:db8:42:a::/64")
	b.say(&wire.SeqnoRequest{Prefix: prefixA, Seqno: 2, HopCount: 9, RouterID: originA})
	s.wantSaid("and cannot ask further")
	b.say(&wire.RouteRequest{})
	s.pass(2 * time.Second)
	for _, line := range s.said() {
		if line != "2 * update 2001:db8:42:b::/64 id a seqno 1 metric 196" {
			t.Error("in a dump:", line)
		}
	}

	p.refused = map[int]bool{3: true}
	s.e.FilterChanged(s.now)
	s.wantSaid("what is refused now is retracted, what is permitted announced, the rest left alone",
		"2 * update 2001:db8:42:a::/64 id a seqno 1 metric 196",
		"3 * retract 2001:db8:42:a::/64")
	s.e.FilterChanged(s.now)
	s.wantSaid("nothing changed")

	a.retract(prefixA)
	s.wantSaid("who never heard of it hears no retraction", "1 * retract 2001:db8:42:a::/64", "2 * retract 2001:db8:42:a::/64")
	_ = c
}

func TestExportAddsToTheMetric(t *testing.T) {
	p := &policy{refused: map[int]bool{}, add: map[int]uint16{2: 1000}}
	s := newScript(t, p.config)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	a.announce(prefixA, originA, 1, 100)
	s.wantSaid("with what the filter adds", "2 * update 2001:db8:42:a::/64 id a seqno 1 metric 1196")
	// "the source table": what was sent, not what the route has. So the peer may
	// be used as long as it is below that.
	if x, ok := s.source(prefixA, nowhere, originA); !ok || x.Metric != 1196 {
		t.Errorf("source %+v", x)
	}
	p.add[2] = 500
	s.e.FilterChanged(s.now)
	s.pass(time.Second)
	if x, _ := s.source(prefixA, nowhere, originA); x.Metric != 696 {
		t.Errorf("source %+v after the filter has changed", x)
	}
	s.said()
	p.add[2] = Infinity
	s.e.FilterChanged(s.now)
	s.pass(time.Second)
	s.wantSaid("infinity is a retraction too", "2 * retract 2001:db8:42:a::/64")
	_ = b
}

func TestExportOfOurOwn(t *testing.T) {
	p := &policy{refused: map[int]bool{1: true}, add: map[int]uint16{2: 50}}
	s := newScript(t, p.config)
	s.link(1, Tunnel)
	s.link(2, Wired)
	s.e.Originate(s.now, prefixA, nowhere, 10)
	s.wantSaid("own prefixes pass the filter", "2 * update 2001:db8:42:a::/64 id ff seqno 100 metric 60")
	p.refused[1] = false
	s.e.FilterChanged(s.now)
	s.pass(time.Second)
	s.wantSaidOnly("and may come later", "1 * update 2001:db8:42:a::/64 id ff seqno 100 metric 10")
}

func (s *script) wantSaidOnly(why, want string) {
	s.Helper()
	for _, line := range s.said() {
		if line != want && line[:1] == want[:1] {
			s.Errorf("%s: %s, want %s", why, line, want)
		}
	}
}

// A link that comes up gets no retractions of what it never heard.
func TestExportToANewLink(t *testing.T) {
	p := &policy{refused: map[int]bool{2: true}, add: map[int]uint16{}}
	s := newScript(t, p.config)
	a := s.link(1, Tunnel)
	a.announce(prefixA, originA, 1, 100)
	s.pass(time.Second)
	b := s.link(2, Tunnel)
	s.pass(3 * time.Second)
	for _, u := range s.heard {
		if x, ok := u.tlv.(*wire.Update); ok && u.index == 2 && x.Prefix == prefixA {
			t.Errorf("said to link 2: %s", describe(x))
		}
	}
	_ = b
}

func TestImportCost(t *testing.T) {
	p := &policy{add: map[int]uint16{}, cost: 16000}
	s := newScript(t, p.config)
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.announce(prefixA, originA, 1, 100)
	a.announce(prefixB, originA, 1, 100)
	s.pass(time.Second)
	if r, _ := s.route(prefixA, a); r.Metric != 16196 {
		t.Errorf("metric %d with the penalty", r.Metric)
	}
	if r, _ := s.route(prefixB, a); r.Metric != 196 {
		t.Errorf("metric %d without", r.Metric)
	}
	p.cost = 0
	s.e.FilterChanged(s.now)
	if r, _ := s.route(prefixA, a); r.Metric != 196 {
		t.Errorf("metric %d when the penalty has ended", r.Metric)
	}
	_ = b
}
