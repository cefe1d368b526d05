package node

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

const (
	// garbagePercent is how much of what lives may lie beside it as garbage. A node
	// makes little: what it carries takes none. Go's own 100 % means 4 MB of heap at
	// least, of which a node with few routes needs less than two.
	garbagePercent = 50
	// settledAfter is when the start is over: the first tunnels are up within a second.
	settledAfter = 2 * time.Second
)

// frugal has the garbage collector come earlier, unless the operator says how early.
func frugal() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}

// settle gives memory back that only the start needed: certificates, programs for
// the kernel, the lists of what there was. The heap would keep it, scattered.
func (d *daemon) settle(ctx context.Context) error {
	select {
	case <-time.After(settledAfter):
		debug.FreeOSMemory()
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}
