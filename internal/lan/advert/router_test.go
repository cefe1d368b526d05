package advert

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	start   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	net48   = netip.MustParsePrefix("2001:db8:42::/48")
	lan     = LAN{Interface: "eth0", Prefix: netip.MustParsePrefix("2001:db8:42:10::/64")}
	phone   = netip.MustParseAddr("fe80::5")
	box     = netip.MustParseAddr("fe80::b0")
	nobody  = netip.IPv6Unspecified()
	gateway = Mesh{Networks: []netip.Prefix{net48}, Default: true, MTU: 1420}
)

// sent is a message and when it went out.
type sent struct {
	Message
	at time.Duration // since start
}

// link drives a router in virtual time and notes what it sends.
type link struct {
	t      testing.TB
	router *Router
	now    time.Time
	all    []sent
}

func newTestLink(t testing.TB, m Mesh) *link {
	l := &link{t: t, now: start, router: New(start, lan, 1500, rand.New(rand.NewPCG(1, 2)))}
	l.router.SetMesh(start, m)
	return l
}

// run lets the time pass.
func (l *link) run(d time.Duration) *link {
	l.t.Helper()
	end := l.now.Add(d)
	for steps := 0; ; steps++ {
		l.router.Advance(l.now)
		for _, m := range l.router.Output() {
			l.all = append(l.all, sent{m, l.now.Sub(start)})
		}
		next := l.router.Deadline(l.now)
		if l.router.Done() || next.After(end) {
			break
		}
		if steps > 100_000 {
			l.t.Fatalf("no end of deadlines at %v, the next %v", l.now, next)
		}
		l.now = maxTime(next, l.now)
	}
	l.now = end
	return l
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// take gives what was sent since the last call.
func (l *link) take() []sent {
	all := l.all
	l.all = nil
	return all
}

func (l *link) last() Advertisement {
	l.t.Helper()
	if len(l.all) == 0 {
		l.t.Fatal("nothing was sent")
	}
	return l.all[len(l.all)-1].Advertisement
}

// RFC 4861, section 6.2.4: the first three within 16 s of each other, then
// between 200 and 600 s.
func TestSection6_2_4_Unsolicited(t *testing.T) {
	all := newTestLink(t, gateway).run(2 * time.Hour).take()
	if all[0].at > time.Second {
		t.Errorf("the first came after %v", all[0].at)
	}
	for i := 1; i < len(all); i++ {
		gap := all[i].at - all[i-1].at
		low, high := minInterval, maxInterval
		if i < initialCount {
			low, high = minDelayBetween, maxInitialInterval
		}
		if gap < low || gap > high {
			t.Errorf("message %d came %v after the one before, want %v to %v", i, gap, low, high)
		}
	}
}

// RFC 4861, section 6.2.6: an answer within half a second, to the machine alone
// where it has an address, else to all, and these never within 3 s of another.
func TestSection6_2_6_Solicited(t *testing.T) {
	l := newTestLink(t, gateway).run(time.Minute)
	l.take()
	l.router.Solicited(l.now, phone)
	l.router.Solicited(l.now, phone)
	asked := l.now.Sub(start)
	all := l.run(time.Second).take()
	if len(all) != 1 || all[0].To != phone || all[0].at-asked > maxDelay {
		t.Errorf("one who asked twice got %+v", all)
	}
	for range 20 {
		l.router.Solicited(l.now, nobody)
		l.run(500 * time.Millisecond)
	}
	all = l.take()
	if len(all) < 3 || len(all) > 5 {
		t.Errorf("10 s of questions from nobody had %d answers, want one in 3 s", len(all))
	}
	for i := range 200 { // a flood from many addresses
		a := phone.As16()
		a[14], a[15] = byte(i>>8), byte(i)
		l.router.Solicited(l.now, netip.AddrFrom16(a))
	}
	if all = l.run(5 * time.Second).take(); len(all) > maxUnicast+2 {
		t.Errorf("200 machines that ask at once had %d answers", len(all))
	}
}

// RFC 4861, section 6.2.5: one last message, with everything taken back.
func TestSection6_2_5_Stop(t *testing.T) {
	m := gateway
	m.DNS, m.Domain, m.NAT64 = []netip.Addr{lan.Address().Addr()}, "mesh", netip.MustParsePrefix("64:ff9b::/96")
	l := newTestLink(t, m).run(time.Minute)
	l.router.Solicited(l.now, nobody)
	l.run(time.Second).take()
	l.router.Stop(l.now)
	l.router.Solicited(l.now, phone)
	asked := l.now.Sub(start)
	all := l.run(time.Minute).take()
	if len(all) != 1 || all[0].at-asked > minDelayBetween || !l.router.Done() {
		t.Fatalf("after the stop at %v: %+v", asked, all)
	}
	a := all[0].Advertisement
	if a.RouterLifetime != 0 || a.Preferred != 0 || a.Valid == 0 || len(a.Offers) != 4 {
		t.Errorf("the last word is %+v", a)
	}
	for _, o := range a.Offers {
		if o.Lifetime != 0 {
			t.Errorf("%+v is not taken back", o)
		}
	}
}

// RFC 7084, G-4: no way to the Internet, no default router. A gap of a few
// seconds between two gateways is not told.
func TestG4_DefaultRouterOnlyWithAWayOut(t *testing.T) {
	without := gateway
	without.Default = false
	l := newTestLink(t, without).run(time.Minute)
	if l.last().RouterLifetime != 0 {
		t.Error("a default router without a way out")
	}
	l.router.SetMesh(l.now, gateway)
	if l.run(5 * time.Second); l.last().RouterLifetime != routerLifetime {
		t.Error("with a way out it is no default router")
	}
	l.run(time.Minute).take()
	l.router.SetMesh(l.now, without)
	l.run(5 * time.Second)
	l.router.SetMesh(l.now, gateway)
	if all := l.run(20 * time.Second).take(); len(all) != 0 {
		t.Errorf("a change of gateways was told: %+v", all)
	}
	l.router.SetMesh(l.now, without)
	l.run(5 * time.Second)
	l.router.SetMesh(l.now, without)
	if l.run(10 * time.Second); l.last().RouterLifetime != 0 {
		t.Error("after the loss of the way out it is still a default router")
	}
}

func TestAnotherRouterTakesPrecedence(t *testing.T) {
	m := gateway
	m.DNS = []netip.Addr{lan.Address().Addr()}
	l := newTestLink(t, m).run(time.Minute)
	if a := l.last(); a.MTU != 1420 || !hasKind(a, DNS) {
		t.Errorf("alone it says %+v", a)
	}
	l.take()
	l.router.Heard(l.now, box, Heard{RouterLifetime: 5 * time.Minute, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:77::/64")}})
	a := l.run(5 * time.Second).last()
	if a.RouterLifetime != 0 || a.MTU != 0 || !hasKind(a, Route) {
		t.Errorf("beside another router it says %+v, want a route and no default", a)
	}
	for _, o := range a.Offers {
		if o.Kind == DNS && o.Lifetime != 0 {
			t.Error("a server that knows the mesh alone is offered beside another router")
		}
	}
	l.take()
	if a = l.run(6 * time.Minute).last(); a.RouterLifetime != routerLifetime {
		t.Error("after the other's time it is no default router")
	}
	// A router that is a member is none to stand back for.
	l.router.Heard(l.now, box, Heard{RouterLifetime: time.Hour, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:42:77::/64")}})
	l.run(time.Minute).take()
	if a = l.run(20 * time.Minute).last(); a.RouterLifetime != routerLifetime {
		t.Error("it stands back for another member")
	}
	l.router.Heard(l.now, phone, Heard{Prefixes: []netip.Prefix{lan.Prefix}})
	others := l.router.Others(l.now)
	if len(others) != 2 || !others[0].IsMember || others[0].Conflicts || !others[1].Conflicts {
		t.Errorf("others: %+v", others)
	}
}

func hasKind(a Advertisement, k Kind) bool {
	return slices.ContainsFunc(a.Offers, func(o Offered) bool { return o.Kind == k && o.Lifetime > 0 })
}

// What is no more is taken back three times, and then not spoken of.
func TestLeavingOffers(t *testing.T) {
	m := gateway
	m.Announced = []netip.Prefix{netip.MustParsePrefix("2001:db8:99::/48")}
	l := newTestLink(t, m).run(time.Minute)
	l.take()
	l.router.SetMesh(l.now, gateway)
	all := l.run(time.Hour).take()
	for i, s := range all {
		said := slices.ContainsFunc(s.Advertisement.Offers, func(o Offered) bool { return o.Prefix == m.Announced[0] && o.Lifetime == 0 })
		if said != (i < initialCount) {
			t.Errorf("message %d: taken back %v", i, said)
		}
	}
}

// Whatever happens on the link and in the mesh: messages to all keep their
// distance, answers their bound, the content its size, and time goes on.
func TestAnyLink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		r := rand.New(rand.NewPCG(seed, 7))
		l := &link{t: silent{TB: nil, t: t}, now: start, router: New(start, lan, 1500, rand.New(rand.NewPCG(seed, 8)))}
		prefix := func() netip.Prefix {
			a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(r.IntN(4)), byte(r.IntN(3))}
			return netip.PrefixFrom(netip.AddrFrom16(a), 48+r.IntN(17)).Masked()
		}
		for range 60 {
			from := netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(r.IntN(40))})
			switch r.IntN(6) {
			case 0:
				m := Mesh{Networks: []netip.Prefix{net48}, Default: r.IntN(2) == 0, MTU: 1200 + r.IntN(500)}
				for range r.IntN(20) {
					m.Announced = append(m.Announced, prefix())
				}
				l.router.SetMesh(l.now, m)
			case 1:
				l.router.Solicited(l.now, from)
			case 2:
				l.router.Solicited(l.now, nobody)
			case 3:
				l.router.Heard(l.now, from, Heard{RouterLifetime: time.Duration(r.IntN(9000)) * time.Second, Prefixes: []netip.Prefix{prefix()}})
			case 4:
				l.router.SetLinkMTU(l.now, r.IntN(9000))
			}
			l.run(time.Duration(r.Int64N(int64(10 * time.Second))))
		}
		lastAll := -time.Hour
		for _, s := range l.take() {
			if len(s.Advertisement.Offers) > maxNetworks+maxAnnounced+maxServers+2+maxLeaving {
				t.Fatalf("%d offers in one message", len(s.Advertisement.Offers))
			}
			if s.To.IsValid() {
				continue
			}
			if s.at-lastAll < minDelayBetween {
				t.Fatalf("messages to all at %v and %v", lastAll, s.at)
			}
			lastAll = s.at
		}
		if len(l.router.Others(l.now)) > maxOthers {
			t.Fatal("too many others")
		}
		l.router.Stop(l.now)
		if l.run(4 * time.Second); !l.router.Done() {
			t.Fatal("no end after a stop")
		}
	})
}

