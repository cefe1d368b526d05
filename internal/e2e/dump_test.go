package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// The installed routes that a node shows are those of the kernel's table, in
// 20 states of a mesh in which nodes come and go and tunnels rotate.
func TestA13_DumpEqualsKernel(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 6, Tunnels: 2, Refresh: 5 * time.Second})
	m.Start()
	m.AllPairs(30 * time.Second)
	states := map[string]bool{}
	for i := range 20 {
		changing := m.Nodes[i%len(m.Nodes)]
		if i%4 == 0 {
			changing.Kill()
			changing.Run()
		}
		pause(500 * time.Millisecond)
		n := m.Nodes[(i+1)%len(m.Nodes)]
		var shown []string
		// Both are read one after the other: a change in between is not a
		// difference, so they must agree at some time soon.
		m.Lab.Await("dump and kernel to agree", 20*time.Second, func() error {
			dump, err := shownRoutes(n)
			if err != nil {
				return err
			}
			kernel, err := kernelRoutes(n)
			if err != nil {
				return err
			}
			shown = dump
			if !slices.Equal(dump, kernel) {
				return fmt.Errorf("%s shows\n\t%s\nthe kernel has\n\t%s", n.Name, strings.Join(dump, "\n\t"), strings.Join(kernel, "\n\t"))
			}
			return nil
		})
		states[strings.Join(shown, "\n")] = true
	}
	measured(t, "20 comparisons over %d distinct states", len(states))
	if len(states) < 5 {
		t.Errorf("only %d distinct states were seen", len(states))
	}
	m.AllPairs(30 * time.Second)
	m.WantClean()
}

func shownRoutes(n *lab.Node) ([]string, error) {
	routes, err := n.Routes()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, r := range routes {
		if r.Installed && r.Via != "" {
			lines = append(lines, fmt.Sprintf("%s from %q via %s dev %s", r.Prefix, r.From, r.Via, r.Interface))
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// kernelRoutes are the unicast ones of protocol babel in the mesh's table; the
// node's own unreachable and throw routes are not Babel's.
func kernelRoutes(n *lab.Node) ([]string, error) {
	out, err := n.Host.Try("ip", "-6", "-j", "-d", "route", "show", "table", "326")
	if err != nil {
		return nil, err
	}
	var routes []struct{ Type, Dst, From, Gateway, Dev, Protocol string }
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return nil, fmt.Errorf("reading %q: %w", out, err)
	}
	var lines []string
	for _, r := range routes {
		if r.Type != "unicast" || r.Gateway == "" {
			continue
		}
		if !strings.Contains(r.Dst, "/") {
			r.Dst += "/128"
		}
		lines = append(lines, fmt.Sprintf("%s from %q via %s dev %s", r.Dst, r.From, r.Gateway, r.Dev))
	}
	slices.Sort(lines)
	return lines, nil
}
