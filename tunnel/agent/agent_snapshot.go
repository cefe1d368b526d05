package agent

import (
	"context"
	"time"

	"re6st/tunnel"
)

// Tunnel is one tunnel, as `re6stnode tunnels --json` shows it.
type Tunnel struct {
	ID          string    `json:"id"`
	Peer        string    `json:"peer"`
	PeerAddress string    `json:"peer_address"`
	Interface   string    `json:"interface"`
	Backend     string    `json:"backend"`
	Direction   string    `json:"direction"`
	State       string    `json:"state"`
	Reason      string    `json:"reason"`
	Transport   string    `json:"transport"`
	Endpoint    string    `json:"endpoint"`
	RTTms       *float64  `json:"rtt_ms"` // null: not measured yet
	Loss        float64   `json:"loss"`
	Cost        int       `json:"cost"`
	MTU         int       `json:"mtu"`
	RoutesVia   int       `json:"routes_via"`
	RxBytes     uint64    `json:"rx_bytes"`
	TxBytes     uint64    `json:"tx_bytes"`
	Since       time.Time `json:"since"`

	Index int `json:"-"` // of the interface
}

// Snapshot returns all tunnels, the oldest first.
func (a *Agent) Snapshot(ctx context.Context) ([]Tunnel, error) {
	return ask(ctx, a.box, a.snapshot)
}

func (a *Agent) snapshot(now time.Time) []Tunnel {
	all := a.manager.Snapshot(now)
	out := make([]Tunnel, 0, len(all))
	for _, s := range all {
		out = append(out, a.describe(s))
	}
	return out
}

func (a *Agent) describe(s tunnel.Status) Tunnel {
	t := Tunnel{
		ID: s.ID.String(), Peer: s.Peer.Name, PeerAddress: s.Peer.Address().String(), Backend: a.config.Backend.Kind(),
		Direction: s.Direction.String(), State: s.State.String(), Reason: string(s.Reason), Transport: "udp",
		MTU: s.MTU, RoutesVia: s.RoutesVia, RxBytes: s.Stats.RxBytes, TxBytes: s.Stats.TxBytes, Since: s.Since.UTC(),
	}
	if s.Endpoint.IsValid() {
		t.Endpoint = s.Endpoint.String()
	}
	rtt := s.RTT
	if d := a.devices[s.ID]; d != nil && d.wg != nil {
		t.Interface, t.Index = d.wg.Name(), d.wg.Index()
		if l, ok := a.links[t.Index]; ok {
			t.Loss, t.Cost = l.Loss, l.Cost
			if l.RTT > 0 {
				rtt = l.RTT
			}
		}
	}
	if rtt > 0 {
		ms := float64(rtt) / float64(time.Millisecond)
		t.RTTms = &ms
	}
	return t
}
