package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"re6st/internal/status"
)

// errNotReached makes the exit status of trace and ping: what was seen is printed
// all the same.
var errNotReached = errors.New("no answer")

// wayFlags are common to trace and ping.
type wayFlags struct {
	settings
	ipv4, mesh bool
}

func (f *wayFlags) bindWay(c *cobra.Command) {
	f.bind(c, true)
	c.Flags().BoolVar(&f.ipv4, "ipv4", false, "of a node's addresses take the IPv4 one")
	c.Flags().BoolVar(&f.mesh, "mesh", false, "send from this node's mesh address, whatever the kernel would choose: the way of machines behind it")
}

func (f *wayFlags) question(name, host string) (string, url.Values) {
	q := url.Values{"host": {host}}
	if f.ipv4 {
		q.Set("ipv4", "true")
	}
	if f.mesh {
		q.Set("mesh", "true")
	}
	return name, q
}

func traceCommand() *cobra.Command {
	var f wayFlags
	c := &cobra.Command{
		Use: "trace HOST", Short: "The way to HOST, an address or the name of a node: its hops, and the tunnels between them",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			name, q := f.question("trace", args[0])
			var t status.Trace
			if err := ask(c, &f.settings, name+"?"+q.Encode(), func(d *status.Trace) { t = *d }, printTrace); err != nil {
				return err
			}
			return notReached(t.Reached, t.Host, t.Error)
		},
	}
	f.bindWay(c)
	return c
}

func pingCommand() *cobra.Command {
	var f wayFlags
	count := 5
	c := &cobra.Command{
		Use: "ping HOST", Short: "Ask HOST, an address or the name of a node, for echoes",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if count < 1 || count > 100 {
				return usage(fmt.Errorf("--count %d: want 1 to 100", count))
			}
			name, q := f.question("ping", args[0])
			q.Set("count", strconv.Itoa(count))
			var p status.Ping
			if err := ask(c, &f.settings, name+"?"+q.Encode(), func(d *status.Ping) { p = *d }, printPing); err != nil {
				return err
			}
			return notReached(p.Received > 0, p.Host, p.Error)
		},
	}
	f.bindWay(c)
	c.Flags().IntVar(&count, "count", count, "how many echoes, 200 ms apart")
	return c
}

func notReached(isReached bool, host, why string) error {
	switch {
	case isReached:
		return nil
	case why != "":
		return fmt.Errorf("%s: %s", host, why)
	}
	return fmt.Errorf("%s: %w", host, errNotReached)
}

func printTrace(w io.Writer, t status.Trace) {
	fmt.Fprintln(w, "HOP\tNAME\tADDRESS\tRTT ms\tLOSS\tNEXT\tINTERFACE\tTUNNEL RTT ms\tTUNNEL LOSS")
	for _, h := range t.Hops {
		name, address, loss := h.Name, h.Address, percent(h.Loss)
		if h.Behind != "" {
			name = "(behind " + h.Behind + ")"
		}
		if address == "" {
			address = "*"
		}
		if h.Limit == 0 {
			loss = "-"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", h.Limit, name, address, msOf(h.RTTms), loss, nextOf(h))
	}
}

func nextOf(h status.Hop) string {
	n := h.Next
	switch {
	case h.Unreachable:
		return "no way\t\t\t"
	case n == nil && h.Error != "":
		return "?\t\t\t"
	case n == nil:
		return "\t\t\t"
	case n.Kind == "tunnel":
		return fmt.Sprintf("%s\t%s\t%s\t%s", n.Peer, n.Interface, msOf(n.RTTms), percent(n.Loss))
	case n.Kind == "gateway":
		return "out of the mesh\t\t\t"
	case n.Kind == "none":
		return "not through the mesh\t\t\t"
	}
	return "here\t\t\t"
}

func printPing(w io.Writer, p status.Ping) {
	for i, r := range p.Replies {
		switch {
		case r.RTTms != nil:
			fmt.Fprintf(w, "%d\t%s\t%s ms\n", i+1, r.From, msOf(r.RTTms))
		case r.From != "":
			fmt.Fprintf(w, "%d\t%s\tsays that it cannot be reached\n", i+1, r.From)
		default:
			fmt.Fprintf(w, "%d\t-\tno answer\n", i+1)
		}
	}
	fmt.Fprintf(w, "%s\t%d of %d, loss %s, mean %s ms\n", p.Address, p.Received, p.Sent, percent(p.Loss), msOf(p.RTTms))
}

func msOf(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *ms)
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }
