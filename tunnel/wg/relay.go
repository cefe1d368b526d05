package wg

import (
	"sync/atomic"

	"re6st/internal/fib"
	"re6st/tunnel/wg/userspace"
)

// Relayer is a Backend through whose process the packets of its tunnels pass: it
// can send on what is in transit without the kernel.
type Relayer interface {
	// Relay has it follow the table that the pointer holds, at each moment; nil: the
	// kernel is to forward.
	Relay(table *atomic.Pointer[fib.Table])
	// Flows are what it has sent on so, by destination.
	Flows() []Flow
	// Relayed is the same by interface, whose counters do not have it, and the sum
	// since the start.
	Relayed() (by map[int]Relayed, sum Relayed)
}

// Flow and Relayed are the counters of a Relayer.
type (
	Flow    = userspace.Flow
	Relayed = userspace.Relayed
)

var _ Relayer = (*userspaceBackend)(nil)

func (b *userspaceBackend) Relay(table *atomic.Pointer[fib.Table]) { b.underlay.Relay(table) }
func (b *userspaceBackend) Flows() []Flow                          { return b.underlay.Flows() }

func (b *userspaceBackend) Relayed() (map[int]Relayed, Relayed) { return b.underlay.Relayed() }
