package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"re6st/internal/lab"
)

// mesh starts all nodes but those at home.
func (s *story) mesh() {
	s.w.Start()
	s.w.AwaitUp()
	reach := s.w.AllPairs(wantWhole)
	s.row(fmt.Sprintf("%d nodes reach each other, from the registry's start", len(s.w.Running())), time.Since(s.w.Started))
	s.row("ordered pairs reached", fmt.Sprintf("%d of %d", reach.Reached, reach.Pairs))
	s.row("tunnels up, all nodes", tunnels(s, s.w.Mesh))
}

// home joins the first: row Z4.
func (s *story) home() {
	s.title("A machine that has only IPv4, behind a NAT, joins.")
	home := s.w.Homes[0]
	s.wan = home.WAN.Link.B.Dump()
	joined := time.Now()
	if err := home.Join(); err != nil {
		s.Fatalf("%v", err)
	}
	_, seen := s.fetches(home.Host, s.w.Web6.V6, own(home.Node))
	s.within("it has the page of the IPv6-only server, after the join's start", time.Since(joined), wantWorks)
	s.row("the server saw it as", seen)
	s.reached(home.Host, home.Node.Address)
	_, seen = s.fetches(home.Host, s.w.Web4.V4, exactly(home.WAN.V4))
	s.row("the IPv4-only server still sees it behind its own router", seen)
}

// phone is a machine on the home's LAN that runs nothing of ours.
func (s *story) phone() {
	s.title("A phone on that LAN runs nothing of ours.")
	home := s.w.Homes[0]
	s.phones = append(s.phones, s.address(home))
	s.fetches(home.Phone.Host, s.w.Web6.V6, exactly(s.phones[0]))
	s.row("it has the page of the IPv6-only server, seen as", s.phones[0])
	s.reached(home.Phone.Host, s.phones[0])
	six, first, err := s.wan.Count("ip6 or ip proto 41")
	all, _, err2 := s.wan.Count("ip")
	if err != nil || err2 != nil || six != 0 || all == 0 {
		s.Errorf("%d IPv6 packets between the home and its provider, %d IPv4: %s %v %v", six, all, first, err, err2)
	}
	s.row("IPv6 packets between the home and its provider, by tcpdump", fmt.Sprintf("%d, and %d of IPv4", six, all))
}

// address waits for the phone's by router advertisement.
func (s *story) address(home *lab.Home) netip.Addr {
	a, took := home.Phone.AwaitAddress(own(home.Node), patience)
	s.row("its address by router advertisement, waited for", took)
	return a
}

// otherHome joins the second home, from which no gateway can be reached but
// through other nodes.
func (s *story) otherHome() {
	s.title("A second home joins, whose provider lets no packet through to the gateways.")
	home := s.w.Homes[1]
	home.Block(s.w.Gateways...)
	joined := time.Now()
	if err := home.Join(); err != nil {
		s.Fatalf("%v", err)
	}
	s.fetches(home.Host, s.w.Web6.V6, own(home.Node))
	s.within("it has the page too, after the join's start", time.Since(joined), wantWorks)
	s.phones = append(s.phones, s.address(home))
	reach := s.w.AllPairs(patience)
	s.row("ordered pairs of all nodes reached", fmt.Sprintf("%d of %d", reach.Reached, reach.Pairs))
	s.row("pairs by number of hops", hops(reach.Hops))
}

// old machines know only IPv4 and sit behind the nodes' second interface.
func (s *story) old() {
	s.title("Behind both homes' nodes is a machine that knows only IPv4.")
	for _, home := range s.w.Homes {
		var lease lab.Lease
		took := s.works("an address by DHCP", func() (err error) {
			lease, err = home.Old.DHCP(3 * time.Second)
			return err
		})
		if !ipv4.Contains(lease.Address.Addr()) {
			s.Errorf("%s was given %v, which is not of %v", home.Old.Host.Name, lease.Address, ipv4)
		}
		s.olds = append(s.olds, lease.Address.Addr())
		s.row(home.Old.Host.Name+" has an address by DHCP", fmt.Sprintf("%v, after %v", lease.Address, took.Round(time.Millisecond)))
	}
	took := s.works("the two to reach each other", func() error {
		for i, home := range s.w.Homes {
			if err := home.Old.Host.Ping(s.olds[1-i]); err != nil {
				return err
			}
		}
		return nil
	})
	s.row("they ping each other over the IPv6 mesh, after", took)
	for _, home := range s.w.Homes {
		_, seen := s.fetches(home.Old.Host, s.w.Web4.V4, netip.MustParsePrefix("100.64.0.0/10"))
		s.row(home.Old.Host.Name+" has the page of the IPv4-only server, seen as", s.name(seen))
		if !s.isGateway(seen) {
			s.Errorf("%s is seen as %v, want the address of a gateway", home.Old.Host.Name, seen)
		}
	}
}

func (s *story) isGateway(a netip.Addr) bool {
	return slices.ContainsFunc(s.w.Gateways, func(n *lab.Node) bool { return n.Port.V4 == a })
}

