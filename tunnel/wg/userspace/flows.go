package userspace

import (
	"net/netip"
	"sync"
)

// Flow is what was relayed inside the process to a destination.
type Flow struct {
	Prefix         netip.Prefix // of the route that was followed
	From, Into     int          // interfaces
	Packets, Bytes uint64       // of IP; what a full queue refused is among them
}

const (
	// flowsMax is of what leaves by one interface: as many destinations as can
	// matter to anyone.
	flowsMax = 1024
	// flowsLookedAt are compared when one has to go.
	flowsLookedAt = 8
)

// flows counts what leaves by one interface. It is asked once a burst, not once a
// packet.
type flows struct {
	mu    sync.Mutex
	now   uint64 // counts bursts
	known map[flowKey]*flow
}

type flowKey struct {
	to   netip.Prefix
	from int
}

type flow struct{ packets, bytes, used uint64 }

// add counts. Where there is no room the one goes that was used longest ago of a
// few: its sums begin at zero when it comes back.
func (f *flows) add(key flowKey, packets, bytes uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now++
	k := f.known[key]
	if k == nil {
		if f.known == nil {
			f.known = make(map[flowKey]*flow)
		}
		if len(f.known) >= flowsMax {
			f.evict()
		}
		k = &flow{}
		f.known[key] = k
	}
	k.packets += packets
	k.bytes += bytes
	k.used = f.now
}

func (f *flows) evict() {
	var oldest flowKey
	used, looked := f.now, 0
	for key, k := range f.known { // Go begins anywhere
		if k.used <= used {
			oldest, used = key, k.used
		}
		if looked++; looked == flowsLookedAt {
			break
		}
	}
	delete(f.known, oldest)
}

func (f *flows) append(all []Flow, into int) []Flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, k := range f.known {
		all = append(all, Flow{Prefix: key.to, From: key.from, Into: into, Packets: k.packets, Bytes: k.bytes})
	}
	return all
}
