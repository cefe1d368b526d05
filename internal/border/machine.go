package border

import (
	"net/netip"
	"slices"
	"time"
)

// Family is an address family.
type Family int

// The families.
const (
	IPv4 Family = iota
	IPv6
	families
)

func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// Of is the family of an address.
func Of(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

const (
	// holdFirst is how long an upstream that failed once must be well before it
	// is used again; each further failure doubles it, up to holdMax.
	holdFirst = 5 * time.Second
	holdMax   = 5 * time.Minute
	// flapsMax is the number of failures at which the hold is holdMax.
	flapsMax = 7
	// forgiveAfter is how long an upstream must serve for one failure to be
	// forgotten. It is longer than holdMax, or one that fails each time it is
	// taken would be forgiven for the time in which it was not.
	forgiveAfter = 10 * time.Minute
	// admittedMax bounds the announced prefixes: each is a route at every node.
	admittedMax = 256
)

// Config says what the gateway offers.
type Config struct {
	Networks []netip.Prefix // the network's IPv6 prefixes; others are ignored
	IPv6     bool           // a way out for IPv6
	IPv4     bool           // a way out for IPv4
	// NAT64, if valid, is the prefix behind which IPv4 is found (RFC 6052). It goes
	// with the IPv4 upstream, and needs no IPv4 default.
	NAT64 netip.Prefix
}

// Default is a route that the gateway originates. A zero From means any source.
type Default struct{ Prefix, From netip.Prefix }

// Change says to originate a route, or to withdraw it.
type Change struct {
	Default
	On bool
}

// Output is what is to be done, in the order of its fields.
type Output struct {
	// Open says in which families packets of the mesh may leave by the host's own
	// upstream. Elsewhere they are answered as unreachable.
	Open [families]bool
	// Changes has the withdrawals first.
	Changes []Change
}

// upstream is one family's.
type upstream struct {
	isWell       bool
	why          string // why not
	since        time.Time
	isOriginated bool
	flaps        int
	forgiveAt    time.Time // while it is originated and flaps is not 0
}

func (u *upstream) hold() time.Duration {
	if u.flaps == 0 {
		return 0
	}
	return min(holdFirst<<(u.flaps-1), holdMax)
}

// readyAt is when an upstream that is well now may be used.
func (u *upstream) readyAt() time.Time { return u.since.Add(u.hold()) }

// Machine decides for one gateway. Its methods take the time first, which must
// not run backwards.
type Machine struct {
	config    Config
	upstreams [families]upstream
	admitted  []netip.Prefix
	told      map[Default]bool
}

// New makes the machine of a gateway whose upstreams are not known yet.
func New(c Config) *Machine {
	c.Networks = only6(c.Networks)
	m := &Machine{config: c, told: make(map[Default]bool)}
	for f := range m.upstreams {
		m.upstreams[f].why = "not known yet"
	}
	return m
}

func only6(prefixes []netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range prefixes {
		if p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && !slices.Contains(all, p.Masked()) {
			all = append(all, p.Masked())
		}
	}
	return all
}

// offers says whether the upstream of the family matters.
func (m *Machine) offers(f Family) bool {
	if f == IPv4 {
		return m.config.IPv4 || m.config.NAT64.IsValid()
	}
	return m.config.IPv6
}

// Report says how the upstream of a family is; why, what is wrong with it.
func (m *Machine) Report(now time.Time, f Family, isWell bool, why string) {
	u := &m.upstreams[f]
	if isWell {
		why = ""
	}
	u.why = why
	if u.isWell == isWell && !u.since.IsZero() {
		return
	}
	u.isWell, u.since = isWell, now
	if !isWell && u.isOriginated {
		u.isOriginated = false
		u.flaps = min(u.flaps+1, flapsMax)
	}
	m.Advance(now)
}

// Admit says from which announced prefixes packets may leave. Those of IPv4 and
// what is beyond the bound are ignored: IPv4 defaults have no source.
func (m *Machine) Admit(prefixes []netip.Prefix) {
	all := only6(prefixes)
	slices.SortFunc(all, netip.Prefix.Compare)
	m.admitted = all[:min(len(all), admittedMax)]
}

// Translate replaces Config.NAT64.
func (m *Machine) Translate(prefix netip.Prefix) { m.config.NAT64 = prefix }

// Advance does what is due.
func (m *Machine) Advance(now time.Time) {
	for f := range families {
		u := &m.upstreams[f]
		for u.isOriginated && u.flaps > 0 && !now.Before(u.forgiveAt) {
			u.flaps--
			u.forgiveAt = u.forgiveAt.Add(forgiveAfter)
		}
		if m.offers(f) && u.isWell && !u.isOriginated && !now.Before(u.readyAt()) {
			u.isOriginated = true
			u.forgiveAt = now.Add(forgiveAfter)
		}
	}
}

// Deadline is when Advance has something to do; zero: never.
func (m *Machine) Deadline() time.Time {
	var at time.Time
	for f := range families {
		u := &m.upstreams[f]
		var due time.Time
		switch {
		case !m.offers(f) || !u.isWell:
		case !u.isOriginated:
			due = u.readyAt()
		case u.flaps > 0:
			due = u.forgiveAt
		}
		if !due.IsZero() && (at.IsZero() || due.Before(at)) {
			at = due
		}
	}
	return at
}

// Output drains what changed since the last call. Its Open is always complete.
func (m *Machine) Output() Output {
	want := m.wanted()
	var out Output
	out.Open[IPv4] = m.config.IPv4 && m.upstreams[IPv4].isOriginated
	out.Open[IPv6] = m.config.IPv6 && m.upstreams[IPv6].isOriginated
	for d := range m.told {
		if !slices.Contains(want, d) {
			out.Changes = append(out.Changes, Change{Default: d})
			delete(m.told, d)
		}
	}
	slices.SortFunc(out.Changes, func(a, b Change) int { return a.compare(b.Default) })
	for _, d := range want {
		if !m.told[d] {
			out.Changes = append(out.Changes, Change{Default: d, On: true})
			m.told[d] = true
		}
	}
	return out
}

func (d Default) compare(o Default) int {
	if c := d.Prefix.Compare(o.Prefix); c != 0 {
		return c
	}
	return d.From.Compare(o.From)
}

// wanted are the routes to originate, each once.
func (m *Machine) wanted() []Default {
	var all []Default
	add := func(prefix, from netip.Prefix) {
		if d := (Default{prefix, from}); !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	if m.config.IPv6 && m.upstreams[IPv6].isOriginated {
		for _, from := range slices.Concat(m.config.Networks, m.admitted) {
			add(netip.PrefixFrom(netip.IPv6Unspecified(), 0), from)
		}
	}
	if !m.upstreams[IPv4].isOriginated {
		return all
	}
	if m.config.IPv4 {
		add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.Prefix{})
	}
	if m.config.NAT64.IsValid() {
		for _, from := range m.config.Networks {
			add(m.config.NAT64.Masked(), from)
		}
	}
	return all
}

// Stop withdraws everything: Output has it.
func (m *Machine) Stop() {
	for f := range m.upstreams {
		m.upstreams[f].isOriginated, m.upstreams[f].isWell = false, false
		m.upstreams[f].why = "the gateway stops"
	}
}

// State is one family's, for people.
type State struct {
	Family     Family
	Offered    bool
	Well       bool
	Originated bool
	Why        string    // why it is not originated; empty where it is
	Since      time.Time // the upstream is as it is
	Flaps      int       // failures that are not forgotten
	Until      time.Time // when it will be used, if it stays well
}

// States tells how both families are.
func (m *Machine) States() []State {
	var all []State
	for f := range families {
		u := &m.upstreams[f]
		s := State{Family: f, Offered: m.offers(f), Well: u.isWell, Originated: u.isOriginated, Why: u.why, Since: u.since, Flaps: u.flaps}
		switch {
		case !s.Offered:
			s.Why = "not offered"
		case u.isWell && !u.isOriginated:
			s.Why, s.Until = "the upstream failed before: waiting until it has been well for "+u.hold().String(), u.readyAt()
		}
		all = append(all, s)
	}
	return all
}
