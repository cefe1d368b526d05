package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"re6st/registry"
)

func initCommand() *cobra.Command {
	var o common
	var prefix, ipv4 string
	var in registry.InitOptions
	c := &cobra.Command{
		Use:   "init --state DIR --network PREFIX --url https://HOST:PORT",
		Short: "Make a network: its CA, its database, and a first token, which is printed",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.settle(c); err != nil {
				return err
			}
			in.State = o.state
			var err error
			if in.Network, err = parsePrefix("--network", prefix); err != nil {
				return err
			}
			if ipv4 != "" {
				if in.IPv4, err = parsePrefix("--ipv4", ipv4); err != nil {
					return err
				}
			}
			token, err := registry.Init(c.Context(), in)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "network %s made in %s\nnext: re6stregistry serve --state %s\nthen, on a machine that shall join: re6stnode join TOKEN --state DIR\n", in.Network, o.state, o.state)
			_, err = fmt.Fprintln(c.OutOrStdout(), token)
			return err
		},
	}
	o.add(c)
	c.Flags().StringVar(&prefix, "network", "", "IPv6 `prefix` of the network")
	c.Flags().StringVar(&ipv4, "ipv4", "", "IPv4 `prefix` for machines that speak nothing else")
	c.Flags().IntVar(&in.IPv4Prefix, "ipv4-prefix", 0, "`length` of the IPv4 subnet that a node gets (default: 24, or what fits)")
	c.Flags().IntVar(&in.NodePrefix, "node-prefix", 64, "`length` of the prefix that a node gets")
	c.Flags().StringVar(&in.Domain, "domain", "mesh", "`domain` of the nodes' names")
	c.Flags().StringSliceVar(&in.URLs, "url", nil, "`URL` at which nodes reach the registry; may be repeated")
	return c
}

func parsePrefix(flag, text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, usage("for example "+flag+" 2001:db8:42::/48", "%s is not given", flag)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, usage("a prefix is an address, a slash and a length", "%s %q: not a prefix", flag, text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, usage(fmt.Sprintf("did you mean %s?", p.Masked()), "%s %s: bits are set beyond its length", flag, p)
	}
	return p, nil
}
