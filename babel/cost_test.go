package babel

import (
	"testing"
	"time"
)

// What an operator may set, and the defaults of RFC 9616 and of tunnels beside it.
func TestC132_CostOverrides(t *testing.T) {
	ms := time.Millisecond
	for _, v := range []struct {
		name   string
		config InterfaceConfig
		rtt    time.Duration
		want   uint16
	}{
		{"wired", InterfaceConfig{}, 0, 96},
		{"wired, its own nominal cost", InterfaceConfig{RxCost: 200}, 0, 200},
		{"wireless", InterfaceConfig{Kind: Wireless}, 0, 256},
		{"wired, short", InterfaceConfig{RTT: true}, 10 * ms, 96},
		{"wired, half way", InterfaceConfig{RTT: true}, 65 * ms, 96 + 75},
		{"wired, far", InterfaceConfig{RTT: true}, 120 * ms, 96 + 150},
		{"wired, further", InterfaceConfig{RTT: true}, time.Second, 96 + 150},
		{"wired, another window", InterfaceConfig{RTT: true, RTTMin: 100 * ms, RTTMax: 300 * ms, RTTPenalty: 1000}, 200 * ms, 96 + 500},
		{"a window without width", InterfaceConfig{RTT: true, RTTMin: 100 * ms, RTTMax: 100 * ms, RTTPenalty: 1000}, 101 * ms, 96 + 1000},
		{"tunnel", InterfaceConfig{Kind: Tunnel}, 20 * ms, 84},
		{"tunnel, at the other end of the world", InterfaceConfig{Kind: Tunnel}, 3 * time.Second, 2000},
		{"tunnel, dear", InterfaceConfig{Kind: Tunnel, RxCost: 300}, 20 * ms, 380},
		{"tunnel, dearer than its bound", InterfaceConfig{Kind: Tunnel, RxCost: 3000}, 20 * ms, 3000},
		{"tunnel, as RFC 9616 has it", InterfaceConfig{Kind: Tunnel, RxCost: 96, RTTMin: 10 * ms, RTTMax: 120 * ms, RTTPenalty: 150}, 65 * ms, 96 + 75},
		{"with extra cost", InterfaceConfig{ExtraCost: 8000}, 0, 8096},
		{"never infinite", InterfaceConfig{RxCost: 60000, ExtraCost: 60000}, 0, Infinity - 1},
	} {
		l := &link{InterfaceConfig: v.config}
		n := &neighbour{link: l}
		for i := range 16 {
			n.multicast.hear(epoch, uint16(i), time.Second)
		}
		n.txcost = l.nominal()
		if v.rtt > 0 {
			n.rtt = rtt{isKnown: true, ms: float64(v.rtt) / float64(ms), at: epoch}
		}
		if got := n.linkCost(); got != v.want {
			t.Errorf("%s: cost %d, want %d", v.name, got, v.want)
		}
	}
}

// A wired link pays a sixth for each of the last 16 Hellos that was missed, at
// either end; after a long outage it pays for none.
func TestLossRaisesTheCostOfAWiredLink(t *testing.T) {
	l := &link{}
	n := &neighbour{link: l, txcost: 96, cost: 96}
	h := &n.multicast
	for i := range 16 {
		h.hear(epoch, uint16(i), time.Second)
	}
	for _, v := range []struct {
		misses int
		want   uint16
	}{{1, 96 + 16}, {1, 96 + 32}, {4, 96 + 96}} {
		for range v.misses {
			h.miss(epoch)
		}
		h.hear(epoch, h.expected, time.Second)
		h.hear(epoch, h.expected, time.Second)
		if got := n.rxcost(); got != v.want {
			t.Errorf("%016b: rxcost %d, want %d", h.bits, got, v.want)
		}
	}
	n.txcost = 96 + 48
	if got := n.linkCost(); got != 96+96+48 {
		t.Errorf("cost %d, want the loss that both see", got)
	}
	for range 5 {
		h.miss(epoch)
	}
	h.hear(epoch, h.expected, time.Second)
	h.excuse()
	h.hear(epoch, h.expected, time.Second)
	if got, want := n.rxcost(), uint16(96+2*16); got > 96+96 || got < want {
		t.Errorf("%016b: rxcost %d after an outage", h.bits, got)
	}
}
