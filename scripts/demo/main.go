// Command demo builds a small world in network namespaces on this machine: an
// Internet with two providers, web servers, gateways, and homes that have only
// IPv4 behind a NAT; a mesh over it that gives them IPv6. A gateway dies; and
// what was seen is shown. It needs root and leaves nothing behind.
//
//	make demo
//	RE6ST_BIN=bin go run ./scripts/demo -hold
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
	others := flag.Int("others", 5, "how many nodes beside two gateways, the registry's and two homes")
	refresh := flag.Duration("refresh", 30*time.Second, "time between turns of rotation")
	hold := flag.Bool("hold", false, "keep the world until a signal comes, to look around in it")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: demo [-others N] [-refresh DURATION] [-hold]")
		flag.PrintDefaults()
	}
	os.Exit(lab.Main(func() int {
		flag.Parse()
		if flag.NArg() > 0 || *others < 0 || *others > 100 {
			flag.Usage()
			return 2
		}
		c := config{Others: *others, Refresh: *refresh, Out: os.Stdout}
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

func untilSignal(out io.Writer, w *lab.World) {
	fmt.Fprintln(out, "\nTo look around, in another shell:")
	for _, n := range w.Nodes {
		fmt.Fprintf(out, "  nsenter -t %d -a %s status --state %s\n", n.Host.PID, n.Binary, n.State)
	}
	fmt.Fprintln(out, "Ctrl-C ends it.")
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	<-c
	signal.Stop(c)
}
