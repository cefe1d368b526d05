package main

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"re6st/internal/status"
)

// listing is a command that prints one document of the daemon.
func listing[T any](document, short string, table func(io.Writer, T)) *cobra.Command {
	var s settings
	c := &cobra.Command{Use: document, Short: short, Args: usageArgs(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error {
		return ask(c, &s, document, nil, table)
	}}
	s.bind(c, true)
	return c
}

func statusCommand() *cobra.Command { return listing("status", "How this node is", printStatus) }

func tunnelsCommand() *cobra.Command {
	return listing("tunnels", "The tunnels of this node", printTunnels)
}

func peersCommand() *cobra.Command {
	return listing("peers", "The nodes that this node knows", printPeers)
}

func printStatus(w io.Writer, n status.Node) {
	registry := "not reached: " + n.Registry.Error
	switch {
	case n.Registry.Reachable:
		registry = "reachable"
	case n.Registry.Error == "":
		registry = "not asked yet"
	}
	fmt.Fprintf(w, "name\t%s\naddress\t%s\nprefix\t%s\nrouter-id\t%s\nnetworks\t%s\n", n.Name, n.Address, n.Prefix, n.RouterID, strings.Join(n.Networks, " "))
	if n.IPv4 != "" {
		fmt.Fprintf(w, "ipv4\t%s in %s\n", n.IPv4Address, n.IPv4)
	}
	if len(n.Announces) > 0 {
		fmt.Fprintf(w, "announces\t%s\n", strings.Join(n.Announces, " "))
	}
	if len(n.Announced) > 0 {
		fmt.Fprintf(w, "announced by others\t%s\n", strings.Join(n.Announced, " "))
	}
	fmt.Fprintf(w, "registry\t%s (%s)\nnetwork version\t%d\n", strings.Join(n.Registry.URLs, " "), registry, n.NetworkVersion)
	fmt.Fprintf(w, "tunnels up\t%d (%s WireGuard)\nroutes installed\t%d (refused so far: %d)\n", n.Tunnels, n.Backend, n.Routes, n.RefusedRoutes)
	if r := n.Relayed; r != nil {
		fmt.Fprintf(w, "from tunnel to tunnel\t%d packets, %d bytes without the kernel (no room for %d)\n", r.Packets, r.Bytes, r.Refused)
	}
	fmt.Fprintf(w, "shortcut\t%s\n", n.Shortcut)
	fmt.Fprintf(w, "certificates known\t%d\n", n.Certificates)
	fmt.Fprintf(w, "certificate until\t%s\nrunning since\t%s\n", n.Certificate.NotAfter.Format(time.RFC3339), n.Started.Format(time.RFC3339))
	printGateway(w, n.Gateway)
	for _, why := range slices.Sorted(maps.Keys(n.EdgeDropped)) {
		if count := n.EdgeDropped[why]; count > 0 {
			fmt.Fprintf(w, "edge dropped\t%d packets: %s\n", count, why)
		}
	}
	if len(n.Health) == 0 {
		fmt.Fprintf(w, "health\tgood\n")
	}
	for _, h := range n.Health {
		fmt.Fprintf(w, "health\t%s: %s\n", h.Code, h.Text)
	}
}

func printTunnels(w io.Writer, t status.Tunnels) {
	fmt.Fprintln(w, "PEER\tINTERFACE\tDIR\tSTATE\tREASON\tENDPOINT\tRTT ms\tCOST\tROUTES\tRX\tTX\tSINCE")
	for _, t := range t.Tunnels {
		rtt := "-"
		if t.RTTms != nil {
			rtt = fmt.Sprintf("%.1f", *t.RTTms)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\n", t.Peer, t.Interface, t.Direction, t.State, t.Reason, t.Endpoint,
			rtt, t.Cost, t.RoutesVia, t.RxBytes, t.TxBytes, t.Since.Format(time.RFC3339))
	}
}

func routesCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{Use: "routes [PREFIX]", Short: "The routes that Babel found, or those that hold PREFIX", Args: usageArgs(cobra.MaximumNArgs(1)), RunE: func(c *cobra.Command, args []string) error {
		within, err := prefixArgument(args)
		if err != nil {
			return err
		}
		return ask(c, &s, "routes", func(r *status.Routes) { keepHolding(r, within) }, printRoutes)
	}}
	s.bind(c, true)
	return c
}

func prefixArgument(args []string) (netip.Prefix, error) {
	if len(args) == 0 {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(args[0]); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(args[0])
	if err != nil {
		return netip.Prefix{}, usage(fmt.Errorf("%q is neither a prefix nor an address", args[0]))
	}
	return p.Masked(), nil
}

// keepHolding keeps the routes whose prefix holds within, or lies in it.
func keepHolding(r *status.Routes, within netip.Prefix) {
	if !within.IsValid() {
		return
	}
	r.Routes = slices.DeleteFunc(r.Routes, func(r status.Route) bool {
		prefix, err := netip.ParsePrefix(r.Prefix)
		return err != nil || !prefix.Overlaps(within)
	})
}

func printRoutes(w io.Writer, r status.Routes) {
	fmt.Fprintln(w, "PREFIX\tFROM\tOWNER\tROUTER-ID\tMETRIC\tSEQNO\tVIA\tINTERFACE\tFLAGS")
	for _, r := range r.Routes {
		flags := ""
		if r.Installed {
			flags += " installed"
		}
		if !r.Feasible {
			flags += " unfeasible"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", r.Prefix, r.From, r.Owner, r.RouterID, r.Metric, r.Seqno, r.Via, r.Interface, strings.TrimSpace(flags))
	}
}

func printPeers(w io.Writer, p status.Peers) {
	fmt.Fprintln(w, "NAME\tADDRESS\tROUTE\tTRANSIT\tTUNNEL\tENDPOINTS")
	for _, p := range p.Peers {
		route, transit := "no", ""
		if p.Reachable {
			route = "yes"
		}
		if p.NoTransit {
			transit = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Address, route, transit, p.Tunnel, strings.Join(p.Endpoints, " "))
	}
}
