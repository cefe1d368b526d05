package main

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"re6st/internal/lab"
)

// config says what to show.
type config struct {
	Others  int // nodes beside gateways, hub and homes
	Refresh time.Duration
	// Emulated: the kernel lane's guest, where CPU time is what everything takes.
	Emulated bool
	Out      io.Writer
	Hold     func(io.Writer, *lab.World) // nil: go on at once
}

// Bounds of the demo. The first is row R7's, the second Z4's, the third Z29's.
const (
	wantWhole = 30 * time.Second
	wantWorks = 10 * time.Second
	wantMoved = 5 * time.Second

	// From one provider to the other it is four times as far.
	lineDelay = 5 * time.Millisecond
	perSecond = 20 // packets of a stream
	transfer  = 12 * time.Second
	// warm is how long the stream runs before the death: a tunnel has fast Hellos
	// once it has carried data for three seconds.
	warm     = 5 * time.Second
	patience = 30 * time.Second // where only the whole demo has a bound
)

// ipv4 is what the mesh gives to machines that know nothing else.
var ipv4 = netip.MustParsePrefix("10.42.0.0/16")

// story is one telling. Its steps build on each other.
type story struct {
	lab.TB
	config
	w       *lab.World
	started time.Time

	wan     *lab.Dump // all that the first home exchanges with its provider
	capture *lab.Capture
	phones  []netip.Addr // their addresses, one a home
	olds    []netip.Addr
}

// demo tells the story and prints what was seen. Whatever is not as promised
// fails t.
func demo(t lab.TB, c config) {
	s := &story{TB: t, config: c, started: time.Now()}
	s.title("A world: two providers, a web server that has only IPv6 and one that has only IPv4,\n" +
		"a gateway at each provider, homes that have nothing but IPv4 behind a NAT.")
	s.w = lab.New(t).World(lab.WorldConfig{
		Homes: 2, Late: true, Hub: true, Others: c.Others, Delay: lineDelay, Refresh: c.Refresh,
		Init: []string{"--ipv4", ipv4.String()},
		Home: func(int) []string { return []string{"--lan", "eth0", "--lan-ipv4", "eth1"} },
	})
	s.row("hosts, cables, providers, BGP; registry and nodes joined", time.Since(s.started))
	s.capture = s.w.Capture(ipv4)
	s.mesh()
	s.home()
	s.phone()
	s.otherHome()
	s.old()
	s.trace()
	if c.Hold != nil {
		c.Hold(c.Out, s.w)
	}
	s.death()
	s.end()
}

// title begins a part.
func (s *story) title(text string) { fmt.Fprintf(s.Out, "\n%s\n", text) }

// row is one line of the table.
func (s *story) row(what string, value any) {
	if d, ok := value.(time.Duration); ok {
		unit := time.Millisecond
		if d < time.Second {
			unit = 10 * time.Microsecond
		}
		value = d.Round(unit)
	}
	fmt.Fprintf(s.Out, "  %-66s %v\n", what, value)
}

// within asserts a bound that the requirements give for real machines; of an
// emulated one it is said how long it took.
func (s *story) within(what string, took, bound time.Duration) {
	s.row(what, took)
	if took > lab.Slow(bound) && !s.Emulated {
		s.Errorf("%s: %v, want at most %v", what, took, bound)
	}
}

// works polls until f is content, and returns how long it took.
func (s *story) works(what string, f func() error) time.Duration {
	return s.w.Lab.Await(what, patience, f)
}

// fetches polls until the host gets the server's page, which must see it with
// an address in the prefix.
func (s *story) fetches(h *lab.Host, server netip.Addr, as netip.Prefix) (time.Duration, netip.Addr) {
	var seen netip.Addr
	took := s.works(h.Name+" to fetch the page of "+server.String(), func() (err error) {
		seen, err = h.Page(server, time.Second)
		return err
	})
	if !as.Contains(seen) {
		s.Errorf("%s is seen by %v as %v, want an address of %v", h.Name, server, seen, as)
	}
	return took, seen
}

// reached wants the IPv6 server to connect to the host by its address.
func (s *story) reached(h *lab.Host, at netip.Addr) {
	h.Serve("[::]:80")
	var seen netip.AddrPort
	s.works("the IPv6 server to reach "+h.Name, func() (err error) {
		seen, err = s.w.Web6.Host.Call(netip.AddrPortFrom(at, 80), time.Second)
		return err
	})
	if seen.Addr() != s.w.Web6.V6 {
		s.Errorf("%s sees the IPv6 server as %v, want %v", h.Name, seen.Addr(), s.w.Web6.V6)
	}
	h.Unserve()
	s.row("the IPv6 server opens a connection to "+h.Name, at)
}

func exactly(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// own is the node's prefix: in the demo all are /64.
func own(n *lab.Node) netip.Prefix { return netip.PrefixFrom(n.Address, 64).Masked() }
