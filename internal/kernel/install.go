package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Installed is what a node has in the kernel beside the routes of the mesh.
type Installed struct {
	host     *Host
	plan     Plan
	undoFile string
	claim    *claim

	originsChanged chan struct{} // capacity 1

	mu         sync.Mutex
	undo       undo // as on disk
	beside     beside
	candidates []netip.Prefix // may be origins
	onLink     []netip.Prefix // those of the host, when it was looked at last
	routes     []Route        // installed: guards and throws
	removed    bool
}

// installedSlot is how Watch finds what to keep.
type installedSlot struct {
	mu  sync.Mutex
	now *Installed
}

func (s *installedSlot) get() *Installed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *installedSlot) swap(from, to *Installed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != from {
		return false
	}
	s.now = to
	return true
}

// Install puts the plan into the kernel, after taking away what a dead
// predecessor left. Everything that is changed stands in undoFile before. On an
// error nothing stays. A Host has one Installed at a time.
//
// The order is such that no packet of the mesh can leak at any moment: first
// the guards, then the rules that lead to them, then the address.
func (h *Host) Install(p Plan, undoFile string) (*Installed, error) {
	p = p.withDefaults()
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("preparing the kernel: %w", err)
	}
	c, err := takeClaim(p)
	if err != nil {
		return nil, err
	}
	i := &Installed{host: h, plan: p, undoFile: undoFile, claim: c, originsChanged: make(chan struct{}, 1)}
	if err := h.clean(p, undoFile); err != nil {
		c.release()
		return nil, fmt.Errorf("removing what an earlier run left: %w", err)
	}
	if !h.installed.swap(nil, i) {
		c.release()
		return nil, errors.New("preparing the kernel: done already with this handle")
	}
	if err := i.install(); err != nil {
		return nil, errors.Join(hinted(err), i.Remove())
	}
	return i, nil
}

func hinted(err error) error {
	// Files below /proc/sys say EACCES instead, as does a disabled IPv6 to root.
	if errors.Is(err, unix.EPERM) || (errors.Is(err, unix.EACCES) && os.Geteuid() != 0) {
		return fmt.Errorf("%w (changing tables, rules and sysctls needs root)", err)
	}
	return err
}

func (i *Installed) install() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.undo = undo{Version: undoVersion, Instance: i.plan.InstanceID, Table: i.plan.Table, RulePriority: i.plan.RulePriority, Interface: i.plan.Interface, RoutePriority: i.plan.RoutePriority}
	for _, a := range []struct{ own, undo *netip.Addr }{{&i.plan.Address, &i.undo.Address}, {&i.plan.Address4, &i.undo.Address4}} {
		if !a.own.IsValid() {
			continue
		}
		there, err := i.host.hasAddress(i.plan.Interface, *a.own)
		if err != nil {
			return fmt.Errorf("preparing the interface of the node's address: %w", err)
		}
		if !there {
			*a.undo = *a.own
		}
	}
	if err := i.undo.write(i.undoFile); err != nil {
		return err
	}
	if _, err := i.syncSysctlsLocked(); err != nil {
		return err
	}
	if err := i.followHostLocked(); err != nil {
		return err
	}
	if _, err := i.host.syncRules(i.plan.isOurs, i.plan.rules(i.beside)); err != nil {
		return err
	}
	for _, a := range []netip.Addr{i.undo.Address, i.undo.Address4} {
		if !a.IsValid() {
			continue
		}
		if err := i.host.addAddress(i.plan.Interface, a); err != nil {
			return err
		}
	}
	return nil
}

// syncBesideLocked brings routes and rules to what beside says: the routes that
// stop a packet stand before the rules that lead to them.
func (i *Installed) syncBesideLocked() error {
	if err := i.syncRoutesLocked(); err != nil {
		return err
	}
	_, err := i.host.syncRules(i.plan.isOurs, i.plan.rules(i.beside))
	return err
}

func (i *Installed) syncRoutesLocked() error {
	want := append(i.plan.guards(i.beside), i.plan.throws(i.onLink, i.beside)...)
	changes := difference(i.routes, want)
	i.routes = want
	return errors.Join(i.host.Apply(changes)...)
}

// difference is what makes the one list of routes the other: additions first.
func difference(have, want []Route) []RouteChange {
	var changes []RouteChange
	for _, r := range want {
		if !slices.Contains(have, r) {
			changes = append(changes, RouteChange{Route: r})
		}
	}
	for _, r := range have {
		if !slices.Contains(want, r) {
			changes = append(changes, RouteChange{Route: r, Delete: true})
		}
	}
	return changes
}

// SetGateway says in which families mesh traffic may leave by this host's own
// default route; in the others it is answered with an error.
func (i *Installed) SetGateway(v4, v6 bool) error {
	return i.change(func(b *beside) { b.gateway = [2]bool{v4, v6} })
}

// SetAnnounced says which prefixes of others the mesh carries beside its own, so
// that the rules that lead to them stand: at most 256, the others are without.
func (i *Installed) SetAnnounced(prefixes []netip.Prefix) error {
	return i.change(func(b *beside) { b.announced = bounded(prefixes) })
}

func (i *Installed) change(f func(*beside)) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.removed {
		return nil
	}
	before := i.beside
	if f(&i.beside); i.beside.equal(before) {
		return nil
	}
	if _, err := i.syncSysctlsLocked(); err != nil {
		return err
	}
	return i.syncBesideLocked()
}

// syncSysctlsLocked changes what is not yet as it must be; the old values are on
// disk before.
func (i *Installed) syncSysctlsLocked() (changed []sysctlUndo, err error) {
	plan, err := sysctlPlan(i.plan.Forward4 || slices.Contains(i.plan.families(i.beside), unix.AF_INET), i.undo.Sysctls)
	if err != nil || len(plan) == 0 {
		return nil, err
	}
	for _, u := range plan {
		n := slices.IndexFunc(i.undo.Sysctls, func(k sysctlUndo) bool { return k.Name == u.Name })
		if n >= 0 {
			i.undo.Sysctls[n] = u // someone set it back: that is now the old value
			continue
		}
		i.undo.Sysctls = append(i.undo.Sysctls, u)
	}
	if err := i.undo.write(i.undoFile); err != nil {
		return nil, err
	}
	plan = slices.DeleteFunc(plan, func(u sysctlUndo) bool { return u.Name == sendRedirects }) // the kernel's doing
	for _, u := range plan {
		if err := SetSysctl(u.Name, u.New); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// Remove takes everything away, routes given to Apply in our table included,
// and puts the sysctls back. It may be called again where it failed.
func (i *Installed) Remove() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.removed {
		return nil
	}
	h := i.host
	h.installed.swap(i, nil) // Watch lets go
	err := errors.Join(
		i.undo.apply(h),
		h.forget(i.plan.Table),
	)
	if err != nil {
		return fmt.Errorf("taking back what was put into the kernel: %w", err)
	}
	if err := removeFile(i.undoFile); err != nil {
		return fmt.Errorf("taking back what was put into the kernel: %w", err)
	}
	i.removed = true
	i.claim.release()
	return nil
}

// forget deletes the wanted routes of a table, and wants them no more.
func (h *Host) forget(table uint32) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var changes []RouteChange
	for r := range h.wanted.ofTable(table) {
		changes = append(changes, RouteChange{Route: r, Delete: true})
	}
	return errors.Join(h.applyLocked(changes)...)
}
