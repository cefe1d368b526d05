package kernel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Filters attaches eBPF programs to interfaces where the kernel has no tcx
// (Linux before 6.6): as filters of a clsact qdisc. A filter outlives its
// process; its name says whose it is:
//
//	re6st 1a2b3c4d npt egress
//	re6st 1a2b3c4d npt egress, our qdisc
//
// The second form says that the qdisc was made for it, so that it can go with the
// last filter: a qdisc has no place for a name. One that others made stays.
type Filters struct {
	host     *Host
	instance string
}

// Filters of one instance.
func (h *Host) Filters(instance string) Filters { return Filters{h, instance} }

const ourQdisc = ", our qdisc"

func (f Filters) prefix() string { return aliasPrefix + f.instance + " " }

func (f Filters) isNamed(found, name string) bool {
	return strings.TrimSuffix(found, ourQdisc) == f.prefix()+name
}

func hookOf(ingress bool) uint32 {
	if ingress {
		return netlink.HANDLE_MIN_INGRESS
	}
	return netlink.HANDLE_MIN_EGRESS
}

// Attach puts a program before all others on a hook.
func (f Filters) Attach(index int, ingress bool, fd int, name string) error {
	made, err := f.host.makeClsact(index)
	if err != nil {
		return err
	}
	if made || f.host.qdiscIsOurs(index) {
		name += ourQdisc
	}
	// Of filters with the same priority the newest runs first.
	err = f.host.handle.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: hookOf(ingress), Handle: 0, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          fd, Name: f.prefix() + name, DirectAction: true,
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("adding tc filter %q to interface %d: %w", f.prefix()+name, index, err)
	if errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w (does the interface have a tc filter of priority 1, or an ingress qdisc instead of clsact?)", err)
	}
	if made {
		err = errors.Join(err, f.host.deleteClsact(index))
	}
	return hinted(err)
}

// Attached says whether the filter of that name is on the hook.
func (f Filters) Attached(index int, ingress bool, name string) (bool, error) {
	found, err := f.host.bpfFilters(index, hookOf(ingress))
	if err != nil {
		return false, err
	}
	for _, x := range found {
		if f.isNamed(x.Name, name) {
			return true, nil
		}
	}
	return false, nil
}

// Detach removes the filter of that name, and the qdisc where it was made for us
// and nobody uses it any more.
func (f Filters) Detach(index int, ingress bool, name string) error {
	_, err := f.remove(index, ingress, func(found string) bool { return f.isNamed(found, name) })
	return err
}

// RemoveFilters removes what an instance that died left on any interface, and
// gives the names.
func (h *Host) RemoveFilters(instance string) ([]string, error) {
	qdiscs, err := h.handle.QdiscList(nil)
	if err != nil {
		return nil, fmt.Errorf("listing qdiscs: %w", err)
	}
	f := h.Filters(instance)
	var names []string
	var failures []error
	for _, q := range qdiscs {
		if q.Type() != "clsact" {
			continue
		}
		for _, ingress := range []bool{true, false} {
			removed, err := f.remove(q.Attrs().LinkIndex, ingress, func(found string) bool { return strings.HasPrefix(found, f.prefix()) })
			names, failures = append(names, removed...), append(failures, err)
		}
	}
	return names, errors.Join(failures...)
}

// remove deletes filters of ours by name.
func (f Filters) remove(index int, ingress bool, wanted func(name string) bool) ([]string, error) {
	found, err := f.host.bpfFilters(index, hookOf(ingress))
	if err != nil {
		return nil, err
	}
	var names []string
	var failures []error
	lastOfOurQdisc := false
	for _, x := range found {
		if !wanted(x.Name) {
			continue
		}
		if err := f.host.handle.FilterDel(x); err != nil && !isNoFilter(err) {
			failures = append(failures, fmt.Errorf("deleting tc filter %q of interface %d: %w", x.Name, index, err))
			continue
		}
		names = append(names, x.Name)
		lastOfOurQdisc = lastOfOurQdisc || strings.HasSuffix(x.Name, ourQdisc)
	}
	if lastOfOurQdisc {
		failures = append(failures, f.host.deleteUnusedClsact(index))
	}
	return names, errors.Join(failures...)
}

// qdiscIsOurs says whether an instance, this or another, made it for its filters.
// Whoever joins notes it down as well: the last one takes it away.
func (h *Host) qdiscIsOurs(index int) bool {
	for _, ingress := range []bool{true, false} {
		found, _ := h.bpfFilters(index, hookOf(ingress)) // none found: not ours
		for _, x := range found {
			if strings.HasPrefix(x.Name, aliasPrefix) && strings.HasSuffix(x.Name, ourQdisc) {
				return true
			}
		}
	}
	return false
}

// bpfFilters lists those of a hook; there are none where the interface is gone.
func (h *Host) bpfFilters(index int, hook uint32) ([]*netlink.BpfFilter, error) {
	all, err := h.handle.FilterList(linkOf(index), hook)
	if isNoFilter(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing tc filters of interface %d: %w", index, err)
	}
	var found []*netlink.BpfFilter
	for _, x := range all {
		if b, ok := x.(*netlink.BpfFilter); ok {
			found = append(found, b)
		}
	}
	return found, nil
}

func clsactOf(index int) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

// makeClsact says whether there was none before.
func (h *Host) makeClsact(index int) (made bool, err error) {
	err = h.handle.QdiscAdd(clsactOf(index))
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, hinted(fmt.Errorf("adding a clsact qdisc to interface %d (modprobe sch_ingress cls_bpf?): %w", index, err))
	}
	return true, nil
}

func (h *Host) deleteClsact(index int) error {
	if err := h.handle.QdiscDel(clsactOf(index)); err != nil && !isNoFilter(err) {
		return fmt.Errorf("deleting the clsact qdisc of interface %d: %w", index, err)
	}
	return nil
}

func (h *Host) deleteUnusedClsact(index int) error {
	for _, ingress := range []bool{true, false} {
		all, err := h.handle.FilterList(linkOf(index), hookOf(ingress))
		if err != nil && !isNoFilter(err) {
			return fmt.Errorf("listing tc filters of interface %d: %w", index, err)
		}
		if len(all) > 0 {
			return nil
		}
	}
	return h.deleteClsact(index)
}

// isNoFilter: the filter, its qdisc, or the interface is not there.
func isNoFilter(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}
