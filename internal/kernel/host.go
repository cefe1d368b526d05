package kernel

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
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
	wanted map[routeKey]Route

	subscribers subscribers
	installed   installedSlot
	repairs     repairs
}

// Open makes a handle. It needs no privilege; most that is done with it does.
func Open() (*Host, error) {
	h := &Host{wanted: make(map[routeKey]Route)}
	var err error
	if h.events, err = openEvents(); err != nil {
		return nil, err
	}
	if h.socket, err = openSocket(); err != nil {
		return nil, errors.Join(err, h.events.close())
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

// Apply carries the changes out in order, many to a system call, and answers
// each: nil, or why the kernel refused. An added route is kept, by Watch, until
// it is deleted. Deleting what this Host has not added is no error and does
// nothing.
func (h *Host) Apply(changes []RouteChange) []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.applyLocked(changes)
}

func (h *Host) applyLocked(changes []RouteChange) []error {
	answers := make([]error, len(changes))
	batch := routeBatch{host: h, latest: make(map[routeKey]RouteChange)}
	for i, c := range changes {
		c.Route = c.Route.normal()
		if answers[i] = c.check(); answers[i] != nil {
			continue
		}
		if _, there := batch.present(c.Route.key()); c.Delete && !there {
			continue // nothing to do, and asking would do harm: see routeBatch.add
		}
		batch.add(i, c)
	}
	batch.send(answers)
	return answers
}

// routeBatch keeps requests and the changes they belong to side by side.
type routeBatch struct {
	host     *Host
	requests []message
	owners   []int // index of the change; -1: no one asked
	changes  []RouteChange
	latest   map[routeKey]RouteChange // what the batch will have made of the wanted routes
}

// present is the route that will be wanted after the batch so far.
func (b *routeBatch) present(k routeKey) (Route, bool) {
	if c, ok := b.latest[k]; ok {
		return c.Route, !c.Delete
	}
	r, ok := b.host.wanted[k]
	return r, ok
}

func (b *routeBatch) add(owner int, c RouteChange) {
	b.latest[c.Route.key()] = c
	if !c.Delete {
		b.append(owner, c, addRoute(c.Route))
		return
	}
	b.append(owner, c, deleteRoute(c.Route))
	// Where the kernel has no entry with this source, it deletes the one without
	// a source (fib6_locate falls back to the destination's node; seen on 6.18).
	// Who else took ours away we learn later than now: so the plain one is put
	// back, which changes nothing where it still is.
	plain := c.Route
	plain.Src = netip.Prefix{}
	if r, ok := b.present(plain.key()); ok && c.Route.Src.IsValid() {
		b.append(-1, RouteChange{Route: r}, addRoute(r))
	}
}

func (b *routeBatch) append(owner int, c RouteChange, m message) {
	b.requests, b.owners, b.changes = append(b.requests, m), append(b.owners, owner), append(b.changes, c)
}

func (b *routeBatch) send(answers []error) {
	for n, err := range b.host.socket.exchange(b.requests) {
		if i := b.owners[n]; i >= 0 {
			answers[i] = b.host.settleLocked(b.changes[n], err)
		}
	}
}

func (c RouteChange) check() error {
	if c.Delete {
		c.Route.Type = Unreachable // the key alone matters
	}
	return c.Route.check()
}

func (h *Host) settleLocked(c RouteChange, err error) error {
	if c.Delete {
		delete(h.wanted, c.Route.key())
		if err == nil || isAbsent(err) {
			return nil
		}
		return fmt.Errorf("deleting route %v: %w", c.Route, err)
	}
	if err != nil {
		// A route that was there under the same key has not been replaced.
		return fmt.Errorf("adding route %v: %w", c.Route, err)
	}
	h.wanted[c.Route.key()] = c.Route
	return nil
}

// isAbsent says that the entry, or its whole table, is not there.
func isAbsent(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
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
	routes := slices.DeleteFunc(slices.Collect(maps.Values(h.wanted)), func(r Route) bool { return r.Table != table })
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
	fixed := make([]byte, rtmsgLen)
	fixed[0] = fam
	request := newMessage(unix.RTM_GETROUTE, 0, fixed...).attrUint32(unix.RTA_TABLE, table)
	var found []foundRoute
	reset := func() { found = found[:0] }
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
			found = append(found, f)
		}
		return nil
	})
	if isAbsent(err) {
		return nil, nil // a table that was never written does not exist
	}
	return found, err
}
