package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"re6st/internal/lab"
)

// config says what to show.
type config struct {
	Nodes   int
	Refresh time.Duration
	Out     io.Writer
	Hold    func(io.Writer, *lab.Mesh) // nil: go on at once
}

// Bounds of the demo. The first is row R7's.
const (
	wantWhole    = 30 * time.Second
	wantRepaired = 30 * time.Second
	perSecond    = 20 // packets of the stream for each pair
	watch        = 5 * time.Second
)

// demo brings the mesh up, kills a relay, and prints what was seen. Whatever
// is not as promised fails t.
func demo(t lab.TB, c config) {
	l := lab.New(t)
	started := time.Now()
	ring := func(i, j int) bool { return (i-j+c.Nodes)%c.Nodes == 1 || (j-i+c.Nodes)%c.Nodes == 1 }
	fmt.Fprintf(c.Out, "A registry and %d nodes, each on a host of its own. The underlay lets only neighbours\nin a ring talk to each other; all reach the registry.\n\n", c.Nodes)
	m := l.Mesh(lab.MeshConfig{Nodes: c.Nodes, Tunnels: 4, Refresh: c.Refresh, Talk: ring})
	joined := time.Since(m.Started)
	m.Start()
	reach := m.AllPairs(wantWhole)
	whole := time.Since(m.Started)
	s := &seen{w: tabwriter.NewWriter(c.Out, 0, 0, 3, ' ', 0)}
	s.row("hosts and underlay built", m.Started.Sub(started))
	s.row("all nodes joined, from the registry's start", joined)
	s.row("all pairs reached, from the registry's start", whole)
	s.row("ordered pairs reached", fmt.Sprintf("%d of %d", reach.Reached, reach.Pairs))
	s.row("pairs by number of hops", hops(reach.Hops))
	s.row("slowest round trip", reach.RTT)
	s.row("tunnels up, all nodes", tunnels(t, m))
	if whole > lab.Slow(wantWhole) {
		t.Errorf("all pairs took %v, more than %v", whole, wantWhole)
	}

	relay, rest := m.Nodes[0], m.Nodes[1:]
	stream := m.Stream(perSecond, rest...)
	<-time.After(watch)
	killed := time.Now()
	relay.Port.Link.Cut() // the whole host: kernel tunnels outlive their daemon
	relay.Kill()
	after := m.AllPairs(wantRepaired, rest...)
	s.row("", "")
	s.row("relay killed (SIGKILL, and its cable cut)", relay.Name)
	s.row("pairs of the others reached again", fmt.Sprintf("%d of %d", after.Reached, after.Pairs))
	s.row("time until then", time.Since(killed))
	<-time.After(watch)
	flows := stream.Stop()
	lost, sent := lab.Lost(flows)
	s.row("packets of a stream between all others lost", fmt.Sprintf("%d of %d", lost, sent))
	s.row("pairs that the death interrupted", interrupted(flows))
	s.row("longest time without connectivity", fmt.Sprintf("%v (%s to %s)", flows[0].Gap.Round(time.Millisecond), flows[0].From, flows[0].To))
	if c.Hold != nil {
		s.w.Flush()
		c.Hold(c.Out, m)
	}

	// The killed one cleans up after itself at its next start.
	relay.Port.Link.Restore()
	relay.Run()
	m.AwaitUp()
	back := m.AllPairs(wantWhole)
	s.row("", "")
	s.row("relay started again, all pairs reached", back.Took)
	m.WantClean()
	clean := "links, addresses, routes, rules, sysctls, sockets as before"
	if t.Failed() {
		clean = "NOT clean, see above"
	}
	s.row("after stopping all", clean)
	s.row("the whole demo", time.Since(started))
	s.w.Flush()
}

// seen is the table.
type seen struct{ w *tabwriter.Writer }

func (s *seen) row(what string, value any) {
	if d, ok := value.(time.Duration); ok {
		unit := time.Millisecond
		if d < time.Second {
			unit = 10 * time.Microsecond
		}
		value = d.Round(unit)
	}
	fmt.Fprintf(s.w, "  %s\t%v\n", what, value)
}

func hops(count map[int]int) string {
	var text string
	for h := range slices.Max(keys(count)) + 1 {
		if count[h] > 0 {
			text += fmt.Sprintf("%d: %d  ", h, count[h])
		}
	}
	return text
}

func keys(m map[int]int) []int {
	all := []int{0}
	for k := range m {
		all = append(all, k)
	}
	return all
}

// tunnels counts each tunnel once: at the end that opened it.
func tunnels(t lab.TB, m *lab.Mesh) string {
	out, backends := 0, map[string]bool{}
	for _, n := range m.Nodes {
		up, err := n.Up()
		if err != nil {
			t.Errorf("%v", err)
		}
		for _, tunnel := range up {
			backends[tunnel.Backend] = true
			if tunnel.Direction == "out" {
				out++
			}
		}
	}
	var kinds []string
	for b := range backends {
		kinds = append(kinds, b)
	}
	return fmt.Sprintf("%d, WireGuard: %v", out, kinds)
}

// interrupted counts flows that stood still for longer than a few packets.
func interrupted(flows []lab.Flow) string {
	n := 0
	for _, f := range flows {
		if f.Gap > 5*time.Second/perSecond {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(flows))
}
