package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"re6st/internal/node"
)

func runCommand() *cobra.Command {
	var s settings
	o := node.Defaults()
	var endpoints, peers []string
	var ports, level, metrics string
	var gateway gatewayFlags
	var names namesFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "Bring this node up, and keep it up until SIGTERM",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := fill(c); err != nil {
				return err
			}
			o.StateDir = s.state
			var err error
			if o.FirstPort, o.LastPort, err = portRange(ports); err != nil {
				return err
			}
			if o.Endpoints, err = addrPorts("endpoint", endpoints); err != nil {
				return err
			}
			if o.Peers, err = addrPorts("peer", peers); err != nil {
				return err
			}
			if o.Metrics, err = metricsAddress(metrics); err != nil {
				return err
			}
			if err := gateway.fill(&o); err != nil {
				return err
			}
			if err := names.fill(&o); err != nil {
				return err
			}
			if o.Log, err = logger(c, level); err != nil {
				return err
			}
			return node.Run(c.Context(), o)
		},
	}
	s.bind(c, false)
	f := c.Flags()
	f.StringVar(&o.WireGuard, "wireguard", o.WireGuard, "which WireGuard: auto, kernel or userspace")
	f.IntVar(&o.Tunnels, "tunnels", 0, "number of tunnels to open (default: the network's)")
	f.DurationVar(&o.Refresh, "refresh", 0, "time between turns of rotation (default: the network's)")
	f.IntVar(&o.DemandTunnels, "demand-tunnels", o.DemandTunnels, "number of tunnels beyond those, while much traffic goes there; 0: none, negative: as the network says")
	f.IntVar(&o.MaxIncoming, "max-incoming", o.MaxIncoming, "number of tunnels to accept from others, beside a few on demand; negative: 30")
	f.Uint16Var(&o.Port, "port", o.Port, "UDP and TCP port of the control API")
	f.StringVar(&ports, "tunnel-ports", fmt.Sprintf("%d-%d", o.FirstPort, o.LastPort), "range of UDP ports for tunnels")
	f.StringArrayVar(&endpoints, "endpoint", nil, "`ADDR:PORT` of the control API to tell others, beside those of the interfaces; repeatable")
	f.StringArrayVar(&peers, "peer", nil, "`ADDR:PORT` of a node to begin with; repeatable")
	f.Uint32Var(&o.Table, "table", o.Table, "number of the routing table")
	f.Uint32Var(&o.RulePriority, "rule-priority", o.RulePriority, "first priority of the routing rules")
	f.StringVar(&o.AddressInterface, "address-interface", o.AddressInterface, "interface that gets the node's address")
	f.StringArrayVar(&o.Announce, "announce", nil, "`PREFIX` of the certificate to announce, all or none; repeatable (default: all)")
	f.StringArrayVar(&o.LANs, "lan", nil, "`IFACE[=PREFIX]` of a local network whose machines get addresses of this node's; repeatable")
	gateway.bind(f, &o)
	names.bind(f, &o)
	f.StringArrayVar(&o.LANsIPv4, "lan-ipv4", nil, "`IFACE[=SUBNET]` of a local network whose machines get IPv4 addresses of this node's by DHCP; repeatable")
	f.StringVar(&metrics, "metrics", "", "`ADDR:PORT` on which Prometheus may ask for metrics, without a password (default: nowhere)")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return c
}

func portRange(text string) (first, last uint16, err error) {
	a, b, ok := strings.Cut(text, "-")
	if !ok {
		b = a
	}
	from, err1 := strconv.ParseUint(a, 10, 16)
	to, err2 := strconv.ParseUint(b, 10, 16)
	if err1 != nil || err2 != nil || from == 0 || from > to {
		return 0, 0, usage(fmt.Errorf("--tunnel-ports %q: want FIRST-LAST, each 1 to 65535", text))
	}
	return uint16(from), uint16(to), nil
}

func metricsAddress(text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPort{}, nil
	}
	all, err := addrPorts("metrics", []string{text})
	if err != nil {
		return netip.AddrPort{}, err
	}
	return all[0], nil
}

func addrPorts(flag string, texts []string) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for _, text := range texts {
		a, err := netip.ParseAddrPort(text)
		if err != nil || a.Port() == 0 {
			return nil, usage(fmt.Errorf("--%s %q: want ADDRESS:PORT, an IPv6 address in brackets", flag, text))
		}
		all = append(all, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	return all, nil
}

func logger(c *cobra.Command, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage(fmt.Errorf("--log-level %q: want debug, info, warn or error", level))
	}
	return slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: l})), nil
}
