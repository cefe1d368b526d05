// Command bench-relay measures what a relay costs between two stock
// wireguard-go ends: its CPU time over that of both ends in the same transfer,
// R/(A+C), for three relays in turn:
//
//	stock    stock wireguard-go, one process, the kernel forwards
//	stack    our userspace tunnels, the kernel forwards
//	process  our userspace tunnels, packets are handed over inside the process
//
// over a veth underlay as it is (offload) and with segmentation offload and GRO
// switched off (plain). It needs root, iperf3 and ethtool, and leaves nothing behind.
//
//	go run ./scripts/bench-relay [-rounds N] [-seconds N] [-only KIND,...]
//
// Nothing is asserted but that the measurement worked.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// relays are compared in this order.
var relays = []string{stock, stack, process}

const (
	stock   = "stock"
	stack   = "stack"
	process = "process"
)

// loads are what is sent.
var loads = []load{
	{name: "TCP, offload", args: nil},
	{name: "TCP, plain", args: nil, plain: true},
	{name: "UDP 64 bytes, plain", args: []string{"-u", "-l", "64", "-b", "0"}, plain: true},
}

type load struct {
	name  string
	args  []string // of iperf3's client
	plain bool
}

type config struct {
	rounds, seconds int
	loads           []load
	relays          []string
	wireGuard       string
	profile         string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == relayCommand {
		if err := relayMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench-relay:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(lab.Main(benchmark))
}

func benchmark() int {
	c := config{}
	flag.IntVar(&c.rounds, "rounds", 3, "repetitions of each transfer, in turn with the others")
	flag.IntVar(&c.seconds, "seconds", 3, "length of each transfer")
	flag.StringVar(&c.profile, "profile", "", "directory for CPU profiles of our relays")
	only := flag.String("only", "", "comma-separated relays to measure: "+strings.Join(relays, ", ")+"; all unless told")
	which := flag.String("load", "", "only loads whose name contains this")
	flag.Parse()
	for _, r := range relays {
		if *only == "" || slices.Contains(strings.Split(*only, ","), r) {
			c.relays = append(c.relays, r)
		}
	}
	for _, l := range loads {
		if strings.Contains(l.name, *which) {
			c.loads = append(c.loads, l)
		}
	}
	if flag.NArg() > 0 || c.rounds < 1 || c.seconds < 1 || len(c.relays)*len(c.loads) == 0 {
		flag.Usage()
		return 2
	}
	dir, err := os.MkdirTemp("", "re6st-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-relay:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if c.wireGuard, err = measure.BuildWireGuard(dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench-relay:", err)
		return 1
	}
	var r report
	ok := lab.Standalone("bench-relay", os.Stderr, func(t lab.TB) { r = run(t, c) })
	fmt.Println(measure.ThisHost())
	r.print(os.Stdout, c)
	if !ok {
		return 1
	}
	return 0
}
