package interop

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// peers are the programs that ours talks to.
var peers = []string{"babeld", "bird"}

// patterns put ours and the peer P into every position of a chain.
var patterns = []string{"ours P", "ours P ours", "P ours P", "ours ours P P", "P ours ours P"}

// variant is one way to configure all routers of a network alike.
type variant struct {
	name      string
	peers     []string
	patterns  []string
	ipv4      ipv4
	configure func(n *node)
	atMost    time.Duration // until all have learned all, with the timers of this package
}

const (
	keySHA256  = "hmac-sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	keyBLAKE2s = "blake2s128:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"

	// "Plain within 3 s, MAC within 5 s, in every chain."
	plainWithin = 3 * time.Second
	macWithin   = 5 * time.Second
)

var short = []string{"ours P ours", "P ours P"}

var variants = []variant{
	{"plain", peers, patterns, noIPv4, func(*node) {}, plainWithin},
	{"MAC-HMAC-SHA256", peers, patterns, noIPv4, withKeys(keySHA256), macWithin},
	{"MAC-BLAKE2s", peers, short, noIPv4, withKeys(keyBLAKE2s), macWithin},
	{"IPv4", peers, short, ae1, func(*node) {}, plainWithin},
	// bird 2.0.12 has no IPv4 via IPv6, and no timestamps.
	{"IPv4-via-IPv6", peers[:1], short, viaIPv6, func(*node) {}, plainWithin},
	// What each says that it costs to be heard by it, the others count.
	{"unequal-costs", peers, short, noIPv4, unequalCosts, plainWithin},
	{"wireless", peers, short, noIPv4, func(n *node) { n.config.Kind = "wireless" }, macWithin},
	{"tunnel", peers, short, noIPv4, func(n *node) { n.config.Kind = "tunnel" }, plainWithin},
}

func withKeys(keys ...string) func(*node) {
	return func(n *node) { n.config.Keys = keys }
}

func unequalCosts(n *node) {
	switch n.program {
	case "babeld":
		n.config.Extra = []string{"default rxcost 200"}
	case "bird":
		n.config.Extra = []string{"rxcost 200"}
	}
}

// settle is the time for metrics to agree: babeld tells of a small change with its
// next periodic update alone, and costs by ETX change for a while.
const settle = 40 * time.Second

// Every variant in every chain: all learn all in time, the kernels have it, the
// metrics agree, packets pass from end to end.
func TestInteropChains(t *testing.T) {
	for _, v := range variants {
		for _, peer := range v.peers {
			for _, pattern := range v.patterns {
				programs := strings.ReplaceAll(pattern, "P", peer)
				t.Run(v.name+"/"+strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, programs, chain(count(programs)), v.ipv4)
					w.configure(v.configure)
					w.start(v.atMost)
					w.Await("metrics that agree", settle, w.metricsAgree)
					w.pingAll()
				})
			}
		}
	}
}

// All three in one chain.
func TestInteropMixedChains(t *testing.T) {
	for _, programs := range []string{"babeld ours bird", "ours babeld bird ours", "bird ours babeld ours"} {
		t.Run(strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, programs, chain(count(programs)), ae1)
			w.start(20 * time.Second)
			w.Await("metrics that agree", settle, w.metricsAgree)
			w.pingAll()
		})
	}
}

// RTTs of both sides are that of the link, and so are the costs that they make.
// (Our tunnels have a cost of their own, which is no more than a cost to others.)
func TestInteropRTT(t *testing.T) {
	for _, programs := range []string{"ours babeld", "babeld ours babeld", "ours babeld ours"} {
		t.Run(strings.ReplaceAll(programs, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, programs, nil, noIPv4)
			for i := range w.nodes[1:] {
				w.relay(w.nodes[i], w.nodes[i+1], lab.Weather{Delay: 30 * time.Millisecond})
			}
			w.configure(func(n *node) {
				n.config.RTT = true
				if n.program == "babeld" {
					n.config.Extra = []string{"default max-rtt-penalty 150"} // ours, and RFC 9616's
				}
			})
			w.start(20 * time.Second)
			// 96 + 150 * (60 - 10) / (120 - 10) = 164; a few ms more on a busy machine.
			w.Await("costs as the RTT makes them", 20*time.Second, func() error { return w.rttsWithin(58*time.Millisecond, 75*time.Millisecond, 155, 190) })
			w.pingAll()
		})
	}
}

// A source-specific route wins for packets of its source and for no others
// (RFC 9079), whoever announces it and whoever is on the way.
//
//	first --- second --- third --- last
//	D from S                       D
//
// Where D is not the default route, Linux does not find the route for all sources
// if there is one for some. Only ours works around that, so only ours is then in
// the middle.
func TestInteropSourceSpecific(t *testing.T) {
	for _, c := range []struct{ programs, to string }{
		{"ours babeld ours babeld", "::/0"},
		{"babeld ours babeld ours", "::/0"},
		{"babeld ours ours babeld", "2001:db8:ff::/48"},
		{"ours bird ours bird", "::/0"},
		{"bird ours bird ours", "::/0"},
		{"bird ours ours bird", "2001:db8:ff::/48"},
	} {
		t.Run(strings.ReplaceAll(c.programs, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.programs, chain(4), noIPv4)
			first, second, third, last := w.nodes[0], w.nodes[1], w.nodes[2], w.nodes[3]
			to, from := netip.MustParsePrefix(c.to), second.prefix()
			w.configure(func(n *node) { n.config.SourceSpecific = true })
			first.config.AnnounceFrom = [][2]netip.Prefix{{to, from}}
			last.config.Announce = append(last.config.Announce, to)
			first.IP("addr add 2001:db8:ff::1/128 dev lo")
			last.IP("addr add 2001:db8:ff::1/128 dev lo")
			// The third node has an address of the second's prefix as well.
			third.IP("addr add 2001:db8:2::3/128 dev lo preferred_lft 0")
			third.config.Announce = append(third.config.Announce, netip.MustParsePrefix("2001:db8:2::3/128"))
			w.start(20 * time.Second)
			w.Await("the source-specific route everywhere", 30*time.Second, func() error {
				tables, err := w.tables()
				if err != nil {
					return err
				}
				if _, err := w.walk(tables, last, first, to, from); err != nil {
					return err
				}
				_, err = w.walk(tables, second, last, to, netip.Prefix{})
				return err
			})
			for _, c := range []struct {
				at     *node
				source string
				ttl    string // 64 less the routers between
			}{
				{second, "2001:db8:2::1", "64"}, // to first
				{third, "2001:db8:3::1", "64"},  // to last
				{third, "2001:db8:2::3", "63"},  // to first, by second
			} {
				out, err := c.at.Try("ping", "-c1", "-W10", "-I", c.source, "2001:db8:ff::1")
				if err != nil {
					t.Errorf("%v from %s: %v", c.at.router, c.source, err)
				} else if !strings.Contains(out, "ttl="+c.ttl+" ") {
					t.Errorf("%v from %s: answered from another distance than TTL %s: %s", c.at.router, c.source, c.ttl, out)
				}
			}
		})
	}
}