// trace shows the way from the second home's phone to the IPv6-only server.
func (s *story) trace() {
	s.title("The way of a packet from the second home's phone to the IPv6-only server.")
	home := s.w.Homes[1]
	var trace []lab.Hop
	s.works("a whole trace", func() error {
		trace = home.Phone.Host.Trace(s.w.Web6.V6, 8)
		if last := trace[len(trace)-1].From; last != s.w.Web6.V6 {
			return fmt.Errorf("it ends at %v: %v", last, trace)
		}
		if i := slices.IndexFunc(trace, func(h lab.Hop) bool { return !h.From.IsValid() }); i >= 0 {
			return fmt.Errorf("hop %d is silent: %v", i+1, trace)
		}
		return nil
	})
	var names []string
	for _, h := range trace {
		names = append(names, s.name(h.From))
		s.row(fmt.Sprintf("%d", h.Limit), fmt.Sprintf("%-16s %v", s.name(h.From), h.From))
	}
	gateway := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, "otter-gate") })
	if names[0] != home.Node.Name || gateway < 2 || gateway > len(names)-3 {
		s.Errorf("the way is %v, want the home's node, others, a gateway, the outside", names)
	}
	var said string
	s.works("re6stnode trace to know the whole way", func() (err error) {
		said, err = home.Host.Try(home.Node.Binary, "trace", s.w.Web6.V6.String(), "--mesh", "--state", home.Node.State)
		if err == nil && (!strings.Contains(said, "out of the mesh") || strings.Contains(said, "?")) {
			err = fmt.Errorf("it says\n%s", said)
		}
		return err
	})
	fmt.Fprintf(s.Out, "\n  re6stnode trace %v --mesh, at the second home:\n", s.w.Web6.V6)
	for line := range strings.Lines(said) {
		fmt.Fprintf(s.Out, "    %s", line)
	}
}

// name tells whose address it is.
func (s *story) name(a netip.Addr) string {
	for _, n := range s.w.Nodes {
		if a == n.Address || a == n.Port.V6 || a == n.Port.V4 && a.As4()[0] != 192 {
			return n.Name
		}
	}
	for _, p := range append(s.w.Net.Ports(), slices.Concat(s.w.ISPs[0].Ports(), s.w.ISPs[1].Ports())...) {
		if a == p.V4 || a == p.V6 {
			return p.Host.Name
		}
		if a == p.Router4 || a == p.Router6 {
			return p.Link.B.Host.Name
		}
	}
	return "?"
}

// death ends the first home's gateway, with packets on their way.
func (s *story) death() {
	home := s.w.Homes[0]
	gateway := s.w.Gateways[0]
	s.title("The gateway that the first home uses loses its power.")
	s.works("the first home to use the nearest gateway", func() error { return home.Node.Uses(gateway) })
	s.row("default routes of the first home, IPv6 and IPv4, lead to", gateway.Name)
	download := home.Phone.Host.Transfer(s.w.Web6.V6, transfer)
	stream := s.w.Lab.Stream(perSecond, []lab.End{{Host: home.Phone.Host, Addr: s.phones[0]}, {Host: s.w.Web6.Host, Addr: s.w.Web6.V6}}, nil)
	<-time.After(warm)
	died := time.Now()
	gateway.DieWithHost()
	s.fetches(home.Phone.Host, s.w.Web6.V6, exactly(s.phones[0]))
	six := time.Since(died)
	_, seen := s.fetches(home.Old.Host, s.w.Web4.V4, exactly(s.w.Gateways[1].Port.V4))
	s.within("a new page over IPv6, after the death", six, wantMoved)
	s.within("a new page over IPv4, now seen as "+s.name(seen), time.Since(died), wantMoved)
	if err := download.Wait(lab.Slow(transfer + patience)); err != nil {
		s.Errorf("a TCP transfer from the IPv6-only server did not survive: %v", err)
	}
	s.row(fmt.Sprintf("a TCP transfer of %v at the phone, begun before", transfer), "whole")
	for _, f := range stream.Stop() {
		s.row(fmt.Sprintf("longest silence from %s to %s", f.From, f.To), f.Gap)
	}
	gateway.Port.Link.Restore()
	gateway.Run()
	back := s.works("the first home to use its gateway again", func() error { return home.Node.Uses(gateway) })
	s.row("power is back; the nearest gateway is used again after", back)
}

// end stops everything and looks for what is left.
func (s *story) end() {
	s.title("All is stopped.")
	s.wan.Stop()
	s.w.Stop()
	seen := s.capture.Stop()
	if err := seen.Err(); err != nil {
		s.Errorf("%v", err)
	}
	s.row("packets of the underlay inside tunnels, or in clear what must not be", fmt.Sprintf("%d of %d", seen.Offences, seen.Inner+seen.Underlay))
	s.w.WantClean()
	clean := "as before"
	if s.Failed() {
		clean = "see above"
	}
	s.row("links, addresses, routes, rules, tables, sysctls, sockets", clean)
	s.row("the whole demo", time.Since(s.started))
}

// hops tells how many pairs have how many.
func hops(count map[int]int) string {
	var text []string
	for h := range 32 {
		if count[h] > 0 {
			text = append(text, fmt.Sprintf("%d: %d", h, count[h]))
		}
	}
	return strings.Join(text, "  ")
}

// tunnels counts each tunnel once: at the end that opened it.
func tunnels(t lab.TB, m *lab.Mesh) string {
	out, backends := 0, map[string]bool{}
	for _, n := range m.Running() {
		up, err := n.Up()
		if err != nil {
			t.Errorf("%v", err)
		}
		for _, tunnel := range up {
			backends[tunnel.Backend] = true
			if tunnel.Direction == "out" {
				out++
			}
		}
	}
	var kinds []string
	for b := range backends {
		kinds = append(kinds, b)
	}
	return fmt.Sprintf("%d, WireGuard: %v", out, kinds)
}
