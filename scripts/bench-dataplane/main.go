// Command bench-dataplane measures how packets are carried: our node beside stock
// wireguard-go, nebula and yggdrasil, all in one run and in turn, direct and over one
// and two relays, on an underlay that passes large packets and on one that does not;
// what many tunnels hold; what forwarding costs with and without the shortcut. It
// needs root, and the competitors where they are to be compared; it leaves nothing
// behind.
//
//	make bench-dataplane
//	RE6ST_BIN=bin go run ./scripts/bench-dataplane -only paths -rounds 5 -json dataplane.json
//
// The machine's own speed is in every absolute figure; what to compare are the ratios.
// Nothing is asserted but that the measurement worked, with one exception: the part
// "single" compares a node with stock wireguard-go on one tunnel and fails where it has
// become worse than its limits.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// config says how thoroughly to measure.
type config struct {
	rounds   int
	quick    bool
	limit    time.Duration // no further round of the paths that would end later
	shortcut string        // the node's flag; "": not given
	systems  string
	self     string // this program, for the load
	tunnels  string // the program of that name
}

// parts are what can be measured, in the order of the report.
var parts = []struct {
	name    string
	measure func(lab.TB, config, *report)
}{
	{"single", single},
	{"paths", paths},
	{"memory", memories},
	{"forward", forwarding},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "load" {
		if err := runLoad(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench-dataplane:", err)
			os.Exit(1)
		}
		return
	}
	var c config
	flag.IntVar(&c.rounds, "rounds", 3, "repetitions, the systems in turn")
	flag.DurationVar(&c.limit, "limit", 11*time.Minute, "begin no further round of the paths that would end after this time")
	flag.BoolVar(&c.quick, "quick", false, "short measurements, one round: whether it works, and the order of magnitude")
	flag.StringVar(&c.shortcut, "shortcut", "", "give the nodes this value of --shortcut")
	flag.StringVar(&c.systems, "systems", "", "comma-separated systems beside wireguard-go: "+strings.Join(optional(), ", ")+"; all unless told")
	only := flag.String("only", "", "comma-separated parts of "+strings.Join(names(), ", ")+"; all unless told")
	out := flag.String("json", "", "file to write the figures to, for machines")
	os.Exit(lab.Main(func() int {
		flag.Parse()
		chosen, err := choose(*only, names())
		if err == nil {
			_, err = choose(c.systems, optional())
		}
		if err != nil || flag.NArg() > 0 || c.rounds < 1 {
			fmt.Fprintln(os.Stderr, "bench-dataplane: want known parts and systems, at least one round:", err)
			flag.Usage()
			return 2
		}
		if c.quick {
			c.rounds = 1
		}
		return run(c, chosen, *out)
	}))
}

func names() []string {
	var out []string
	for _, p := range parts {
		out = append(out, p.name)
	}
	return out
}

func choose(only string, known []string) ([]string, error) {
	if only == "" {
		return known, nil
	}
	chosen := strings.Split(only, ",")
	for _, name := range chosen {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%q: want one of %v", name, known)
		}
	}
	return chosen, nil
}

// The three ends of a run; the second is for who reads the exit status.
const (
	exitDone   = 0
	exitFailed = 1
	exitWorse  = 3 // measured, and a limit of the part "single" is passed
)

func run(c config, chosen []string, out string) int {
	// The lab removes what a process that was killed has left, by this name.
	dir, err := os.MkdirTemp("", fmt.Sprintf("re6stlab-%d-bench-", os.Getpid()))
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-dataplane:", err)
		return exitFailed
	}
	defer os.RemoveAll(dir)
	defer watch()()
	c.self, err = os.Executable()
	if err == nil {
		c.tunnels, err = measure.Build(dir, "tunnels", "re6st/scripts/bench-dataplane/tunnels")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-dataplane:", err)
		return exitFailed
	}
	r := &report{SchemaVersion: 1, Host: measure.ThisHost()}
	ok := true
	for _, p := range parts {
		if !slices.Contains(chosen, p.name) || interrupted() != nil {
			continue
		}
		begun := time.Now()
		fmt.Fprintf(os.Stderr, "bench-dataplane: %s ...\n", p.name)
		ok = lab.Standalone("bench-"+p.name, os.Stderr, func(t lab.TB) { p.measure(t, c, r) }) && ok
		fmt.Fprintf(os.Stderr, "bench-dataplane: %s took %.0f s\n", p.name, time.Since(begun).Seconds())
	}
	r.finish()
	r.markdown(os.Stdout)
	if out != "" {
		if err := measure.WriteJSON(out, r); err != nil {
			fmt.Fprintln(os.Stderr, "bench-dataplane:", err)
			return exitFailed
		}
	}
	switch {
	case !ok || interrupted() != nil:
		fmt.Fprintln(os.Stderr, "bench-dataplane: a part has FAILED or was not run, see above")
		return exitFailed
	case r.Single != nil && len(r.Single.Worse) > 0:
		fmt.Fprintln(os.Stderr, "bench-dataplane: worse than the limits:", strings.Join(r.Single.Worse, "; "))
		return exitWorse
	}
	return exitDone
}

var (
	signalled atomic.Bool
	parent    = os.Getppid()
)

// watch has a first signal end the run between two measurements, with everything
// removed; a second one ends it at once: the hosts die with this process.
func watch() (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	go func() {
		for range signals {
			if signalled.Swap(true) {
				os.Exit(130)
			}
			fmt.Fprintln(os.Stderr, "bench-dataplane: ending; once more to end at once")
		}
	}()
	return func() { signal.Stop(signals) }
}

// interrupted says that there was a signal, or that who started us has gone: go run
// passes no signal on.
func interrupted() error {
	if signalled.Load() || os.Getppid() != parent {
		return errors.New("interrupted")
	}
	return nil
}
