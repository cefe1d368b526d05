package kernel

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	linkPrefix  = "re6st-"
	aliasPrefix = "re6st "
)

func isOurLink(name string) bool { return strings.HasPrefix(name, linkPrefix) }

// Cleanup takes away what an instance that died left behind: what undoFile says,
// what is ours in the plan's table and at its priorities, and the links and tc
// filters of the instance. It refuses while that instance lives.
func (h *Host) Cleanup(p Plan, undoFile string) error {
	p = p.withDefaults()
	c, err := takeClaim(p)
	if err != nil {
		return err
	}
	defer c.release()
	if err := h.clean(p, undoFile); err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	return nil
}

// clean leaves the undo file in place until all of it is done.
func (h *Host) clean(p Plan, undoFile string) error {
	u, found, err := readUndo(undoFile)
	if err != nil {
		return err
	}
	var failures []error
	if found {
		failures = append(failures, u.apply(h))
	}
	// The file can be lost while the kernel's state is not.
	failures = append(failures, undo{Table: p.Table, RulePriority: p.RulePriority, RoutePriority: p.RoutePriority}.apply(h))
	if p.InstanceID != "" {
		_, err := h.RemoveLinks(p.InstanceID)
		failures = append(failures, err)
		_, err = h.RemoveFilters(p.InstanceID)
		failures = append(failures, err)
	}
	if err := errors.Join(failures...); err != nil {
		return hinted(err)
	}
	if !found {
		return nil
	}
	return removeFile(undoFile)
}

// apply undoes. First nothing is relayed any more, then the address goes, and
// the guards last, so that no packet of the mesh leaves by the host's uplink.
func (u undo) apply(h *Host) error {
	failures := []error{restore(u.Sysctls)}
	for _, a := range []netip.Addr{u.Address, u.Address4} {
		if a.IsValid() {
			failures = append(failures, h.deleteAddress(u.Interface, a))
		}
	}
	for _, a := range u.Assigned {
		failures = append(failures, a.remove(h))
	}
	if u.RulePriority != 0 {
		_, err := h.syncRules(Plan{RulePriority: u.RulePriority}.isOurs, nil)
		failures = append(failures, err)
	}
	failures = append(failures, h.flush(marks{u.Table, u.RoutePriority}))
	return errors.Join(failures...)
}

// marks are by what routes of protocol 42 are known to be ours: the table, and
// where others may share it, the priority.
type marks struct{ table, priority uint32 }

// has says whether the route is ours. Without a priority of our own the main
// table may have those of another Babel router: there only our guards are told
// apart.
func (m marks) has(f foundRoute) bool {
	switch {
	case f.Protocol != Protocol || f.Table != m.table:
		return false
	case m.priority != 0:
		return f.Priority == m.priority
	}
	return m.table != tableMain || f.isGuard()
}

// flush deletes our routes.
func (h *Host) flush(m marks) error {
	if m.table == unix.RT_TABLE_UNSPEC {
		return nil
	}
	found, err := h.dumpRoutes(m.table)
	if err != nil {
		return err
	}
	var requests []message
	var about []Route
	for _, f := range found {
		if m.has(f) {
			requests, about = append(requests, deleteRoute(f.Route)), append(about, f.Route)
		}
	}
	var failures []error
	for i, err := range h.socket.exchange(requests) {
		if err != nil && !isAbsent(err) {
			failures = append(failures, fmt.Errorf("deleting route %v: %w", about[i], err))
		}
	}
	return errors.Join(failures...)
}

func (f foundRoute) isGuard() bool {
	return (f.rtn == unix.RTN_UNREACHABLE && f.Priority == priorityGuard) || (f.rtn == unix.RTN_THROW && f.Priority == priorityOnLink)
}

// Alias is the ifalias of an instance's tunnel. It says to people whose tunnel it
// is, and to RemoveLinks that it is ours.
func Alias(instance, peer string) string {
	alias := aliasPrefix + instance + " to " + peer
	const longest = 255 // IFALIASZ - 1
	return alias[:min(len(alias), longest)]
}

// Group is the link group of an instance's tunnels: by it a firewall tells those
// of one instance from those of another on the same host. Never 0, which is the
// kernel's default group.
func Group(instance string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(instance))
	return max(h.Sum32()>>1, 1) // where int has 32 bits it must fit
}

// RemoveLinks deletes the links whose ifalias says that they are the instance's,
// and gives their names.
func (h *Host) RemoveLinks(instance string) ([]string, error) {
	links, err := h.Links()
	if err != nil {
		return nil, err
	}
	var names []string
	var failures []error
	for _, l := range links {
		if !isOurLink(l.Name) || !strings.HasPrefix(l.Alias+" ", aliasPrefix+instance+" ") {
			continue
		}
		err := h.handle.LinkDel(linkOf(l.Index))
		if err != nil && !errors.Is(err, unix.ENODEV) {
			failures = append(failures, fmt.Errorf("deleting interface %s: %w", l.Name, err))
			continue
		}
		names = append(names, l.Name)
	}
	return names, errors.Join(failures...)
}
