package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// A node with --no-transit is reached by all, and no way leads through it, also
// where there is no other; who sends through it anyway is answered.
//
//re6st:reduced 3 of 3600 seconds; full in make soak
func TestN8_NoTransit(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	// 0 - 1 - 2, and nothing else: the one in the middle carries nothing.
	m := l.Mesh(lab.MeshConfig{Nodes: 3, Tunnels: 2, Refresh: 5 * time.Minute, Talk: func(i, j int) bool { return i+j == 1 || i+j == 3 }})
	a, middle, b := m.Nodes[0], m.Nodes[1], m.Nodes[2]
	middle.Flags = append(middle.Flags, "--no-transit")
	m.Start()
	m.AwaitUp()
	m.AllPairs(30*time.Second, a, middle)
	m.AllPairs(30*time.Second, middle, b)
	for _, end := range []*lab.Node{a, b} {
		out := end.Host.Run(end.Binary, "peers", "--json", "--state", end.State)
		var doc struct {
			Peers []struct {
				Name      string
				NoTransit bool `json:"no_transit"`
			}
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		for _, p := range doc.Peers {
			if p.NoTransit != (p.Name == middle.Name) {
				t.Errorf("%s says of %s: no transit %t", end.Name, p.Name, p.NoTransit)
			}
		}
	}
	// A way through would be known soon.
	if soak() {
		pause(time.Hour)
	} else {
		pause(3 * time.Second)
	}
	if err := a.Host.Ping(b.Address); err == nil || strings.Contains(err.Error(), "silence") {
		t.Errorf("a way through a node that carries nothing: %v", err)
	}
	// One who does not care what is announced.
	tunnels, err := a.Up()
	if err != nil || len(tunnels) == 0 {
		t.Fatalf("tunnels of %s: %v, %v", a.Name, tunnels, err)
	}
	a.Host.IP(fmt.Sprintf("route add %v dev %s table 326", b.Address, tunnels[0].Interface))
	if err := a.Host.Ping(b.Address); err == nil {
		t.Error("it carries what it does not announce")
	}
	text := middle.Host.Run("nft", "list", "ruleset")
	if !regexp.MustCompile(`counter packets [1-9]\d* .*"in transit, which this node does not carry"`).MatchString(text) {
		t.Errorf("the barrier has not counted:\n%s", text)
	}
	a.Host.IP(fmt.Sprintf("route del %v dev %s table 326", b.Address, tunnels[0].Interface))
	m.WantClean()
}

// A relay whose host's firewall drops what is forwarded says so, and others do
// not send through it; when the firewall lets it, they do. Nothing of the
// firewall's is changed.
func TestFirewallThatDropsForwarding(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{Nodes: 4, Tunnels: 3, Refresh: 5 * time.Minute, Talk: ring(4)})
	docker := m.Nodes[1]
	docker.Host.NFT("table ip6 filter { chain FORWARD { type filter hook forward priority 0; policy drop; iifname docker0 accept; }; }")
	rules := docker.Host.Run("nft", "-s", "list", "table", "ip6", "filter")
	before := l.Census(docker.Host)
	m.Start()
	m.AwaitUp()
	// 0 and 2 have two ways: by 1, which drops, and by 3.
	m.AllPairs(30 * time.Second)
	stream := m.Stream(50, m.Nodes[0], m.Nodes[2])
	pause(3 * time.Second)
	for _, f := range stream.Stop() {
		if f.Lost > 0 {
			t.Errorf("beside a firewall that drops: %v", f)
		}
	}
	l.Await("the node to say so", 20*time.Second, func() error {
		s, err := docker.Status()
		if err != nil {
			return err
		}
		for _, h := range s.Health {
			if h.Code == "firewall-forward-ipv6" && strings.Contains(h.Text, "table ip6 filter, chain FORWARD") {
				return nil
			}
		}
		return fmt.Errorf("health: %v", s.Health)
	})
	if now := docker.Host.Run("nft", "-s", "list", "table", "ip6", "filter"); now != rules {
		t.Errorf("the firewall was\n%s\nand is\n%s", rules, now)
	}
	docker.Host.NFT("add rule ip6 filter FORWARD iifname \"re6st-*\" accept")
	m.Nodes[3].Kill()
	m.AllPairs(60*time.Second, m.Nodes[0], m.Nodes[1], m.Nodes[2])
	docker.Host.NFT("flush chain ip6 filter FORWARD", "add rule ip6 filter FORWARD iifname docker0 accept")
	if _, err := docker.Stop(); err != nil {
		t.Error(err)
	}
	l.WantClean(before, docker.Host)
}
