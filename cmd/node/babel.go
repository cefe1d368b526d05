package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"re6st/internal/router"
	"re6st/internal/status"
)

const babelHelp = `Make this machine a Babel router (RFC 8966) like any other, without a mesh.

It runs in the foreground, logs to standard error, and ends in order on SIGTERM:
neighbours are told, routes and sysctls are taken back. Routes go into the table
main with protocol 42 and metric 1042, so that routes of your own win over them.

Interfaces need not exist yet; they may go, come back, lose their carrier. One
that is point to point (WireGuard, TUN, PPP) is taken for a tunnel: updates are
acknowledged there and the cost follows the RTT. IFACE:wired or IFACE:wireless
says otherwise.

What --announce announces is not installed here: the host must have an interface
or a route of its own for it.`

func babelCommand() *cobra.Command {
	var s settings
	var f babelFlags
	c := &cobra.Command{
		Use:   "babel --interface IFACE ...",
		Short: "Route with Babel on this machine's own links, without a mesh",
		Long:  babelHelp,
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := fill(c); err != nil {
				return err
			}
			o, err := f.options()
			if err != nil {
				return usage(err)
			}
			o.StateDir = s.state
			if o.Log, err = logger(c, f.level); err != nil {
				return err
			}
			if f.keyFile != "" {
				hangup := make(chan os.Signal, 1)
				signal.Notify(hangup, syscall.SIGHUP)
				defer signal.Stop(hangup)
				o.Rekey, o.ReadKeys = hangup, f.readKeys
			}
			fitRuntime()
			return router.Run(c.Context(), o)
		},
	}
	s.bindTo(c, router.DefaultStateDir, "state directory of this router, a `DIR`", false)
	f.bind(c)
	c.AddCommand(
		babelListing("routes", "babel-routes", "The routes that the Babel router announces or has heard of", printBabelRoutes),
		babelListing("neighbours", "babel-neighbours", "The neighbours of the Babel router", printBabelNeighbours),
	)
	return c
}

// fitRuntime fits Go's runtime to a process that is one loop: with a second
// processor to schedule for, each datagram wakes threads that find nothing to
// do. The variable of the runtime wins.
func fitRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// babelFlags are the flags as they were typed.
type babelFlags struct {
	interfaces, announce, announceFrom []string
	keys                               []string
	keyFile, table, routerID, level    string
	o                                  router.Options
}

func (f *babelFlags) bind(c *cobra.Command) {
	s := c.Flags()
	s.StringArrayVar(&f.interfaces, "interface", nil, "speak on `IFACE`, or IFACE:tunnel, IFACE:wired, IFACE:wireless; repeatable")
	s.StringArrayVar(&f.announce, "announce", nil, "announce `PREFIX`, which the host has; repeatable")
	s.StringArrayVar(&f.announceFrom, "announce-from", nil, "announce a source-specific route, `SOURCE=DESTINATION`; repeatable")
	s.DurationVar(&f.o.HelloInterval, "hello-interval", 0, "time between Hellos (default 4s)")
	s.DurationVar(&f.o.UpdateInterval, "update-interval", 0, "time between full updates (default 4 Hello intervals; on tunnels, where changes are acknowledged, 300s)")
	s.BoolVar(&f.o.RTT, "rtt", false, "let the cost follow the round-trip time on every link (RFC 9616); on tunnels it does always")
	s.StringArrayVar(&f.keys, "mac-key", nil, "sign packets, and accept only signed ones (RFC 8967): `ALG:HEX`, ALG hmac-sha256 or blake2s128; repeatable. Other users of this host see it in the list of processes: prefer --mac-key-file")
	s.StringVar(&f.keyFile, "mac-key-file", "", "`FILE` of mode 600 with a key in each line, as for --mac-key; SIGHUP has it read again")
	s.BoolVar(&f.o.AcceptUnsigned, "mac-accept-unsigned", false, "accept unsigned packets as well, while keys are brought to all routers")
	s.StringVar(&f.table, "table", "main", "`NUMBER` of the routing table")
	s.StringVar(&f.routerID, "router-id", "", "router-id, 8 bytes in hexadecimal (default: drawn once, kept in the state directory)")
	s.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
}

