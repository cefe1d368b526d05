package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// faultTable is the nftables table in which the lab makes faults; the census
// does not see it.
const faultTable = "re6stlab"

// Interface is one end of a link.
type Interface struct {
	Host *Host
	Name string
}

// Link is a cable between two hosts.
type Link struct{ A, B Interface }

// Connect lays a cable. The interfaces get the given names, or eth0, eth1, ...
func (l *Lab) Connect(a, b *Host, names ...string) *Link {
	l.TB.Helper()
	link := l.lay(a, b, names...)
	link.A.up()
	link.B.up()
	return link
}

// lay is Connect without setting the ends up.
func (l *Lab) lay(a, b *Host, names ...string) *Link {
	l.TB.Helper()
	link := &Link{A: Interface{Host: a}, B: Interface{Host: b}}
	link.A.Name, link.B.Name = a.linkName(names, 0), b.linkName(names, 1)
	index := l.nextEnd()
	ipOutside(l, "link", "add", "name", link.A.Name, "index", fmt.Sprint(index), "netns", fmt.Sprint(a.PID), "type", "veth",
		"peer", "name", link.B.Name, "index", fmt.Sprint(index+1), "netns", fmt.Sprint(b.PID))
	return link
}

// endFirst is above the indexes that a kernel gives by itself.
const endFirst = 1000

// nextEnd is the index of a cable's one end; the other end has the next one.
//
// Hosts of the lab share a kernel, and a kernel tells of lost carriers once a
// second (linkwatch_urgent_event in net/core/link_watch.c): what happens to one
// host would keep the news from another for up to a second. Links that name
// another one as what they lie on are told of at once, and a veth does, unless
// both its ends have the same index: which the first links of two hosts would
// have.
func (l *Lab) nextEnd() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends += 2
	return endFirst + l.ends
}

// up sets the interface up and runs more lines of ip(8), all in one process:
// starting a program is what making a lab costs.
func (i Interface) up(lines ...string) {
	i.Host.Lab.TB.Helper()
	i.Host.IP(append([]string{"link set " + i.Name + " up"}, lines...)...)
}

func (h *Host) linkName(names []string, i int) string {
	if i < len(names) && names[i] != "" {
		return names[i]
	}
	h.links++
	return fmt.Sprintf("eth%d", h.links-1)
}

// Add gives the interface addresses, with their prefix lengths.
func (i Interface) Add(addrs ...netip.Prefix) {
	i.Host.Lab.TB.Helper()
	if len(addrs) > 0 {
		i.Host.IP(i.add(addrs...)...)
	}
}

func (i Interface) add(addrs ...netip.Prefix) []string {
	var lines []string
	for _, a := range addrs {
		nodad := ""
		if a.Addr().Is6() {
			nodad = " nodad"
		}
		lines = append(lines, fmt.Sprintf("addr add %v dev %s%s", a, i.Name, nodad))
	}
	return lines
}

// ends returns the receiving interface for what the host sends.
func (k *Link) receiver(from *Host) Interface {
	if from == k.A.Host {
		return k.B
	}
	return k.A
}

// fault puts statements on the ingress of the interface, in place of earlier
// ones: what is dropped there was sent in good faith.
func (i Interface) fault(statements ...string) {
	i.Host.Lab.TB.Helper()
	table := fmt.Sprintf("netdev %s_%s", faultTable, i.Name)
	lines := []string{"add table " + table, "delete table " + table}
	if len(statements) > 0 {
		lines = append(lines, "add table "+table,
			fmt.Sprintf("add chain %s ingress { type filter hook ingress device %q priority 0; }", table, i.Name))
	}
	for _, s := range statements {
		lines = append(lines, fmt.Sprintf("add rule %s ingress %s", table, s))
	}
	i.Host.NFT(lines...)
}

// Cut stops everything in both directions. The carrier stays: the hosts are
// not told.
func (k *Link) Cut() {
	k.A.Host.Lab.TB.Helper()
	k.A.fault("counter drop")
	k.B.fault("counter drop")
}

// CutFrom stops only what the host sends.
func (k *Link) CutFrom(from *Host) {
	k.A.Host.Lab.TB.Helper()
	k.receiver(from).fault("counter drop")
}

// Lose drops a share of packets in each direction. The kernel throws the dice:
// for reproducible losses take a Relay.
func (k *Link) Lose(percent int) {
	k.A.Host.Lab.TB.Helper()
	rule := fmt.Sprintf("numgen random mod 100 < %d counter drop", percent)
	k.A.fault(rule)
	k.B.fault(rule)
}

// Hole drops, in both directions and without a word, IP packets above a size.
func (k *Link) Hole(mtu int) {
	k.A.Host.Lab.TB.Helper()
	rule := fmt.Sprintf("meta length > %d counter drop", mtu)
	k.A.fault(rule)
	k.B.fault(rule)
}

// Restore ends all faults of the link.
func (k *Link) Restore() {
	k.A.Host.Lab.TB.Helper()
	k.A.fault()
	k.B.fault()
}

// Unplug takes the carrier away on both sides; Plug gives it back.
func (k *Link) Unplug() { k.A.Host.IP("link set " + k.A.Name + " down") }

// Plug undoes Unplug. Addresses of IPv6 went with the carrier.
func (k *Link) Plug() { k.A.Host.IP("link set " + k.A.Name + " up") }

// ipOutside runs ip(8) in the lab's own namespaces.
func ipOutside(l *Lab, args ...string) {
	l.TB.Helper()
	if out, err := outside("ip", args...); err != nil {
		l.TB.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
