package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// What nodes say of their shortcut in the log.
const (
	goesPast = "packets in transit go past the IP stack"
	goesBy   = "packets in transit go by the IP stack"
)

// awaitShortcut waits until the last that the nodes said of it is this.
func awaitShortcut(t *testing.T, nodes []*lab.Node, want, other string) {
	t.Helper()
	for _, n := range nodes {
		n.Host.Lab.Await(n.Name+" to say that "+want, 15*time.Second, func() error {
			out := n.Proc.Output()
			if i := strings.LastIndex(out, want); i < 0 || i < strings.LastIndex(out, other) {
				return fmt.Errorf("it has not")
			}
			return nil
		})
	}
}

// past is how many packets the node has sent on past the IP stack, by the programs
// and inside the process.
func past(t *testing.T, n *lab.Node) uint64 {
	t.Helper()
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s.Shortcut.Packets["forwarded"] + s.Relayed.Packets
}

// operatorSaw is how many packets the operator's rule has counted.
func operatorSaw(n *lab.Node) (packets uint64) {
	_, rest, _ := strings.Cut(n.Host.Run("nft", "list", "table", "inet", "operator"), "counter packets ")
	fmt.Sscan(rest, &packets)
	return packets
}

// While all tunnels are replaced all the time, as many packets arrive with the
// shortcut as without, in the same run: none goes to an interface that is no more.
// A rule of the operator's on the forward hook is what turns it off.
func TestA14_ShortcutWhileTunnelsRotate(t *testing.T) {
	t.Parallel()
	turn, length := 2*time.Second, 6*time.Second
	if lab.Factor() > 1 {
		turn, length = 4*time.Second, 8*time.Second
	}
	// 0 and 2 have two ways: by 1 and by 3.
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 4, Tunnels: 3, Refresh: turn, Talk: ring(4)})
	m.Start()
	settle(m, 30*time.Second)
	// On a machine that other programs use, packets are lost for their sake, now with
	// it and now without. What the shortcut loses, it would lose each time.
	for try := 1; ; try++ {
		lost, past, seen := rotationLoss(t, m, length)
		if past[true] == 0 || past[false] != 0 || seen == 0 {
			t.Errorf("past the stack: %d with the shortcut, %d without; the operator's rule saw %d", past[true], past[false], seen)
		}
		if lost[true] <= lost[false]+2 {
			break
		}
		if try == 3 {
			t.Errorf("%d packets lost with the shortcut, %d without", lost[true], lost[false])
			break
		}
	}
	awaitShortcut(t, m.Nodes, goesPast, goesBy)
	wantNoPanic(t, m)
	m.WantClean()
}

// rotationLoss streams for a while with the shortcut, and for as long without: how
// many packets were lost and how many went past the stack, each by whether it was
// on, and how many met the operator's rule.
func rotationLoss(t *testing.T, m *lab.Mesh, length time.Duration) (lost, wentPast map[bool]uint64, seen uint64) {
	t.Helper()
	lost, wentPast = map[bool]uint64{}, map[bool]uint64{}
	awaitShortcut(t, m.Nodes, goesPast, goesBy)
	for _, isOn := range []bool{true, false} {
		if !isOn {
			for _, n := range m.Nodes {
				n.Host.NFT("table inet operator { chain forward { type filter hook forward priority 0; counter accept; }; }")
			}
			awaitShortcut(t, m.Nodes, goesBy, goesPast)
		}
		var was, is uint64
		for _, n := range m.Nodes {
			was += past(t, n)
		}
		stream := m.Stream(200, m.Nodes[0], m.Nodes[2])
		pause(length)
		flows := stream.Stop()
		var sent uint64
		lost[isOn], sent = lab.Lost(flows)
		for _, n := range m.Nodes {
			is += past(t, n)
			if !isOn {
				seen += operatorSaw(n)
			}
		}
		wentPast[isOn] = is - was
		measured(t, "shortcut %t: %d of %d packets lost while tunnels rotate; worst: %v", isOn, lost[isOn], sent, flows[0])
	}
	measured(t, "%d packets went past the stack with the shortcut, %d without, and %d met the operator's rule", wentPast[true], wentPast[false], seen)
	for _, n := range m.Nodes {
		n.Host.NFT("delete table inet operator")
	}
	return lost, wentPast, seen
}

// A relay's daemon is killed: its programs leave with it, or go on without harm
// where the kernel has no tcx, and the next start clears up.
func TestA14_ShortcutOfAKilledDaemon(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 3, Tunnels: 2, Refresh: 5 * time.Minute, Talk: inLine})
	relay := m.Nodes[1]
	before := m.Lab.Census(relay.Host)
	m.Start()
	settle(m, 30*time.Second)
	awaitShortcut(t, m.Nodes, goesPast, goesBy)
	hooks := func() []string {
		return slices.DeleteFunc(before.Diff(m.Lab.Census(relay.Host)), func(s string) bool { return !strings.Contains(s, "hook left") })
	}
	var running []string
	lab.Until(t, "the census to see the programs", 15*time.Second, func() bool {
		running = hooks()
		return len(running) > 0
	})
	isTCX := slices.ContainsFunc(running, func(s string) bool { return strings.Contains(s, "on tcx") })
	relay.Kill()
	if left := hooks(); isTCX && len(left) > 0 {
		t.Errorf("left after SIGKILL: %q", left)
	}
	relay.Run()
	m.AwaitUp()
	settle(m, 45*time.Second)
	awaitShortcut(t, []*lab.Node{relay}, goesPast, goesBy)
	if _, err := relay.Stop(); err != nil {
		t.Error(err)
	}
	m.Lab.WantClean(before, relay.Host)
	wantNoPanic(t, m)
	m.WantClean()
}
