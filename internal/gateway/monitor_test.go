package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"
)

// Rules of others are told, ours and elements of sets are not.
func TestWatchRules(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	var told atomic.Int32
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		WatchRules(ctx, slog.New(slog.DiscardHandler), func() { told.Add(1) })
	}()
	await(t, "the first look", 10*time.Second, func() bool { return told.Load() == 1 })
	mustPut(t, someContent())
	nft(t, "table inet f { set bad { type ipv4_addr; }; chain f { type filter hook forward priority 0; }; }")
	await(t, "another's table", 10*time.Second, func() bool { return told.Load() == 2 })
	nft(t, "add element inet f bad { 192.0.2.1 }")
	nft(t, "add rule inet f f ip saddr @bad drop")
	await(t, "another's rule", 10*time.Second, func() bool { return told.Load() == 3 })
	nft(t, "chain inet f f { policy drop; }")
	await(t, "another's policy", 10*time.Second, func() bool { return told.Load() == 4 })
	must(t, remove(instance))
	nft(t, "delete table inet f")
	await(t, "another's table goes", 10*time.Second, func() bool { return told.Load() == 5 })
	stop()
	<-done
}
