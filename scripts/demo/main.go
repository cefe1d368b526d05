// Command demo brings up a mesh in network namespaces on this machine: a
// registry, nodes whose underlay lets only neighbours in a ring talk, tunnels,
// routes over relays; kills a relay; and shows what was seen. It needs root and
// leaves nothing behind.
//
//	make demo
//	RE6ST_BIN=bin go run ./scripts/demo -nodes 10 -hold
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"re6st/internal/lab"
)

func main() {
	nodes := flag.Int("nodes", 6, "how many nodes")
	refresh := flag.Duration("refresh", 30*time.Second, "time between turns of rotation")
	hold := flag.Bool("hold", false, "keep the mesh until a signal comes, to look around in it")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: demo [-nodes N] [-refresh DURATION] [-hold]")
		flag.PrintDefaults()
	}
	os.Exit(lab.Main(func() int {
		flag.Parse()
		if flag.NArg() > 0 || *nodes < 4 || *nodes > 100 {
			flag.Usage()
			return 2
		}
		c := config{Nodes: *nodes, Refresh: *refresh, Out: os.Stdout}
		if *hold {
			c.Hold = untilSignal
		}
		if !lab.Standalone("demo", os.Stderr, func(t lab.TB) { demo(t, c) }) {
			fmt.Println("\nThe demo has FAILED.")
			return 1
		}
		fmt.Println("\nAll was well. Nothing is left behind.")
		return 0
	}))
}

func untilSignal(w io.Writer, m *lab.Mesh) {
	fmt.Fprintln(w, "\nTo look around, in another shell:")
	for _, n := range m.Nodes {
		fmt.Fprintf(w, "  nsenter -t %d -a %s status --state %s\n", n.Host.PID, n.Binary, n.State)
	}
	fmt.Fprintln(w, "Ctrl-C ends it.")
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	<-c
	signal.Stop(c)
}
