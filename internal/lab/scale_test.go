package lab

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// A lab of the size of the largest scenario: its making, all pairs, and a
// stream between all pairs must cost little, or it would measure itself.
func TestTwentyHosts(t *testing.T) {
	start := time.Now()
	l := New(t)
	in := l.Internet("core")
	var ports []*Port
	var ends []End
	for i := range 20 {
		p := in.Attach(l.Host(fmt.Sprintf("h%02d", i)), Dual)
		ports = append(ports, p)
		ends = append(ends, End{p.Host, p.V6})
	}
	t.Logf("measured: 20 hosts in %v", time.Since(start).Round(time.Millisecond))
	start = time.Now()
	var wg sync.WaitGroup
	for _, from := range ports {
		wg.Go(func() {
			var to []netip.Addr
			for _, p := range ports {
				if p != from {
					to = append(to, p.V4, p.V6)
				}
			}
			results, err := from.Host.PingAll(to, Slow(5*time.Second))
			if err != nil {
				t.Error(err)
			}
			for _, r := range results {
				if !r.OK {
					t.Errorf("%s to %v: %s", from.Host.Name, r.To, r.Err)
				}
				if r.OK && r.Hops != 2 {
					t.Errorf("%s to %v: %d hops, want 2", from.Host.Name, r.To, r.Hops)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("measured: 760 pairs in %v", time.Since(start).Round(time.Millisecond))
	s := l.Stream(20, ends, nil)
	<-time.After(2 * time.Second)
	flows := s.Stop()
	lost, sent := Lost(flows)
	t.Logf("measured: %d of %d packets of 380 flows lost, worst gap %v", lost, sent, flows[0].Gap)
	if lost > 0 {
		t.Errorf("%d of %d packets lost without a fault: %v", lost, sent, flows[0])
	}
}
