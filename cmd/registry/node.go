package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"re6st/registry/client"
)

func nodeCommand() *cobra.Command {
	return group("node", "Nodes of the network", nodeListCommand(), nodeShowCommand())
}

func nodeListCommand() *cobra.Command {
	var o common
	c := &cobra.Command{
		Use:   "list --state DIR",
		Short: "List nodes",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withAdmin(c, func(ctx context.Context, a *client.Admin) error {
				nodes, err := a.Nodes(ctx)
				if err != nil {
					return err
				}
				if o.isJSON {
					return printJSON(c.OutOrStdout(), nodes)
				}
				return table(c.OutOrStdout(), "NAME\tPREFIX\tIPV4\tSERIAL\tUNTIL\tLAST REPORT", func(row func(string, ...any)) {
					for _, n := range nodes.Nodes {
						row("%s\t%s\t%s\t%s\t%s\t%s", n.Name, n.Prefix, nodeIPv4(n), n.Serial, n.NotAfter.Format(time.RFC3339), timeOrDash(n.LastReport))
					}
				})
			})
		},
	}
	o.addJSON(c)
	return c
}

func nodeShowCommand() *cobra.Command {
	var o common
	c := &cobra.Command{
		Use:   "show NAME|SERIAL|PREFIX --state DIR",
		Short: "Show a node and its certificate",
		Args:  arguments(1, 1, "a name, serial, prefix or address is"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.withAdmin(c, func(ctx context.Context, a *client.Admin) error {
				n, err := a.Node(ctx, args[0])
				if err != nil {
					return err
				}
				if o.isJSON {
					return printJSON(c.OutOrStdout(), n)
				}
				return printNode(c.OutOrStdout(), n)
			})
		},
	}
	o.addJSON(c)
	return c
}

func printNode(w io.Writer, d client.NodeDetail) error {
	n := d.Node
	for _, line := range [][2]string{
		{"name", n.Name},
		{"prefix", n.Prefix.String()},
		{"address", n.Address.String()},
		{"ipv4", nodeIPv4(n)},
		{"router-id", n.RouterID},
		{"gateway", fmt.Sprint(n.Gateway)},
		{"announces", list(n.Announce)},
		{"serial", n.Serial},
		{"key", n.Key},
		{"token", fmt.Sprint(n.Token)},
		{"enrolled", n.Enrolled.Format(time.RFC3339)},
		{"valid until", n.NotAfter.Format(time.RFC3339)},
		{"last report", timeOrDash(n.LastReport)},
		{"version", orDash(n.Version)},
		{"endpoints", orDash(strings.Join(n.Endpoints, ","))},
	} {
		if _, err := fmt.Fprintf(w, "%-12s %s\n", line[0], line[1]); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, d.Certificate)
	return err
}

func nodeIPv4(n client.NodeInfo) string {
	if n.IPv4Exhausted {
		return "exhausted"
	}
	return orDash(n.IPv4)
}

func timeOrDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}
