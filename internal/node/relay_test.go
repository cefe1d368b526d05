package node

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"re6st/internal/fib"
	"re6st/internal/status"
	"re6st/internal/traffic"
	"re6st/tunnel/wg"
)

// relaying is a backend with two tunnels that relay.
type relaying struct{ wg.Backend }

func (relaying) Relay(*atomic.Pointer[fib.Table]) {}

func (relaying) Flows() []wg.Flow {
	return []wg.Flow{{Prefix: netip.MustParsePrefix("2001:db8:42:1::/64"), From: 3, Into: 4, Packets: 5, Bytes: 600}}
}

func (relaying) Relayed() (map[int]wg.Relayed, wg.Relayed) {
	return map[int]wg.Relayed{3: {PacketsIn: 5}, 4: {PacketsOut: 5, BytesOut: 600, Refused: 2}},
		wg.Relayed{PacketsIn: 15, PacketsOut: 15, BytesOut: 1800, Refused: 2}
}

// What tunnels hand to each other is seen by all who look at traffic, although the
// interfaces' counters do not have it.
func TestRelayedIsSeen(t *testing.T) {
	d := &daemon{backend: relaying{}}
	d.openRelay()
	flows, _ := d.flows.read()
	want := traffic.Flow{
		Way: traffic.Process, To: netip.MustParsePrefix("2001:db8:42:1::/64"), From: 3, Into: 4, Transit: true,
		Count: traffic.Count{Packets: 5, Bytes: 600},
	}
	if !slices.Equal(flows, []traffic.Flow{want}) {
		t.Errorf("flows %+v", flows)
	}
	packets := map[int]uint64{3: 10, 4: 1}
	d.addRelayed(packets)
	if packets[3] != 15 || packets[4] != 6 {
		t.Errorf("packets by interface: %v", packets)
	}
	if got := d.viewRelayed(); got == nil || *got != (status.Relayed{Packets: 15, Bytes: 1800, Refused: 2}) {
		t.Errorf("status says %+v", got)
	}
}
