package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"re6st/internal/border"
)

// sight is what of the host's network matters to a gateway, as of one look.
type sight struct {
	links    map[int]link
	defaults [2][]defaultRoute // by family, the kernel's choice first
	onLink   []onLink
}

type link struct {
	name    string
	alias   string
	carrier bool
	noARP   bool // no neighbours to ask: tunnels, PPP
}

type defaultRoute struct {
	ifindex int
	nextHop netip.Addr // invalid: on the link
	metric  int
}

type onLink struct {
	ifindex int
	prefix  netip.Prefix
}

// lookAttempts bounds how often a list is begun anew because the kernel's tables
// changed meanwhile.
const lookAttempts = 5

// look lists links and the main table.
func look() (sight, error) {
	s, err := glance()
	for n := 1; n < lookAttempts && errors.Is(err, netlink.ErrDumpInterrupted); n++ {
		s, err = glance()
	}
	return s, err
}

func glance() (sight, error) {
	s := sight{links: map[int]link{}}
	links, err := netlink.LinkList()
	if err != nil {
		return s, fmt.Errorf("listing interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		const up = unix.IFF_UP | unix.IFF_LOWER_UP
		s.links[a.Index] = link{
			name: a.Name, alias: a.Alias, carrier: a.RawFlags&up == up,
			noARP: a.RawFlags&(unix.IFF_NOARP|unix.IFF_POINTOPOINT) != 0,
		}
	}
	for f, kind := range map[border.Family]int{border.IPv4: netlink.FAMILY_V4, border.IPv6: netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(kind, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return s, fmt.Errorf("listing routes: %w", err)
		}
		for i := range routes {
			s.note(f, &routes[i])
		}
		slices.SortStableFunc(s.defaults[f], func(a, b defaultRoute) int { return a.metric - b.metric })
	}
	return s, nil
}

func (s *sight) note(f border.Family, r *netlink.Route) {
	if r.Type != unix.RTN_UNICAST {
		return
	}
	dst, isDefault := destination(r)
	if !isDefault {
		if len(r.Gw) == 0 && r.Via == nil && len(r.MultiPath) == 0 && dst.IsValid() && !s.isTunnel(r.LinkIndex) {
			s.onLink = append(s.onLink, onLink{r.LinkIndex, dst})
		}
		return
	}
	hops := []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
	if len(r.MultiPath) > 0 {
		hops = r.MultiPath
	}
	for _, h := range hops {
		if s.isTunnel(h.LinkIndex) {
			continue // another mesh's, or ours where the operator wants it in main
		}
		d := defaultRoute{ifindex: h.LinkIndex, metric: r.Priority}
		if gw, ok := netip.AddrFromSlice(h.Gw); ok {
			d.nextHop = gw.Unmap()
		} else if via, ok := h.Via.(*netlink.Via); ok {
			if gw, ok := netip.AddrFromSlice(via.Addr); ok {
				d.nextHop = gw.Unmap()
			}
		}
		s.defaults[f] = append(s.defaults[f], d)
	}
}

// isTunnel: of ours, or the loopback, or gone since.
func (s *sight) isTunnel(ifindex int) bool {
	l, ok := s.links[ifindex]
	return !ok || l.name == "lo" || strings.HasPrefix(l.name, TunnelPrefix)
}

func destination(r *netlink.Route) (dst netip.Prefix, isDefault bool) {
	if r.Dst == nil {
		return dst, true
	}
	a, ok := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	if !ok {
		return dst, false
	}
	return netip.PrefixFrom(a.Unmap(), ones), ones == 0
}

// upstream finds the way out of a family. only, if not empty, is the one interface
// that counts.
func (s *sight) upstream(f border.Family, only string) (u border.Upstream, hop defaultRoute, isLink bool) {
	u.Interface = only
	for _, d := range s.defaults[f] {
		l := s.links[d.ifindex]
		if only != "" && l.name != only {
			continue
		}
		u.Interface, u.Exists, u.Carrier, u.Default, u.NextHop = l.name, true, l.carrier, true, d.nextHop
		return u, d, !d.nextHop.IsValid() || l.noARP
	}
	for _, l := range s.links {
		if only != "" && l.name == only {
			u.Exists, u.Carrier = true, l.carrier
		}
	}
	return u, hop, false
}

// uplinks are all interfaces by which the Internet is reached, whether or not
// the kernel chooses them now: what comes in there is from outside.
func (s *sight) uplinks(only string) []string {
	var all []string
	if only != "" {
		all = append(all, only)
	}
	for _, family := range s.defaults {
		for _, d := range family {
			all = append(all, s.links[d.ifindex].name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// others are the tunnels of other instances on this host. One whose owner is not
// known counts as ours: that is the safe side.
func (s *sight) others(instance string) []string {
	var all []string
	for _, l := range s.links {
		rest, ok := strings.CutPrefix(l.alias, "re6st ")
		owner, _, _ := strings.Cut(rest, " ")
		if ok && strings.HasPrefix(l.name, TunnelPrefix) && owner != "" && owner != instance {
			all = append(all, l.name)
		}
	}
	slices.Sort(all)
	return all
}

// local are the prefixes of the mesh that are on the link of an uplink, and
// wide says whether one of them is as wide as the mesh: then the upstream takes
// all of the mesh for neighbours of its own, and routes nothing here.
func (s *sight) local(mesh []netip.Prefix, uplinks []string) (local []netip.Prefix, wide string) {
	for _, o := range s.onLink {
		if !slices.Contains(uplinks, s.links[o.ifindex].name) {
			continue
		}
		for _, m := range mesh {
			switch {
			case !m.Overlaps(o.prefix):
			case o.prefix.Bits() <= m.Bits():
				wide = fmt.Sprintf("%v on %s", o.prefix, s.links[o.ifindex].name)
			default:
				local = append(local, o.prefix)
			}
		}
	}
	slices.SortFunc(local, netip.Prefix.Compare)
	return slices.Compact(local), wide
}

// watchNetwork calls changed when links, or routes of the kind that a sight has,
// change; and when it is not sure. It ends with ctx.
func watchNetwork(ctx context.Context, changed func()) error {
	failed := make(chan error, 2) // each subscription fails once
	note := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	links, routes := make(chan netlink.LinkUpdate, 64), make(chan netlink.RouteUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: note}); err != nil {
		return fmt.Errorf("watching interfaces: %w", err)
	}
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: note}); err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	defer func() { // the library's goroutines must not wait for a reader
		go func() {
			for range links {
			}
		}()
		go func() {
			for range routes {
			}
		}()
	}()
	changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			changed()
			return fmt.Errorf("watching the network: %w", err)
		case _, ok := <-links:
			if !ok {
				return fmt.Errorf("watching interfaces: the kernel ended it")
			}
			changed()
		case r, ok := <-routes:
			if !ok {
				return fmt.Errorf("watching routes: the kernel ended it")
			}
			_, isDefault := destination(&r.Route)
			if r.Table == unix.RT_TABLE_MAIN && (isDefault || len(r.Gw) == 0) {
				changed()
			}
		}
	}
}
