package trace

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"
)

// On this host alone: the way to ourselves has one hop.
func TestLoopback(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("raw sockets are for root: make test runs it")
	}
	for _, a := range []string{"::1", "127.0.0.1"} {
		start := time.Now()
		target := netip.MustParseAddr(a)
		r, err := Survey(t.Context(), target, netip.Addr{})
		if err != nil || !r.Reached || len(r.Hops) != 1 || r.Hops[0].Address != target || r.Hops[0].Received != rounds {
			t.Errorf("%s: %+v, %v", a, r, err)
		}
		replies, err := Ping(t.Context(), target, target, 2)
		if err != nil || len(replies) != 2 || replies[1].Kind != Arrived || replies[1].From != target || replies[1].RTT <= 0 {
			t.Errorf("%s: %+v, %v", a, replies, err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s took %v", a, took)
		}
	}
	if _, err := Survey(t.Context(), netip.MustParseAddr("::1"), netip.MustParseAddr("2001:db8::1")); err == nil {
		t.Error("a source that is not ours is taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ping(ctx, netip.MustParseAddr("2001:db8::1"), netip.Addr{}, 100); err == nil {
		t.Error("it goes on when nobody waits for it")
	}
}
