package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// traced is what re6stnode trace --json tells.
type traced struct {
	Address string `json:"address"`
	Reached bool   `json:"reached"`
	Hops    []struct {
		Name    string   `json:"name"`
		Behind  string   `json:"behind"`
		Address string   `json:"address"`
		RTTms   *float64 `json:"rtt_ms"`
		Loss    float64  `json:"loss"`
		Next    *struct {
			Kind      string   `json:"kind"`
			Interface string   `json:"interface"`
			Peer      string   `json:"peer"`
			RTTms     *float64 `json:"rtt_ms"`
			Loss      float64  `json:"loss"`
		} `json:"next"`
		Error string `json:"error"`
	} `json:"hops"`
}

func traceFrom(n *lab.Node, host string) (traced, string, time.Duration) {
	start := time.Now()
	out, err := n.Host.Try(n.Binary, "trace", host, "--state", n.State, "--json")
	took := time.Since(start)
	var t traced
	text := fmt.Sprint(err)
	if i := strings.Index(out, "{"); i >= 0 {
		_ = json.NewDecoder(strings.NewReader(out[i:])).Decode(&t)
	}
	return t, text, took
}

// A line of five nodes with 40 ms between any two: trace prints the four hops
// with their names, the tunnel from each to the next, and tunnels' round trips
// whose sum is the one of ICMP within a tenth. A target that is dead is told
// within two seconds.
func TestA11_TraceAlongALineOfFourHops(t *testing.T) {
	const hops = 4
	m := lab.New(t).Mesh(lab.MeshConfig{
		Nodes:   hops + 1,
		Talk:    func(i, j int) bool { return i-j == 1 || j-i == 1 },
		Weather: func(int) lab.Weather { return lab.Weather{Delay: 10 * time.Millisecond} },
	})
	// A hop that has its control API elsewhere can be asked, too.
	m.Nodes[2].Flags = append(m.Nodes[2].Flags, "--port", "7326")
	m.Start()
	m.AllPairs(60 * time.Second)
	first, last := m.Nodes[0], m.Nodes[hops]

	// Certificates come hop by hop, at leisure; RTTs are smoothed.
	var got traced
	m.Lab.Await("trace by name to show all hops", 60*time.Second, func() error {
		var text string
		if got, text, _ = traceFrom(first, last.Name); !got.Reached {
			return fmt.Errorf("not reached: %s", text)
		}
		return wantLine(m, got)
	})
	if got.Address != last.Address.String() {
		t.Errorf("traced %s, want %v", got.Address, last.Address)
	}
	measured(t, "sum of the tunnels %.1f ms, ICMP %.1f ms", tunnelSum(got), *got.Hops[hops].RTTms)
	t.Log(first.Host.Run(first.Binary, "trace", last.Address.String(), "--state", first.State))
	t.Log(first.Host.Run(first.Binary, "ping", last.Name, "--state", first.State, "--count", "3"))

	// The next hops stay; nobody answers at the end.
	last.Host.NFT("table inet dead {", "chain in { type filter hook prerouting priority -400; meta l4proto ipv6-icmp iifname \"re6st-*\" drop; }", "}")
	dead, text, took := traceFrom(first, last.Address.String())
	for range 2 { // a busy machine may be late once
		if took > lab.Slow(2*time.Second) {
			dead, text, took = traceFrom(first, last.Address.String())
		}
	}
	measured(t, "a dead target is told in %v", took.Round(10*time.Millisecond))
	if dead.Reached || took > lab.Slow(2*time.Second) || !strings.Contains(text, "no answer") || len(dead.Hops) < hops {
		t.Errorf("dead target: %s in %v, %d hops", text, took, len(dead.Hops))
	}
	for _, bad := range []string{"otter-nobody", "ff02::1"} {
		if _, text, _ := traceFrom(first, bad); !strings.Contains(text, "status 1") {
			t.Errorf("%s: %s", bad, text)
		}
	}
	last.Host.NFT("delete table inet dead")
	m.WantClean()
}

func wantLine(m *lab.Mesh, got traced) error {
	if len(got.Hops) != len(m.Nodes) {
		return fmt.Errorf("%d hops: %+v", len(got.Hops), got)
	}
	for i, h := range got.Hops {
		want := m.Nodes[i]
		if h.Name != want.Name || h.Address != want.Address.String() {
			return fmt.Errorf("hop %d is %q at %s, want %s at %v", i, h.Name, h.Address, want.Name, want.Address)
		}
		if h.Next == nil {
			return fmt.Errorf("hop %d does not tell: %s", i, h.Error)
		}
		if isLast := i == len(m.Nodes)-1; isLast {
			if h.Next.Kind != "local" {
				return fmt.Errorf("the last hop is %q", h.Next.Kind)
			}
			continue
		}
		if h.Next.Peer != m.Nodes[i+1].Name || !strings.HasPrefix(h.Next.Interface, "re6st-") || h.Next.RTTms == nil {
			return fmt.Errorf("hop %d leads to %+v", i, *h.Next)
		}
	}
	icmp := *got.Hops[len(got.Hops)-1].RTTms
	if sum := tunnelSum(got); math.Abs(sum-icmp) > icmp/10 {
		return fmt.Errorf("sum of the tunnels %.1f ms, ICMP %.1f ms", sum, icmp)
	}
	return nil
}

func tunnelSum(t traced) (sum float64) {
	for _, h := range t.Hops {
		if h.Next != nil && h.Next.RTTms != nil {
			sum += *h.Next.RTTms
		}
	}
	return sum
}
