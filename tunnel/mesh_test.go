package tunnel

import (
	"testing"
	"time"
)

func TestSixNodesStartedAtOnceAreFullyMeshed(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 6)
		w.bootAll(DefaultParameters())
		took := w.runUntil("fully meshed", 5*time.Second, w.isFull)
		w.check()
		if seed == 0 {
			t.Logf("full mesh of 6 after %v, %d probes, %d offers", took, w.probes, w.opened)
		}
		w.run(5 * time.Minute)
		if !w.isFull() {
			t.Errorf("seed %d: no longer a full mesh after five minutes", seed)
		}
		w.check()
	}
}

func TestTwentyNodesStartedAtOnceAreConnected(t *testing.T) {
	w := newWorld(t, 3, 20)
	w.bootAll(DefaultParameters())
	t.Logf("20 nodes connected after %v", w.runUntil("connected", 5*time.Second, w.isConnected))
	w.run(time.Minute)
	w.check()
	for _, n := range w.nodes {
		in, _ := n.m.Load()
		own := len(n.m.byPeer) - in
		if own+in < 16 {
			t.Errorf("%s opened %d tunnels and accepted %d", n.self.Name, own, in)
		}
	}
}

// A ring with chords: each may talk to three others only.
func TestPairsThatCannotTalkAreRelayedAndLeftAlone(t *testing.T) {
	w := newWorld(t, 5, 6)
	w.talk = func(a, b int) bool { d := (a - b + 6) % 6; return d == 1 || d == 5 || d == 3 }
	w.bootAll(DefaultParameters())
	t.Logf("connected after %v", w.runUntil("connected", 5*time.Second, w.isConnected))
	w.runUntil("all possible tunnels", 30*time.Second, w.isFull)
	w.run(15 * time.Minute)
	before := w.opened + w.probes
	w.run(10 * time.Minute)
	// 12 ordered pairs cannot talk; each may try a few times an hour.
	if n := w.opened + w.probes - before; n > 12*4 {
		t.Errorf("%d probes and offers in ten minutes of a mesh that cannot be better", n)
	}
	w.check()
}

func TestDeadNeighbourIsClosedAndReplaced(t *testing.T) {
	w := newWorld(t, 7, 8)
	p := DefaultParameters()
	p.Tunnels = 3
	w.bootAll(p)
	w.runUntil("connected", 5*time.Second, w.isConnected)
	w.run(20 * time.Second)
	w.kill(2)
	w.run(45 * time.Second)
	if !w.isConnected() {
		t.Error("the survivors are not connected")
	}
	for _, n := range w.nodes {
		if n.up && n.m.byPeer[w.nodes[2].self.ID()] != nil && n.hasUp(w.nodes[2]) {
			t.Errorf("%s still believes in a tunnel to the dead node", n.self.Name)
		}
	}
	w.check()
}

func TestRestartedNodeReplacesItsOldTunnels(t *testing.T) {
	w := newWorld(t, 9, 5)
	w.bootAll(DefaultParameters())
	w.runUntil("full", 5*time.Second, w.isFull)
	w.run(time.Minute)
	w.kill(0)
	w.run(time.Second)
	w.boot(0, DefaultParameters(), 1)
	took := w.runUntil("rejoined", 5*time.Second, w.isConnected)
	t.Logf("rejoined after %v", took)
	w.runUntil("full again, with nodes that only the routing knew", 30*time.Second, w.isFull)
	w.check()
}

func TestStopTellsThePeers(t *testing.T) {
	w := newWorld(t, 11, 4)
	w.bootAll(DefaultParameters())
	w.runUntil("full", 5*time.Second, w.isFull)
	n := w.nodes[1]
	n.m.Stop(w.now)
	n.pump()
	w.run(time.Second)
	if len(n.m.tunnels) != 0 || len(n.devices) != 0 {
		t.Errorf("%d tunnels and %d devices are left", len(n.m.tunnels), len(n.devices))
	}
	for _, o := range w.nodes {
		if o != n && o.m.byPeer[n.self.ID()] != nil && o.hasUp(n) {
			t.Errorf("%s was not told", o.self.Name)
		}
	}
	if _, room := n.m.Load(); room != 0 {
		t.Error("a stopped node says that it has room")
	}
}

// A node that knows one other by its endpoint learns the rest through the mesh.
func TestNewcomerWithOnePeer(t *testing.T) {
	w := newWorld(t, 13, 12)
	for i := range 12 {
		w.boot(i, DefaultParameters(), 0)
	}
	t.Logf("connected after %v", w.runUntil("connected", 10*time.Second, w.isConnected))
	w.run(2 * time.Minute)
	for _, n := range w.nodes {
		if len(n.m.byPeer) < 6 {
			t.Errorf("%s has %d neighbours only", n.self.Name, len(n.m.byPeer))
		}
	}
	w.check()
}

// Rotation makes before it breaks: nobody is ever cut off, and no node falls far below what it wants.
func TestRotationKeepsTheMeshConnected(t *testing.T) {
	w := newWorld(t, 19, 24)
	p := DefaultParameters()
	p.Tunnels, p.Refresh = 2, 10*time.Second
	l := w.plane(24)
	w.rtt = func(a, b int) time.Duration { return l[a][b] }
	w.bootAll(p)
	w.runUntil("connected", 5*time.Second, w.isConnected)
	w.run(30 * time.Second)
	opened := w.opened
	for range 600 {
		w.run(time.Second)
		if !w.isConnected() {
			t.Fatalf("cut after %v", w.now.Sub(w.start))
		}
	}
	w.check()
	if w.opened-opened < 24 {
		t.Errorf("%d offers in ten minutes: hardly any rotation", w.opened-opened)
	}
	for _, n := range w.nodes {
		if len(n.m.byPeer) < p.Tunnels+floorTotal-2 {
			t.Errorf("%s has %d tunnels", n.self.Name, len(n.m.byPeer))
		}
	}
}

func TestSameSeedSameStory(t *testing.T) {
	story := func() (int, int) {
		w := newWorld(t, 17, 10)
		p := DefaultParameters()
		p.Tunnels = 2
		w.bootAll(p)
		w.run(5 * time.Minute)
		return w.probes, w.opened
	}
	p1, o1 := story()
	p2, o2 := story()
	if p1 != p2 || o1 != o2 {
		t.Errorf("%d probes and %d offers, then %d and %d", p1, o1, p2, o2)
	}
}
