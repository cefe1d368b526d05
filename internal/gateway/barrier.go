package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Barrier keeps packets from passing from tunnel to tunnel, until ctx ends: for
// a node that carries nothing of others. It announces no ways, and this answers
// those who send anyway. Other instances on the host are not concerned. The
// error is that of a kernel without nftables.
func Barrier(ctx context.Context, instance string, log *slog.Logger) error {
	if can := Probe(instance); can.Tables != nil {
		return can.Tables
	}
	poke := make(chan struct{}, 1)
	nudge := func() {
		select {
		case poke <- struct{}{}:
		default:
		}
	}
	var watchers sync.WaitGroup
	for _, watch := range []func(context.Context, func()) error{watchNetwork, watchTables} {
		watchers.Go(func() { again(ctx, log, func() error { return watch(ctx, nudge) }) })
	}
	defer watchers.Wait()
	k := keeper{instance: instance, log: log}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var lastLook time.Time
	wants := content{bar: true}
	for {
		select {
		case <-ctx.Done():
			return remove(instance)
		case <-poke:
			k.heed(time.Now())
		case <-timer.C:
		}
		now := time.Now()
		next := now.Add(lookInterval)
		// Links come and go with each tunnel: not one look for each event.
		if due := lastLook.Add(checkPause); now.Before(due) {
			next = due
		} else {
			lastLook = now
			if seen, err := look(); err == nil {
				wants.others = seen.others(instance)
			}
		}
		k.keep(now, wants)
		if at := k.deadline(); !at.IsZero() && at.Before(next) {
			next = at
		}
		timer.Reset(max(time.Until(next), 0))
	}
}
