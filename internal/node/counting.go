package node

import (
	"errors"
	"fmt"
	"net/netip"

	"re6st/babel"
	"re6st/ebpf"
	"re6st/internal/fib"
	"re6st/internal/traffic"
)

// counting is the programs that count by destination what leaves into the
// tunnels. It is owned by watchTraffic, once it runs.
//
// They are those of the shortcut as well, and there is one instance of them: each
// packet is counted once, by whichever program sends it on.
type counting struct {
	programs *ebpf.Shortcut // nil: this host cannot
	why      error          // it cannot
	// isFed says that the kernel's own table is told to the programs: Babel's routes
	// need not be. It is set before the tasks run.
	isFed bool
	// countOnly: packets go from tunnel to tunnel inside the process.
	countOnly bool
	on        map[int]bool // the tunnels that have the programs
	entries   map[fib.Key]fib.Entry
}

// openCounting loads the programs. A host that does not take them works without.
func (d *daemon) openCounting() (func(), error) {
	c := &d.counting
	c.on, c.entries = map[int]bool{}, map[fib.Key]fib.Entry{}
	c.programs, c.why = ebpf.NewShortcut(ebpf.ShortcutConfig{Clsact: d.host.Filters(d.instance)})
	d.flows.kernel = c.flows
	if c.why != nil {
		d.log.Info("traffic is not counted by destination, and no tunnels are opened on demand", "why", c.why)
		return func() {}, nil
	}
	return func() {
		if err := c.programs.Close(); err != nil {
			d.log.Error("removing the programs that count", "err", err)
		}
	}, nil
}

func (c *counting) flows() ([]traffic.Flow, error) {
	if c.why != nil {
		return nil, c.why
	}
	all, err := c.programs.Flows()
	return shortcutFlows(all), err
}

// follow puts the programs on tunnels that are new, takes them from those that
// are gone, and tells them the routes.
// None goes while each calls.
func (c *counting) follow(each func(func(index int)), destinations func() []babel.Destination) error {
	if c.programs == nil {
		return nil
	}
	var failures []error
	isThere := map[int]bool{}
	each(func(index int) {
		isThere[index] = true
		// Again where they are already: an index comes back, and others remove things.
		if err := c.programs.Attach(ebpf.Port{Index: index, Kind: fib.Raw, CountOnly: c.countOnly}); err != nil {
			failures = append(failures, err)
			return
		}
		c.on[index] = true
	})
	for index := range c.on {
		if !isThere[index] {
			failures = append(failures, c.programs.Detach(index))
			delete(c.on, index)
		}
	}
	if c.isFed {
		return errors.Join(failures...)
	}
	next := countedBy(destinations())
	var add []fib.Entry
	var remove []fib.Key
	for k, e := range next {
		if c.entries[k] != e {
			add = append(add, e)
		}
	}
	for k := range c.entries {
		if _, stays := next[k]; !stays {
			remove = append(remove, k)
		}
	}
	if len(add)+len(remove) > 0 {
		failures = append(failures, c.programs.Update(add, remove))
	}
	c.entries = next
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("counting by destination: %w", err)
	}
	return nil
}

// countedBy are the routes by which packets are told apart.
func countedBy(destinations []babel.Destination) map[fib.Key]fib.Entry {
	entries := make(map[fib.Key]fib.Entry, len(destinations))
	for _, x := range destinations {
		k := fib.Key{Dst: x.Prefix, Src: x.From}
		if !k.Src.IsValid() {
			k.Src = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			if x.Prefix.Addr().Is4() {
				k.Src = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			}
		}
		entries[k] = fib.Entry{Key: k, Decision: fib.Decision{
			Action: fib.Forward, Interface: x.Interface, MTU: 1280, Prefix: x.Prefix,
		}}
	}
	return entries
}
