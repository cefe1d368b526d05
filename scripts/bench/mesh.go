package main

import (
	"fmt"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// idleTunnels is how many tunnels the node has whose cost is reported.
const idleTunnels = 10

// idle measures a node in the middle of a star: no other pair may talk, so it has a tunnel with each and no more.
func idle(t lab.TB, c config, r *report) {
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{
		Nodes: idleTunnels + 1, Refresh: time.Hour,
		Talk: func(i, j int) bool { return i == 0 || j == 0 },
	})
	hub := m.Nodes[0]
	hub.Run()
	out := &idleCost{Seconds: c.Idle.Seconds()}
	l.Await("the node to run", 30*time.Second, func() error { _, err := hub.Status(); return err })
	<-time.After(5 * time.Second)
	out.AloneRSSMB = rss(t, hub.Proc, "VmRSS")

	for _, n := range m.Nodes[1:] {
		n.Run()
	}
	m.AllPairs(90 * time.Second)
	l.Await(fmt.Sprintf("%d tunnels", idleTunnels), 60*time.Second, func() error {
		up, err := hub.Up()
		if err == nil && len(up) < idleTunnels {
			err = fmt.Errorf("%d tunnels", len(up))
		}
		return err
	})
	<-time.After(15 * time.Second) // what the start has cost is not idleness
	before, err := measure.CPUTime(hub.Proc.PID)
	if err != nil {
		t.Fatalf("measuring an idle node: %v", err)
	}
	begun := time.Now()
	<-time.After(c.Idle)
	after, err := measure.CPUTime(hub.Proc.PID)
	if err != nil {
		t.Fatalf("measuring an idle node: %v", err)
	}
	out.CPUPercent = 100 * (after - before).Seconds() / time.Since(begun).Seconds()
	out.RSSMB, out.AnonymousMB = rss(t, hub.Proc, "VmRSS"), rss(t, hub.Proc, "RssAnon")
	out.RegistryRSSMB = rss(t, m.Registry.Proc, "VmRSS")
	up, err := hub.Up()
	if err != nil {
		t.Errorf("counting tunnels: %v", err)
	}
	out.Tunnels = len(up)
	r.Idle = out
}

func rss(t lab.TB, p *lab.Proc, field string) float64 {
	t.Helper()
	mb, err := measure.Memory(p.PID, field)
	if err != nil {
		t.Errorf("%s: %v", p.Name, err)
	}
	return mb
}

// start measures how soon a mesh is whole.
func start(t lab.TB, c config, r *report) {
	for _, nodes := range c.Sizes {
		ok := lab.Standalone(fmt.Sprintf("%s-%d", t.Name(), nodes), logOf{t}, func(t lab.TB) {
			m := lab.New(t).Mesh(lab.MeshConfig{Nodes: nodes})
			s := meshStart{Nodes: nodes, Joined: time.Since(m.Started).Seconds()}
			m.Start()
			reach := m.AllPairs(120 * time.Second)
			s.Whole, s.Pairs = time.Since(m.Started).Seconds(), reach.Reached
			for hops := range reach.Hops {
				s.MaxHops = max(s.MaxHops, hops)
			}
			r.Starts = append(r.Starts, s)
		})
		if !ok {
			t.Errorf("a mesh of %d nodes did not come up", nodes)
		}
	}
}

// outage measures what the end of a relay costs those who use it: two hosts that must not talk directly, two relays.
func outage(t lab.TB, _ config, r *report) {
	manners := []struct {
		name string
		end  func(*lab.Node) error
	}{
		{"killed (SIGKILL)", func(n *lab.Node) error { n.Kill(); return nil }},
		{"stopped in an orderly way (SIGTERM)", func(n *lab.Node) error { _, err := n.Stop(); return err }},
	}
	const perSecond = 50
	for _, manner := range manners {
		ok := lab.Standalone(t.Name()+"-"+manner.name, logOf{t}, func(t lab.TB) {
			l := lab.New(t)
			m := l.Mesh(lab.MeshConfig{Nodes: 4, Refresh: time.Hour, Talk: func(i, j int) bool { return i+j != 1 }})
			m.Start()
			m.AllPairs(60 * time.Second)
			a, b := m.Nodes[0], m.Nodes[1]
			stream := m.Stream(perSecond, a, b)
			<-time.After(8 * time.Second) // the active Hello interval is in force
			relay := inUse(t, m, a, b)
			if err := manner.end(relay); err != nil {
				t.Errorf("ending the relay: %v", err)
			}
			m.AllPairs(60*time.Second, m.Others(relay)...)
			<-time.After(3 * time.Second)
			flows := stream.Stop()
			lost, sent := lab.Lost(flows)
			e := end{Manner: manner.name, Lost: lost, Sent: sent}
			for _, f := range flows {
				if f.Gap.Seconds() > e.Gap {
					e.Gap, e.Between = f.Gap.Seconds(), fmt.Sprintf("%s and %s", f.From, f.To)
				}
			}
			r.Outages = append(r.Outages, e)
		})
		if !ok {
			t.Errorf("a relay %s: not measured", manner.name)
		}
	}
}

// inUse finds the relay that carries packets from a to b.
func inUse(t lab.TB, m *lab.Mesh, a, b *lab.Node) *lab.Node {
	t.Helper()
	routes, err := a.Routes()
	if err != nil {
		t.Fatalf("asking for the relay: %v", err)
	}
	tunnels, err := a.Up()
	if err != nil {
		t.Fatalf("asking for the relay: %v", err)
	}
	for _, route := range routes {
		if !route.Installed || route.Owner != b.Name {
			continue
		}
		for _, tunnel := range tunnels {
			for _, n := range m.Nodes {
				if tunnel.Interface == route.Interface && tunnel.Peer == n.Name {
					return n
				}
			}
		}
	}
	t.Fatalf("no relay from %s to %s among %d routes", a.Name, b.Name, len(routes))
	return nil
}

// logOf lets a part within a part log to the same place.
type logOf struct{ t lab.TB }

func (l logOf) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}
