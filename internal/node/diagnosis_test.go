package node

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/internal/status"
	"re6st/registry/api"
)

// levels are the findings in short: level and code.
func levels(f findings) (list []string) {
	for _, x := range f {
		list = append(list, string(x.Level)+" "+x.Code)
	}
	return list
}

func TestJudgeRunning(t *testing.T) {
	up := status.Tunnel{Peer: "b", State: stateUp}
	down := status.Tunnel{Peer: "c", State: "failed", Reason: "no answer"}
	reached, lost := status.Peer{Name: "b", Reachable: true}, status.Peer{Name: "c"}
	well := &status.Shortcut{Mode: bypassAuto, On: true, Method: "tcx"}
	for _, tt := range []struct {
		name    string
		node    status.Node
		tunnels []status.Tunnel
		peers   []status.Peer
		answers bool
		want    []string
	}{
		{
			"well",
			status.Node{Shortcut: well},
			[]status.Tunnel{up},
			[]status.Peer{reached},
			true,
			[]string{"good daemon", "good tunnels", "good peers", "good shortcut"},
		},
		{
			"a tunnel is down, a peer is lost",
			status.Node{Shortcut: well},
			[]status.Tunnel{up, down},
			[]status.Peer{reached, lost},
			true,
			[]string{"good daemon", "good tunnels", "notice tunnels", "notice peers", "good shortcut"},
		},
		{
			"alone",
			status.Node{Health: []status.Health{{Code: "no-tunnels"}}},
			nil, nil, true,
			[]string{"good daemon", "notice peers", "problem no-tunnels"},
		},
		{
			"another's firewall",
			status.Node{Shortcut: &status.Shortcut{Mode: bypassAuto, Why: "rules", Foreign: []string{"table"}}},
			[]status.Tunnel{up},
			[]status.Peer{reached},
			true,
			[]string{"good daemon", "good tunnels", "good peers", "notice shortcut"},
		},
		{
			"wanted, and off",
			status.Node{Shortcut: &status.Shortcut{Mode: bypassOn}, Health: []status.Health{{Code: "shortcut-off"}}},
			[]status.Tunnel{up},
			[]status.Peer{reached},
			true,
			[]string{"good daemon", "good tunnels", "good peers", "problem shortcut-off"},
		},
		{
			"more destinations than the map holds",
			status.Node{Shortcut: &status.Shortcut{On: true, Lost: 1}},
			[]status.Tunnel{up},
			[]status.Peer{reached},
			true,
			[]string{"good daemon", "good tunnels", "good peers", "notice shortcut"},
		},
		{
			"the registry is back",
			status.Node{Shortcut: well, Health: []status.Health{{Code: "registry-unreachable"}}},
			[]status.Tunnel{up},
			[]status.Peer{reached},
			true,
			[]string{"good daemon", "good tunnels", "good peers", "good shortcut", "notice registry-unreachable"},
		},
		{
			"the registry is gone",
			status.Node{Shortcut: well, Health: []status.Health{{Code: "registry-unreachable"}}},
			[]status.Tunnel{up},
			[]status.Peer{reached},
			false,
			[]string{"good daemon", "good tunnels", "good peers", "good shortcut", "problem registry-unreachable"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f findings
			f.judgeRunning(tt.node, tt.tunnels, tt.peers, tt.answers)
			if got := levels(f); !slices.Equal(got, tt.want) {
				t.Errorf("findings %q, want %q", got, tt.want)
			}
		})
	}
}

func TestJudgeRegistry(t *testing.T) {
	sent := testTime
	received := sent.Add(2 * time.Second)
	middle := sent.Add(time.Second)
	for _, tt := range []struct {
		name string
		h    api.Health
		want []string
	}{
		{"well", api.Health{Issuing: true, Time: middle}, []string{"good registry", "good clock"}},
		{"stopped, and old", api.Health{}, []string{"notice registry"}},
		{"ours is a little late", api.Health{Issuing: true, Time: middle.Add(31 * time.Second)}, []string{"good registry", "notice clock"}},
		{"ours is early by much", api.Health{Issuing: true, Time: middle.Add(-6 * time.Minute)}, []string{"good registry", "problem clock"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f findings
			f.judgeRegistry(tt.h, sent, received)
			if got := levels(f); !slices.Equal(got, tt.want) {
				t.Errorf("findings %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFindingsNameAFew(t *testing.T) {
	var f findings
	var peers []status.Peer
	for c := 'a'; c < 'i'; c++ {
		peers = append(peers, status.Peer{Name: string(c)})
	}
	f.judgePeers(peers)
	if want := "no route to 8 of 8 nodes: a, b, c, d, e and 3 more"; f[0].Text != want {
		t.Errorf("%q, want %q", f[0].Text, want)
	}
}

// The doctor leaves a state directory as it is, however damaged.
func TestReadStateChangesNothing(t *testing.T) {
	dir := t.TempDir()
	locked, _ := openTest(t, dir)
	must(t, locked.write(networkFile, []byte("not a document"), 0o644))
	var said []string
	s, err := readState(dir, func(text string, args ...any) { said = append(said, text+Pairs(args)) })
	must(t, err)
	if s.load(networkFile, func([]byte) error { return errDamaged }) || len(said) != 1 || !strings.Contains(said[0], "err=it is damaged") {
		t.Errorf("said: %q", said)
	}
	must(t, s.write(networkFile, []byte("another"), 0o644))
	if data, err := locked.read(networkFile); err != nil || string(data) != "not a document" {
		t.Errorf("the file is now %q, %v", data, err)
	}
}

var errDamaged = errors.New("it is damaged")
