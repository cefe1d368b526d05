package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"

	"re6st/internal/border"
)

// Way is how packets of a family get out.
type Way string

// The ways.
const (
	Routed     Way = "routed"     // the upstream routes the prefix here
	Translate  Way = "translate"  // another part maps prefix to prefix
	Masquerade Way = "masquerade" // by the uplink's own address
	Off        Way = "off"
)

// TunnelPrefix begins the names of all tunnels, of whichever instance.
const TunnelPrefix = "re6st-"

// Config is what a Gateway is made of.
type Config struct {
	Instance string         // hash of the state directory: names the table
	Networks []netip.Prefix // of the mesh, both families
	IPv6     Way
	IPv4     Way // Masquerade or Off
	NAT64    netip.Prefix
	Pool     netip.Prefix // IPv4 sources of NAT64, masqueraded as those of the mesh are
	// Outside are the prefixes that are translated, as the Internet knows them: what
	// comes for one of their addresses and is not translated is nobody's. Holes are
	// what of the inside is not translated.
	Outside []netip.Prefix
	Holes   []Hole
	// Uplink is the interface to the Internet; empty: that of the default route,
	// for each family.
	Uplink string
	// LetIn lets everything into the mesh, and not only answers.
	LetIn  bool
	Checks []netip.Addr // must answer, one of each family that has some
	Mark   uint32       // of our own packets, which stay outside the mesh

	// Originate makes Babel announce a route, or ends that.
	Originate func(prefix, from netip.Prefix, on bool)
	// Open says in which families packets of the mesh may leave by the main table.
	Open func(v4, v6 bool) error
	// Uplinks is told the interface of each family before anything leaves by it,
	// empty: none. An error keeps IPv6 closed, and says why. May be nil.
	Uplinks func(v4, v6 string) error
	// Facing is told all interfaces by which the Internet is reached, whether or not
	// one of them is chosen: before the filter asks for what comes in there. May be nil.
	Facing func(interfaces []string)
	Log    *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.IPv6 == "" {
		c.IPv6 = Off
	}
	if c.IPv4 == "" {
		c.IPv4 = Off
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Uplinks == nil {
		c.Uplinks = func(string, string) error { return nil }
	}
	if c.Facing == nil {
		c.Facing = func([]string) {}
	}
	return c
}

func (c Config) has(f border.Family) bool {
	return slices.ContainsFunc(c.Networks, func(p netip.Prefix) bool { return border.Of(p.Addr()) == f })
}

// Capabilities says what of nftables the kernel lacks: nil is there.
type Capabilities struct {
	Tables    error // tables, sets and filter chains
	Conntrack error
	NAT4      error
	NAT6      error
	MSS       error
	Reject    error
}

// missing says, for each family, what of the kernel the way out lacks. A gateway
// that cannot filter is none: it would carry sources that are not of the mesh out,
// and let in what the operator does not want.
func (c Config) missing(have Capabilities) (v4, v6 string) {
	const hint = " (modprobe nf_tables, or a kernel that has it)"
	if have.Tables != nil {
		why := "the kernel has no nftables" + hint + ": " + have.Tables.Error()
		return why, why
	}
	if have.Conntrack != nil && !c.LetIn {
		why := "the kernel has no connection tracking, without which it cannot tell answers from the rest (--gateway-inbound all needs none): " + have.Conntrack.Error()
		v4, v6 = why, why
	}
	if have.NAT4 != nil && c.masquerades4() {
		v4 = "the kernel cannot masquerade IPv4: " + have.NAT4.Error()
	}
	if have.NAT6 != nil && c.IPv6 == Masquerade {
		v6 = "the kernel cannot masquerade IPv6: " + have.NAT6.Error()
	}
	return v4, v6
}

// masquerades4: NAT64 has no other way out than the uplink's address.
func (c Config) masquerades4() bool { return c.IPv4 == Masquerade || c.Pool.IsValid() }

func (c Config) check() error {
	switch {
	case c.Instance == "":
		return errors.New("gateway without an instance")
	case c.Originate == nil || c.Open == nil:
		return errors.New("gateway without anyone to tell")
	case c.IPv4 != Masquerade && c.IPv4 != Off:
		return errors.New("the way out for IPv4 is masquerade or off")
	}
	return nil
}