// options checks all flags; the error names the one that is wrong.
func (f *babelFlags) options() (router.Options, error) {
	o := f.o
	var err error
	if o.Interfaces, err = parseAll("interface", f.interfaces, router.ParseInterface); err != nil {
		return o, err
	}
	if o.Announce, err = parseAll("announce", f.announce, router.ParseAnnouncement); err != nil {
		return o, err
	}
	from, err := parseAll("announce-from", f.announceFrom, router.ParseSourceSpecific)
	if err != nil {
		return o, err
	}
	o.Announce = append(o.Announce, from...)
	if o.Keys, err = f.readKeys(); err != nil {
		return o, err
	}
	if o.Table, err = router.ParseTable(f.table); err != nil {
		return o, fmt.Errorf("--table %w", err)
	}
	if f.routerID != "" {
		if o.RouterID, err = router.ParseRouterID(f.routerID); err != nil {
			return o, fmt.Errorf("--router-id %w", err)
		}
	}
	return o, o.Check()
}

// readKeys takes those of the command line and of the file.
func (f *babelFlags) readKeys() ([]router.Key, error) {
	keys, err := parseAll("mac-key", f.keys, router.ParseKey)
	if err != nil || f.keyFile == "" {
		return keys, err
	}
	more, err := router.ReadKeys(f.keyFile)
	if err != nil {
		return nil, fmt.Errorf("--mac-key-file: %w", err)
	}
	return append(keys, more...), nil
}

func parseAll[T any](flag string, texts []string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for _, text := range texts {
		v, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("--%s %w", flag, err)
		}
		all = append(all, v)
	}
	return all, nil
}

func babelListing[T any](use, document, short string, table func(io.Writer, T)) *cobra.Command {
	var s settings
	c := &cobra.Command{Use: use, Short: short, Args: usageArgs(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error {
		return ask(c, &s, document, nil, table)
	}}
	s.bindTo(c, router.DefaultStateDir, "state directory of the router, a `DIR`", true)
	return c
}

func printBabelRoutes(w io.Writer, d status.BabelRoutes) {
	fmt.Fprintln(w, "PREFIX\tFROM\tROUTER-ID\tMETRIC\tSEQNO\tVIA\tINTERFACE\tFLAGS")
	for _, r := range d.Routes {
		var flags []string
		for _, f := range []struct {
			is   bool
			name string
		}{{r.Own, "own"}, {r.Selected, "selected"}, {r.Installed, "installed"}, {!r.Feasible && !r.Own, "unfeasible"}} {
			if f.is {
				flags = append(flags, f.name)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", r.Prefix, r.From, r.RouterID, metricText(r.Metric), r.Seqno, r.Via, r.Interface, strings.Join(flags, " "))
	}
}

func printBabelNeighbours(w io.Writer, d status.BabelNeighbours) {
	fmt.Fprintln(w, "NEIGHBOUR\tINTERFACE\tREACHABLE\tCOST\tRX\tTX\tRTT ms\tLOSS\tROUTES\tIN USE")
	for _, n := range d.Neighbours {
		rtt := "-"
		if n.RTTms != nil {
			rtt = fmt.Sprintf("%.1f", *n.RTTms)
		}
		reachable := "no"
		if n.Reachable {
			reachable = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f%%\t%d\t%d\n", n.Address, n.Interface, reachable,
			metricText(n.Cost), metricText(n.RxCost), metricText(n.TxCost), rtt, 100*n.Loss, n.Routes, n.Selected)
	}
}

// infinite is the metric of what cannot be reached (RFC 8966, section 4.6.9).
const infinite = 0xffff

func metricText(m int) string {
	if m >= infinite {
		return "infinite"
	}
	return fmt.Sprint(m)
}
