package kernel

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is a handle on the kernel's tables in the network namespace of the
// process. All methods may be called by several goroutines.
type Host struct {
	socket *socket         // routes and links
	handle *netlink.Handle // rules, addresses, changes of links
	events *eventSocket    // opened first, so that Watch misses nothing

	// mu makes a change of wanted and of the kernel one step, so that a
	// reconciliation never sees one without the other.
	mu     sync.Mutex
	wanted *wantedRoutes

	subscribers subscribers
	installed   installedSlot
	repairs     repairs
}

// OpenAlone is Open for a process in which nothing is urgent while the kernel
// changes routes. Go's scheduler is not told of those system calls: it would run
// others meanwhile, and wakes the runtime's monitor to find out whether it
// should, which then costs a tenth of the time.
func OpenAlone() (*Host, error) {
	h, err := Open()
	if err == nil {
		h.socket.isAlone = true
	}
	return h, err
}

// Open makes a handle. It needs no privilege; most that is done with it does.
func Open() (*Host, error) {
	h := &Host{wanted: newWantedRoutes()}
	var err error
	if h.socket, err = openSocket(); err != nil {
		return nil, err
	}
	if h.events, err = openForeignEvents(h.socket.port); err != nil {
		return nil, errors.Join(err, h.socket.close())
	}
	if h.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		err = fmt.Errorf("opening a netlink handle: %w", err)
		return nil, errors.Join(err, h.socket.close(), h.events.close())
	}
	return h, nil
}

// Close gives the handle back; what was put into the kernel stays.
func (h *Host) Close() error {
	h.handle.Close()
	return errors.Join(h.events.close(), h.socket.close())
}

// Routes lists a table, both families, whoever made the routes.
func (h *Host) Routes(table uint32) ([]Route, error) {
	found, err := h.dumpRoutes(table)
	if err != nil {
		return nil, err
	}
	routes := make([]Route, len(found))
	for i, f := range found {
		routes[i] = f.Route
	}
	return routes, nil
}

// Wanted lists the routes that Watch keeps in a table, sorted.
func (h *Host) Wanted(table uint32) []Route {
	h.mu.Lock()
	defer h.mu.Unlock()
	routes := slices.Collect(h.wanted.ofTable(table))
	SortRoutes(routes)
	return routes
}

// SortRoutes brings routes into one order: destination, source, priority.
func SortRoutes(routes []Route) {
	slices.SortFunc(routes, func(a, b Route) int {
		if c := a.Dst.Compare(b.Dst); c != 0 {
			return c
		}
		if c := a.Src.Compare(b.Src); c != 0 {
			return c
		}
		return int(int64(a.Priority) - int64(b.Priority))
	})
}

func (h *Host) dumpRoutes(table uint32) ([]foundRoute, error) {
	var all []foundRoute
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := h.dumpFamily(fam, table)
		if err != nil {
			return nil, fmt.Errorf("listing routes of table %d: %w", table, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func (h *Host) dumpFamily(fam uint8, table uint32) ([]foundRoute, error) {
	var found []foundRoute
	err := h.eachRoute(fam, table, func() { found = found[:0] }, func(f foundRoute) { found = append(found, f) })
	return found, err
}

// eachRoute hands over the routes of a table. It may begin again: reset is called
// before each attempt.
func (h *Host) eachRoute(fam uint8, table uint32, reset func(), do func(foundRoute)) error {
	fixed := make([]byte, rtmsgLen)
	fixed[0] = fam
	request := newMessage(unix.RTM_GETROUTE, 0, fixed...).attrUint32(unix.RTA_TABLE, table)
	err := h.socket.dump(request, reset, func(kind uint16, body []byte) error {
		if kind != unix.RTM_NEWROUTE {
			return nil
		}
		f, err := parseRoute(body)
		if err != nil {
			return err
		}
		// A kernel before 4.20 does not filter.
		if f.Table == table && !f.cloned {
			do(f)
		}
		return nil
	})
	if isAbsent(err) {
		return nil // a table that was never written does not exist
	}
	return err
}
