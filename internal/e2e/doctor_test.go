package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// finding is one of re6stnode doctor --json.
type finding struct {
	Level string `json:"level"`
	Code  string `json:"code"`
	Text  string `json:"text"`
	Do    string `json:"do"`
}

// examine asks the doctor of a node; it has to end with status 5 if, and only if,
// it tells of a problem.
func examine(n *lab.Node) (map[string]finding, error) {
	out, failed := n.Host.Try(n.Binary, "doctor", "--json", "--state", n.State)
	var d struct{ Findings []finding }
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		return nil, errors.Join(fmt.Errorf("%w in %q", err, out), failed)
	}
	found, want := map[string]finding{}, 0
	for _, f := range d.Findings {
		if f.Level == "problem" {
			want = 5
		}
		if was, isThere := found[f.Code]; !isThere || was.Level == "good" {
			found[f.Code] = f
		}
	}
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](failed); ok {
		got = exit.ExitCode()
	}
	if got != want {
		return nil, fmt.Errorf("exit status %d, want %d: %v", got, want, d.Findings)
	}
	return found, nil
}

func awaitFinding(t *testing.T, n *lab.Node, code, level, text string) finding {
	t.Helper()
	var f finding
	n.Host.Lab.Await(fmt.Sprintf("the doctor of %s to say of %s: %s, %q", n.Name, code, level, text), 20*time.Second, func() error {
		all, err := examine(n)
		if err != nil {
			return err
		}
		if f = all[code]; f.Level != level || !strings.Contains(f.Text, text) {
			return fmt.Errorf("it says: %v", all)
		}
		return nil
	})
	return f
}

// What an operator breaks, or the world, is told by the doctor of the node with
// what to do; a mesh that is well has no problem.
func TestDoctor(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute})
	m.Start()
	settle(m, 30*time.Second)
	n := m.Nodes[0]
	awaitShortcut(t, m.Nodes, goesPast, goesBy)
	awaitFinding(t, n, "shortcut", "good", "past the IP stack")
	all, err := examine(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{"state", "certificate", "registry", "clock", "daemon", "tunnels", "peers"} {
		if all[code].Level != "good" {
			t.Errorf("%s in a mesh that is well: %v", code, all[code])
		}
	}

	n.Host.NFT("table inet operator { chain forward { type filter hook forward priority 0; counter accept; }; }")
	if f := awaitFinding(t, n, "shortcut", "notice", "operator"); f.Do == "" {
		t.Errorf("%v says nothing to do", f)
	}
	if out := n.Host.Run(n.Binary, "status", "--state", n.State); !strings.Contains(out, "off: rules of others would be bypassed") {
		t.Errorf("status says of the shortcut: %s", out)
	}
	n.Host.NFT("delete table inet operator")

	m.Registry.Kill()
	if f := awaitFinding(t, n, "registry", "problem", "the mesh goes on without it"); f.Do == "" {
		t.Errorf("%v says nothing to do", f)
	}
	m.Nodes[1].Kill()
	n.Kill()
	awaitFinding(t, n, "daemon", "problem", "none runs")
	awaitFinding(t, n, "leftovers", "notice", "killed")
	if all, err := examine(n); err != nil || all["wireguard"].Level != "good" || all["nftables"].Level != "good" {
		t.Errorf("of a host without a daemon: %v, %v", all, err)
	}
	wantNoPanic(t, m)
	for _, n := range m.Nodes {
		n.Run()
	}
	m.AwaitUp()
	m.WantClean()
}
