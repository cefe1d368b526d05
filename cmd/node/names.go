package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"re6st/internal/node"
)

// namesFlags are the texts of flags that fill node.NamesOptions.
type namesFlags struct{ allow []string }

func (n *namesFlags) bind(f *pflag.FlagSet, o *node.Options) {
	f.StringArrayVar(&o.Names.Listen, "dns", nil, "`ADDR:PORT` on which names are answered, or off; repeatable (default: the node's own addresses, port 53)")
	f.StringArrayVar(&o.Names.Forward, "dns-forward", nil, "`ADDR[:PORT]` of a resolver that is asked all other names for members and their LANs; repeatable")
	f.StringArrayVar(&n.allow, "dns-allow", nil, "`PREFIX` beyond the mesh and this host for which other names are asked; repeatable")
}

func (n *namesFlags) fill(o *node.Options) error {
	for _, text := range n.allow {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() {
			return usage(fmt.Errorf("--dns-allow %q: want a prefix without host bits", text))
		}
		o.Names.Allow = append(o.Names.Allow, p)
	}
	return nil
}