// silent lets a link fail a property.
type silent struct {
	testing.TB
	t *rapid.T
}

func (s silent) Helper()                           {}
func (s silent) Fatal(args ...any)                 { s.t.Fatal(args...) }
func (s silent) Fatalf(format string, args ...any) { s.t.Fatalf(format, args...) }

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		own    string
		wishes string
		want   string
	}{
		{"2001:db8:42:10::/64", "eth0", "eth0=2001:db8:42:10::/64"},
		{"2001:db8:42:10::/60", "a b c", "a=2001:db8:42:10::/64 b=2001:db8:42:11::/64 c=2001:db8:42:12::/64"},
		{"2001:db8:42:10::/60", "a b=2001:db8:42:10::/64 c=2001:db8:42:1f::/64", "a=2001:db8:42:11::/64 b=2001:db8:42:10::/64 c=2001:db8:42:1f::/64"},
		{"2001:db8:42:10::/64", "a b", "join with a token of --prefix-length 63"},
		{"2001:db8:42:10::/62", "a b c d e", "join with a token of --prefix-length 61"},
		{"2001:db8:42:10::/65", "a", "too long for a LAN"},
		{"2001:db8:42:10::7/128", "a", "too long for a LAN"},
		{"2001:db8:42:10::/64", "a=2001:db8:42:11::/64", "not of this node's"},
		{"2001:db8:42:10::/64", "a=2001:db8:42::/48", "not of this node's"},
		{"2001:db8:42:10::/60", "a=2001:db8:42:10::/62", "need a /64"},
		{"2001:db8:42:10::/64", "a=2001:db8:42:10::/80", "need a /64"},
		{"2001:db8:42:10::/64", "a=2001:db8:42:10::1/64", "behind its length"},
		{"2001:db8:42:10::/64", "a=10.0.0.0/24", "not of this node's"},
		{"2001:db8:42:10::/60", "a a", "named twice"},
		{"2001:db8:42:10::/60", "a=2001:db8:42:10::/64 b=2001:db8:42:10::/64", "given to both"},
		{"2001:db8:42:10::/60", "a=nonsense", "not a prefix"},
		{"2001:db8:42:10::/60", "=2001:db8:42:10::/64", "not the name of an interface"},
		{"2001:db8:42:10::/60", "a/b", "not the name of an interface"},
		{"ffff:ffff:ffff:fff0::/62", "a b c d e", "no /64 left"},
		{"2001:db8:42:10::/64", "", ""},
	} {
		wishes, err := ParseWishes(strings.Fields(c.wishes))
		var lans []LAN
		if err == nil {
			lans, err = Plan(netip.MustParsePrefix(c.own), wishes)
		}
		var words []string
		for _, l := range lans {
			words = append(words, l.Interface+"="+l.Prefix.String())
		}
		got := strings.Join(words, " ")
		if err != nil {
			got = err.Error()
		}
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s with %q: %s, want %s", c.own, c.wishes, got, c.want)
		}
	}
	if got := lan.Address().String(); got != "2001:db8:42:10::1/64" {
		t.Errorf("our address is %s", got)
	}
}
