package userspace

import (
	"net/netip"
	"sync"
)

// Flow is what was relayed inside the process to a destination by an interface.
type Flow struct {
	Prefix         netip.Prefix // of the route that was followed
	Interface      int          // by which it left
	Packets, Bytes uint64       // of IP, as they left; what a full queue refused is among them
}

const (
	// flowsMax is of one interface: as many destinations as can matter to anyone.
	flowsMax = 1024
	// flowsLookedAt are compared when one has to go.
	flowsLookedAt = 8
)

// flows counts what leaves by one interface. It is asked once a burst, not once a
// packet.
type flows struct {
	mu    sync.Mutex
	now   uint64 // counts bursts
	known map[netip.Prefix]*flow
}

type flow struct{ packets, bytes, used uint64 }

// add counts. Where there is no room the one goes that was used longest ago of a
// few: its sums begin at zero when it comes back.
func (f *flows) add(p netip.Prefix, packets, bytes uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now++
	k := f.known[p]
	if k == nil {
		if f.known == nil {
			f.known = make(map[netip.Prefix]*flow)
		}
		if len(f.known) >= flowsMax {
			f.evict()
		}
		k = &flow{}
		f.known[p] = k
	}
	k.packets += packets
	k.bytes += bytes
	k.used = f.now
}

func (f *flows) evict() {
	var oldest netip.Prefix
	used, looked := f.now, 0
	for p, k := range f.known { // Go begins anywhere
		if k.used <= used {
			oldest, used = p, k.used
		}
		if looked++; looked == flowsLookedAt {
			break
		}
	}
	delete(f.known, oldest)
}

func (f *flows) append(to []Flow, index int) []Flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, k := range f.known {
		to = append(to, Flow{Prefix: p, Interface: index, Packets: k.packets, Bytes: k.bytes})
	}
	return to
}
