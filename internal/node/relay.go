package node

import (
	"re6st/internal/status"
	"re6st/internal/traffic"
	"re6st/tunnel/wg"
)

// openRelay has userspace tunnels hand packets to each other while there is a table
// to follow, and counts these.
func (d *daemon) openRelay() {
	r, ok := d.backend.(wg.Relayer)
	if !ok {
		return
	}
	r.Relay(&d.forwarding)
	d.counting.countOnly = true
	d.flows.sources = append(d.flows.sources, flowSource{"relay", func() ([]traffic.Flow, error) { return relayFlows(r), nil }})
}

func relayFlows(r wg.Relayer) []traffic.Flow {
	var all []traffic.Flow
	for _, f := range r.Flows() {
		all = append(all, traffic.Flow{
			Way: traffic.Process, To: f.Prefix, From: f.From, Into: f.Into, Transit: true,
			Count: traffic.Count{Packets: f.Packets, Bytes: f.Bytes},
		})
	}
	return all
}

// addRelayed adds what the interfaces' counters do not have.
func (d *daemon) addRelayed(packets map[int]uint64) {
	if r, ok := d.backend.(wg.Relayer); ok {
		by, _ := r.Relayed()
		for index, c := range by {
			packets[index] += c.PacketsIn + c.PacketsOut
		}
	}
}

func (d *daemon) viewRelayed() *status.Relayed {
	r, ok := d.backend.(wg.Relayer)
	if !ok {
		return nil
	}
	_, sum := r.Relayed()
	return &status.Relayed{Packets: sum.PacketsOut, Bytes: sum.BytesOut, Refused: sum.Refused}
}

// underlayDropped is nil where tunnels are the kernel's.
func (d *daemon) underlayDropped() map[string]uint64 {
	if x, ok := d.backend.(interface{ Dropped() map[string]uint64 }); ok {
		return x.Dropped()
	}
	return nil
}
