package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// damages are what power cuts, bad disks and hands do to a file.
var damages = []struct {
	name string
	do   func(r *rand.Rand, b []byte) []byte
}{
	{"empty", func(*rand.Rand, []byte) []byte { return nil }},
	{"truncated", func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(max(1, len(b)))] }},
	{"one bit flipped", func(r *rand.Rand, b []byte) []byte {
		c := bytes.Clone(b)
		if len(c) > 0 {
			c[r.IntN(len(c))] ^= 1 << r.IntN(8)
		}
		return c
	}},
	{"zeros", func(_ *rand.Rand, b []byte) []byte { return make([]byte, len(b)) }},
}

// exitConfig is that of a configuration or state that a human must mend.
const exitConfig = 78

// Whatever happened to a state file, the node starts, or says in one way what
// is wrong: loss of its identity is the only thing that it may not survive.
//
//re6st:reduced 4 of 10000 damages to each file; full in make soak
func TestF06_DamagedStateFiles(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute})
	m.Start()
	settle(m, 30*time.Second)
	n := m.Nodes[0]
	n.Kill() // leaves undo.json as well
	saved := map[string][]byte{}
	entries, err := os.ReadDir(n.State)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			b, err := os.ReadFile(filepath.Join(n.State, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			saved[e.Name()] = b
		}
	}
	const seed = 6
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d, files: %d", seed, len(saved))
	refused := map[string]int{}
	rounds := 1
	if soak() {
		rounds = 10000 / (len(saved) * len(damages))
	}
	for name, good := range saved {
		if name == "lock" {
			continue // carries nothing
		}
		for i := range rounds * len(damages) {
			d := damages[i%len(damages)]
			restore(t, n.State, saved)
			write(t, filepath.Join(n.State, name), d.do(r, good))
			if code := startsOrSays(t, m, n, name+" "+d.name); code != 0 {
				refused[name]++
			}
		}
	}
	for name, times := range refused {
		if name != "key.pem" && name != "cert.pem" && name != "ca.pem" && name != "version" {
			t.Errorf("%s: %d damages kept the node from starting; only its identity may", name, times)
		}
	}
	restore(t, n.State, saved)
	n.Run()
	m.AwaitUp()
	m.AllPairs(30 * time.Second)
	m.WantClean()
}

// startsOrSays starts the node and wants, within 5 s, its status or its end
// with one error that says what to do.
func startsOrSays(t *testing.T, m *lab.Mesh, n *lab.Node, what string) int {
	t.Helper()
	n.Run()
	limit := lab.Slow(5 * time.Second)
	start := time.Now()
	var ended bool
	_, err := lab.Await(limit, func() error {
		if ended = n.Proc.Exited(); ended {
			return nil
		}
		_, err := n.Status()
		return err
	})
	out := n.Proc.Output()
	if strings.Contains(out, "panic:") || strings.Contains(out, "goroutine ") {
		t.Errorf("%s: panic:\n%s", what, out)
	}
	if err != nil {
		t.Errorf("%s: after %v neither running nor ended: %v", what, time.Since(start).Round(time.Millisecond), err)
	}
	if !ended {
		n.Kill()
		return 0
	}
	code, _ := n.Proc.Wait(time.Second)
	if code != exitConfig {
		t.Errorf("%s: ended with %s, want status %d or a start; it said\n%s", what, n.Proc.Status(), exitConfig, out)
	}
	if !strings.Contains(out, "hint:") {
		t.Errorf("%s: the error does not say what to do:\n%s", what, out)
	}
	return code
}

// restore puts the state as it was, and nothing else there.
func restore(t *testing.T, dir string, saved map[string][]byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ours := saved[e.Name()]; !ours {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
	for name, b := range saved {
		write(t, filepath.Join(dir, name), b)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A node that is killed again and again is reachable after each start: its
// seqno is never older than what others remember.
//
//re6st:reduced 10 of 1000 restarts; full in make soak
func TestF07_KilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	times := 10
	if soak() {
		times = 1000
	}
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 4, Tunnels: 2, Refresh: 5 * time.Minute})
	m.Start()
	settle(m, 30*time.Second)
	n := m.Nodes[0]
	address := n.Address
	var longest time.Duration
	for i := range times {
		n.Kill()
		start := time.Now()
		n.Run()
		m.AwaitUp()
		if r := m.Reach(lab.Slow(20 * time.Second)); r.Err() != nil {
			t.Fatalf("restart %d: %v", i, r.Err())
		}
		longest = max(longest, time.Since(start))
	}
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	if s.Address != address.String() {
		t.Errorf("address %s after restarts, was %v", s.Address, address)
	}
	measured(t, "%d times SIGKILL and start: all pairs again after %v at most", times, longest.Round(time.Millisecond))
	wantNoPanic(t, m)
	m.WantClean()
}

// What others remove from the kernel is put back: at once where the kernel
// tells of it.
func TestF09_RemovedByHandIsBack(t *testing.T) {
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 3, Tunnels: 2, Refresh: 5 * time.Minute})
	m.Start()
	settle(m, 30*time.Second)
	n := m.Nodes[0]
	// Full meshes of three with long refresh stand still: what differs is the
	// damage.
	pause(3 * time.Second)
	whole := n.Host.Listings()
	damaged := func() error {
		if wrong := whole.Diff(n.Host.Listings()); len(wrong) > 0 {
			return fmt.Errorf("%s", strings.Join(wrong, "\n"))
		}
		return nil
	}
	if err := damaged(); err != nil {
		t.Fatalf("the mesh does not stand still: %v", err)
	}
	var hands [][]string
	hands = append(hands, []string{"ip", "addr", "del", n.Address.String() + "/128", "dev", "lo"})
	for _, family := range []string{"-4", "-6"} {
		for _, priority := range mine(n.Host.Run("ip", family, "rule", "show")) {
			hands = append(hands, []string{"ip", family, "rule", "del", "priority", priority})
		}
	}
	hands = append(hands, []string{"ip", "-6", "route", "flush", "table", "326"}, []string{"ip", "-4", "route", "flush", "table", "326"})
	var longest time.Duration
	for _, hand := range hands {
		if _, err := n.Host.Try(hand...); err != nil {
			t.Logf("not there to be removed: %v", err)
			continue
		}
		took, err := lab.Await(lab.Slow(5*time.Second), damaged)
		if err != nil {
			t.Errorf("%s: not repaired after %v: %v", strings.Join(hand, " "), took, err)
		} else if took > lab.Slow(1500*time.Millisecond) {
			t.Errorf("%s: repaired after %v, want 1 s", strings.Join(hand, " "), took)
		}
		longest = max(longest, took)
	}
	measured(t, "%d removals by hand, repaired after %v at most", len(hands), longest.Round(time.Millisecond))

	up, err := n.Up()
	if err != nil || len(up) == 0 {
		t.Fatalf("tunnels up: %d, %v", len(up), err)
	}
	for _, tunnel := range up {
		n.Host.Run("ip", "link", "del", tunnel.Interface)
	}
	r := m.AllPairs(30 * time.Second)
	measured(t, "all %d tunnel links removed by hand: all pairs again after %v", len(up), r.Took.Round(time.Millisecond))
	wantNoPanic(t, m)
	m.WantClean()
}

// mine are the priorities of rules that are neither local, main nor default.
func mine(rules string) []string {
	var priorities []string
	for line := range strings.Lines(rules) {
		p, _, _ := strings.Cut(line, ":")
		if p != "0" && p != "32766" && p != "32767" {
			priorities = append(priorities, p)
		}
	}
	return priorities
}
