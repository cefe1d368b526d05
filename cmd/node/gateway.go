package main

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"re6st/internal/node"
	"re6st/internal/status"
)

// gatewayFlags are the texts of flags that fill node.GatewayOptions.
type gatewayFlags struct {
	checks []string
	admit  []string
	maps   []string
}

func (g *gatewayFlags) bind(f *pflag.FlagSet, o *node.Options) {
	w := &o.Gateway
	f.BoolVar(&w.On, "gateway", w.On, "be a way out of the mesh to the Internet")
	f.StringVar(&w.IPv6, "gateway-ipv6", w.IPv6, "the way out for IPv6: routed, translate, masquerade, off, or auto: masquerade for a unique local network, else routed")
	f.TextVar(&w.Prefix, "gateway-prefix", w.Prefix, "`PREFIX` that is routed here, for --gateway-ipv6 translate")
	f.StringArrayVar(&g.maps, "gateway-map", nil, "announced `PREFIX=OUTSIDE` that is translated as well, to one that is routed here; repeatable")
	f.StringVar(&w.IPv4, "gateway-ipv4", w.IPv4, "the way out for IPv4: masquerade or off")
	f.StringVar(&w.Uplink, "gateway-uplink", w.Uplink, "`INTERFACE` to the Internet (default: that of the default route, for each family)")
	f.StringVar(&w.Inbound, "gateway-inbound", w.Inbound, "what the Internet may send into the mesh: established (answers alone) or all")
	f.StringArrayVar(&g.checks, "gateway-check", nil, "`ADDR` on the Internet that must answer echo requests for the gateway to offer a way out; repeatable: one of a family is enough")
	f.StringArrayVar(&g.admit, "gateway-admit", nil, "announced `PREFIX` from which packets may leave, all or none; repeatable (default all)")
	f.StringVar(&o.NAT64, "nat64", o.NAT64, "translate to IPv4 for machines that have only IPv6: off, on (64:ff9b::/96) or a PREFIX")
	f.TextVar(&o.NAT64Pool, "nat64-pool", o.NAT64Pool, "private IPv4 `PREFIX` of this host alone, from which translated sources get their addresses (default 240.64.0.0/16)")
	f.StringVar(&o.Shortcut, "shortcut", o.Shortcut, "whether packets in transit go past the IP stack: auto (unless that bypasses another's firewall), on or off")
	f.BoolVar(&o.NoTransit, "no-transit", o.NoTransit, "carry no packets of others: this node stays reachable, and no path leads through it")
}

func (g *gatewayFlags) fill(o *node.Options) error {
	for _, text := range g.checks {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || !a.Unmap().IsGlobalUnicast() {
			return usage(fmt.Errorf("--gateway-check %q: want the address of a host on the Internet", text))
		}
		o.Gateway.Checks = append(o.Gateway.Checks, a.Unmap())
	}
	for _, text := range g.maps {
		inside, outside, _ := strings.Cut(text, "=")
		in, err1 := netip.ParsePrefix(inside)
		out, err2 := netip.ParsePrefix(outside)
		if err1 != nil || err2 != nil {
			return usage(fmt.Errorf("--gateway-map %q: want an announced prefix, =, and the prefix that it has outside", text))
		}
		o.Gateway.Maps = append(o.Gateway.Maps, [2]netip.Prefix{in, out})
	}
	switch {
	case len(g.admit) == 0 || (len(g.admit) == 1 && g.admit[0] == "all"):
		o.Gateway.AdmitAll = true
	case len(g.admit) == 1 && g.admit[0] == "none":
	default:
		for _, text := range g.admit {
			p, err := netip.ParsePrefix(text)
			if err != nil || p != p.Masked() {
				return usage(fmt.Errorf("--gateway-admit %q: want all, none, or a prefix", text))
			}
			o.Gateway.Admit = append(o.Gateway.Admit, p)
		}
	}
	return nil
}

func printGateway(w io.Writer, g *status.Gateway) {
	if g == nil {
		return
	}
	for _, f := range g.Families {
		state := "open"
		if !f.Originated {
			state = "closed: " + f.Why
		}
		via := f.Uplink
		if f.NextHop != "" {
			via = f.NextHop + " on " + via
		}
		fmt.Fprintf(w, "gateway %s\t%s by %s, inbound %s (%s)\n", f.Family, f.Way, via, g.Inbound, state)
	}
	if x := g.Translated; x != nil {
		for _, p := range x.Pairs {
			fmt.Fprintf(w, "gateway translates\t%s to %s\n", p.Inside, p.Outside)
		}
		fmt.Fprintf(w, "gateway translated\t%d packets out, %d in, by %s on %s\n", x.Out.Packets, x.In.Packets, x.Method, x.Uplink)
		if n := x.Out.Unmapped + x.In.Unmapped; n > 0 {
			fmt.Fprintf(w, "gateway dropped\t%d packets: no counterpart by RFC 6296\n", n)
		}
	}
	if n := g.NAT64; n != nil {
		fmt.Fprintf(w, "gateway NAT64\t%s, %d sources, %d packets translated\n", n.Prefix, n.Mappings, n.Packets["translated"])
	}
	for _, why := range slices.Sorted(maps.Keys(g.Dropped)) {
		if n := g.Dropped[why]; n > 0 {
			fmt.Fprintf(w, "gateway dropped\t%d packets: %s\n", n, why)
		}
	}
}
