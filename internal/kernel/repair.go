package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// repairs counts what had to be put back, by kind, so that each kind is
// reported once and not once a second when another program insists.
type repairs struct {
	mu     sync.Mutex
	counts map[string]int
}

// Repairs says how often Watch has put something back, by kind: "route", "rule",
// "address", "sysctl", and "stray" for routes that it removed.
func (h *Host) Repairs() map[string]int {
	h.repairs.mu.Lock()
	defer h.repairs.mu.Unlock()
	return maps.Clone(h.repairs.counts)
}

func (r *repairs) note(log *slog.Logger, kind string, what fmt.Stringer, n int) {
	r.mu.Lock()
	if r.counts == nil {
		r.counts = make(map[string]int)
	}
	before := r.counts[kind]
	r.counts[kind] += n
	r.mu.Unlock()
	level := slog.LevelDebug
	if before == 0 {
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, "another program changed what is ours in the kernel, put it back (further cases at debug level)",
		"kind", kind, "count", n, "first", what.String())
}

// repair makes true again what d says may not be; it says whether it changed
// something. A failure is logged: the next event or minute tries again.
func (h *Host) repair(d *dirt, log *slog.Logger) (changed bool) {
	if d.all {
		links, err := h.Links()
		if err != nil {
			log.Warn("comparing the kernel's tables", "err", err)
		} else {
			h.subscribers.replace(links)
		}
	}
	if i := h.installed.get(); i != nil {
		changed = i.repair(d, log)
	}
	if d.all {
		return h.resyncRoutes(log) || changed
	}
	if len(d.routes) > 0 {
		return h.repairRoutes(slices.Collect(maps.Keys(d.routes)), log) || changed
	}
	return changed
}

type text string

func (t text) String() string { return string(t) }

func (i *Installed) repair(d *dirt, log *slog.Logger) (changed bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.removed || i.host.installed.get() != i {
		return false
	}
	for _, part := range []struct {
		due bool
		do  func(*slog.Logger) (bool, error)
	}{
		{d.all || d.sysctls, i.repairSysctlsLocked},
		{d.all || d.onLink, func(*slog.Logger) (bool, error) { return false, i.followHostLocked() }},
		{d.all || d.rules, i.repairRulesLocked},
		{d.all || d.addresses, i.repairAddressLocked},
	} {
		if !part.due {
			continue
		}
		did, err := part.do(log)
		changed = changed || did
		if err != nil {
			log.Warn("repairing the kernel's tables", "err", err)
		}
	}
	return changed
}

func (i *Installed) repairSysctlsLocked(log *slog.Logger) (bool, error) {
	known := len(i.undo.Sysctls)
	changed, err := i.syncSysctlsLocked()
	// Settings of an interface that has just come are no one's edit.
	if len(changed) > 0 && len(i.undo.Sysctls) == known {
		i.host.repairs.note(log, "sysctl", text(changed[0].Name), len(changed))
	}
	return len(changed) > 0, err
}

func (i *Installed) repairRulesLocked(log *slog.Logger) (bool, error) {
	missing, err := i.host.syncRules(i.plan.isOurs, i.plan.rules(i.beside))
	if len(missing) > 0 {
		i.host.repairs.note(log, "rule", missing[0], len(missing))
	}
	return len(missing) > 0, err
}

func (i *Installed) repairAddressLocked(log *slog.Logger) (changed bool, err error) {
	for _, a := range []struct{ own, undo *netip.Addr }{{&i.plan.Address, &i.undo.Address}, {&i.plan.Address4, &i.undo.Address4}} {
		if !a.own.IsValid() {
			continue
		}
		did, failed := i.repairOneLocked(*a.own, a.undo)
		if did {
			i.host.repairs.note(log, "address", *a.own, 1)
		}
		changed, err = changed || did, errors.Join(err, failed)
	}
	return changed, err
}

func (i *Installed) repairOneLocked(own netip.Addr, undo *netip.Addr) (bool, error) {
	there, err := i.host.hasAddress(i.plan.Interface, own)
	if err != nil || there {
		return false, err
	}
	if *undo != own {
		// It was the operator's, who took it away: now it is ours.
		*undo = own
		if err := i.undo.write(i.undoFile); err != nil {
			return false, err
		}
	}
	return true, i.host.addAddress(i.plan.Interface, own)
}

// repairRoutes looks at single keys: wanted ones are put back, strays deleted.
func (h *Host) repairRoutes(keys []routeKey, log *slog.Logger) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	var missing, stray []Route
	for _, k := range keys {
		if r, ok := h.wanted.get(k); ok {
			missing = append(missing, r)
		} else {
			stray = append(stray, Route{Dst: k.dst, Src: k.src, Priority: k.priority, Table: k.table, Protocol: Protocol})
		}
	}
	return h.mendLocked(missing, stray, log)
}

// resyncRoutes compares whole tables.
func (h *Host) resyncRoutes(log *slog.Logger) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	tables := h.wanted.tables()
	var own marks
	if i := h.installed.get(); i != nil {
		own = i.plan.marks()
		tables[own.table] = true
	}
	changed := false
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		missing, stray, err := h.compareLocked(table, own)
		if err != nil {
			log.Warn("comparing the kernel's tables", "err", err)
			continue
		}
		changed = h.mendLocked(missing, stray, log) || changed
	}
	return changed
}

// compareLocked keeps nothing of what it compares: a table may be large.
func (h *Host) compareLocked(table uint32, own marks) (missing, stray []Route, err error) {
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		before := len(stray)
		reset := func() {
			h.wanted.unsee(fam == unix.AF_INET)
			stray = stray[:before]
		}
		err := h.eachRoute(fam, table, reset, func(f foundRoute) {
			want, wanted := h.wanted.get(f.key())
			switch {
			case wanted && !f.many && f.Route == want:
				h.wanted.see(f.key())
			case !wanted && own.hasStray(f):
				stray = append(stray, f.Route)
			}
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return h.wanted.unseen(table), stray, nil
}

func (h *Host) mendLocked(missing, stray []Route, log *slog.Logger) bool {
	// By a link that is down or gone nothing can be put back. Who asked for the
	// route learns of the link as well, and the link's return is an event.
	missing = slices.DeleteFunc(missing, func(r Route) bool { return r.Type == Unicast && !h.subscribers.isUp(r.Ifindex) })
	var requests []message
	for _, r := range missing {
		requests = append(requests, addRoute(r))
	}
	for _, r := range stray {
		requests = append(requests, deleteRoute(r))
	}
	var put, removed []Route
	for n, err := range h.socket.exchange(requests) {
		switch {
		case err != nil:
			log.Debug("repairing a route", "err", err)
		case n < len(missing):
			put = append(put, missing[n])
		default:
			removed = append(removed, stray[n-len(missing)])
		}
	}
	if len(put) > 0 {
		h.repairs.note(log, "route", put[0], len(put))
	}
	if len(removed) > 0 {
		h.repairs.note(log, "stray", removed[0], len(removed))
	}
	return len(put)+len(removed) > 0
}
