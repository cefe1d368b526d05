package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"re6st/internal/fib"
)

// reversePathFilters are the links with an rp_filter, by index: on them the stack
// also asks for the way back of IPv4, of which the copy knows nothing. Our own
// tunnels have none, unless the host filters everywhere. A LAN may have one: what
// takes a shortcut from there has a source of the LAN's own.
type reversePathFilters map[int]bool

const (
	netconfLen = 4  // struct netconfmsg, padded
	netconfAll = -1 // in the place of an index: the larger one of the two counts

	netconfIfindex  = 1
	netconfRPFilter = 3
)

// reversePathFilters asks the kernel.
func (h *Host) reversePathFilters() (all reversePathFilters, err error) {
	fixed := make([]byte, netconfLen)
	fixed[0] = unix.AF_INET
	reset := func() { all = reversePathFilters{} }
	reset()
	err = h.socket.dump(newMessage(unix.RTM_GETNETCONF, 0, fixed...), reset, func(kind uint16, body []byte) error {
		if kind != unix.RTM_NEWNETCONF {
			return nil
		}
		index, isFiltered, err := parseNetconf(body)
		if err == nil && isFiltered {
			all[index] = true
		}
		return err
	})
	if isAbsent(err) {
		return all, nil // a kernel without IPv4
	}
	if err != nil {
		return nil, fmt.Errorf("listing reverse path filters: %w", err)
	}
	return all, nil
}

func parseNetconf(body []byte) (index int, isFiltered bool, err error) {
	if len(body) < netconfLen {
		return 0, false, fmt.Errorf("%w: network configuration of %d bytes", errMessage, len(body))
	}
	err = eachAttr(body[netconfLen:], func(kind uint16, v []byte) error {
		n, err := uint32(0), error(nil)
		switch kind {
		case netconfIfindex:
			n, err = uint32Of(v)
			index = int(int32(n))
		case netconfRPFilter:
			n, err = uint32Of(v)
			isFiltered = n != 0
		}
		return err
	})
	return index, isFiltered, err
}

// judge leaves all IPv4 to the stack where a tunnel that the table uses is filtered:
// what goes there may come from there.
func (f reversePathFilters) judge(rules []fib.Rule, routes map[fib.RouteKey]fibKnown, isTunnel map[int]bool) []fib.Rule {
	isFiltered := f[netconfAll]
	for _, r := range routes {
		isFiltered = isFiltered || f[r.iface] && isTunnel[r.iface]
	}
	if !isFiltered {
		return rules
	}
	kept := []fib.Rule{{IPv4: true}}
	for _, r := range rules {
		if !r.IPv4 {
			kept = append(kept, r)
		}
	}
	return kept
}
