package userspace

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"re6st/internal/fib"
	"re6st/tunnel/wg/userspace/device"
)

// relay hands what one device of the process has received and another is to send
// from the one to the other, as the kernel's table says and without visiting the
// kernel. Whatever is unusual it leaves to the stack, by way of the TUN:
//
//   - a packet of which fib.Inspect does not say that it is an ordinary one;
//   - for which the table has no route, or one by an interface that is no tunnel of
//     this process, or by the one it came from (the stack sends a Redirect);
//   - that is larger than the egress' MTU (the stack says so to the sender);
//   - for a device without a session (its handshake is due: wireguard-go keeps what
//     comes by the TUN until it is done).
//
// So without a table everything goes the kernel's way.
type relay struct {
	table atomic.Pointer[atomic.Pointer[fib.Table]] // nil, or the node's switch

	mu   sync.Mutex // of those who add and remove
	ways atomic.Pointer[map[int]*way]
	past Relayed // of devices that are gone
}

// way is a device as the relay sees it.
type way struct {
	relay  *relay
	index  int // of its interface
	device *device.Device
	flows  flows // what leaves by it

	in, out, outBytes atomic.Uint64 // packets relayed that came by it, and that left
}

// Relay makes the tunnels follow a table: the one that the pointer holds when a
// burst comes, so that a change of it is seen at once; nil means that the kernel is
// to forward everything.
func (u *Underlay) Relay(table *atomic.Pointer[fib.Table]) { u.relay.table.Store(table) }

// Flows are the sums of what was relayed, by destination and interfaces. They
// begin at zero when a device comes, and for a destination that was forgotten.
func (u *Underlay) Flows() []Flow {
	var all []Flow
	for index, w := range u.relay.all() {
		all = w.flows.append(all, index)
	}
	return all
}

// Relayed is what of an interface's traffic the kernel has not seen.
type Relayed struct {
	PacketsIn, PacketsOut uint64
	BytesOut              uint64
	Refused               uint64 // of PacketsOut: the queue was full, or the tunnel was ending
}

func (r Relayed) plus(o Relayed) Relayed {
	return Relayed{r.PacketsIn + o.PacketsIn, r.PacketsOut + o.PacketsOut, r.BytesOut + o.BytesOut, r.Refused + o.Refused}
}

// Relayed gives it by interface, and the sum since the start, with what interfaces
// had that are gone.
func (u *Underlay) Relayed() (by map[int]Relayed, sum Relayed) {
	u.relay.mu.Lock()
	defer u.relay.mu.Unlock()
	by, sum = make(map[int]Relayed), u.relay.past
	for index, w := range u.relay.all() {
		by[index] = w.relayed()
		sum = sum.plus(by[index])
	}
	return by, sum
}

func (w *way) relayed() Relayed {
	return Relayed{PacketsIn: w.in.Load(), PacketsOut: w.out.Load(), BytesOut: w.outBytes.Load(), Refused: w.device.Refused()}
}

func (r *relay) all() map[int]*way {
	if m := r.ways.Load(); m != nil {
		return *m
	}
	return nil
}

// add makes a device one that packets may leave by, and asks it for those that it
// receives.
func (r *relay) add(index int, d *device.Device) {
	w := &way{relay: r, index: index, device: d}
	r.change(func(m map[int]*way) { m[index] = w })
	d.SetRelay(w.decide)
}

// remove is to be called before the device is closed.
func (r *relay) remove(d *device.Device) {
	d.SetRelay(nil)
	r.change(func(m map[int]*way) {
		maps.DeleteFunc(m, func(_ int, w *way) bool {
			if w.device != d {
				return false
			}
			r.past = r.past.plus(w.relayed())
			return true
		})
	})
}

// change replaces the map: readers take no lock.
func (r *relay) change(f func(map[int]*way)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := maps.Clone(r.all())
	if m == nil {
		m = make(map[int]*way)
	}
	f(m)
	r.ways.Store(&m)
}

// decide is the device.Relay of what comes by w.
func (w *way) decide(packets [][]byte, to []*device.Peer) {
	holder := w.relay.table.Load()
	if holder == nil {
		return
	}
	table := holder.Load()
	if table == nil {
		return
	}
	b := burst{from: w, table: table, ways: w.relay.all()}
	for i, p := range packets {
		if to[i] = b.route(p); to[i] != nil {
			fib.LowerHopLimit(p)
		}
	}
	b.count()
}

// burst remembers the last packet's way: the next one's is mostly the same.
type burst struct {
	from  *way
	table *fib.Table
	ways  map[int]*way

	src, dst netip.Addr
	decision fib.Decision
	out      *way
	peer     *device.Peer // nil: the stack's

	packets, bytes uint64 // on the way, not counted yet
}

// route gives the one to whom a packet is sent, nil for the stack.
func (b *burst) route(p []byte) *device.Peer {
	if fib.Inspect(p, len(p)) != fib.Ordinary {
		return nil
	}
	src, dst := fib.Addresses(p)
	if src != b.src || dst != b.dst {
		b.look(src, dst, p)
	}
	if b.peer == nil || len(p) > b.decision.MTU {
		return nil
	}
	b.packets++
	b.bytes += uint64(len(p))
	return b.peer
}

func (b *burst) look(src, dst netip.Addr, p []byte) {
	b.count()
	b.src, b.dst, b.peer = src, dst, nil
	b.decision = b.table.Lookup(src, dst)
	if b.decision.Action != fib.Forward || b.decision.Interface == b.from.index {
		return
	}
	if b.out = b.ways[b.decision.Interface]; b.out != nil {
		b.peer = b.out.device.PeerFor(p)
	}
}

func (b *burst) count() {
	if b.packets == 0 {
		return
	}
	b.from.in.Add(b.packets)
	b.out.out.Add(b.packets)
	b.out.outBytes.Add(b.bytes)
	b.out.flows.add(flowKey{b.decision.Prefix, b.from.index}, b.packets, b.bytes)
	b.packets, b.bytes = 0, 0
}
