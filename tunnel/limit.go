package tunnel

import (
	"net/netip"
	"time"
)

// bucket is a token bucket. It starts full.
type bucket struct {
	used float64
	at   time.Time
}

// take is true if one token was left. The bucket holds size and gains one each interval.
func (b *bucket) take(now time.Time, size int, interval time.Duration) bool {
	b.leak(now, interval)
	if b.used+1 > float64(size) {
		return false
	}
	b.used++
	return true
}

// spend takes a token whether there is one or not.
func (b *bucket) spend(now time.Time, interval time.Duration) {
	b.leak(now, interval)
	b.used++
}

func (b *bucket) leak(now time.Time, interval time.Duration) {
	if d := now.Sub(b.at); d > 0 {
		b.used = max(0, b.used-float64(d)/float64(interval))
	}
	b.at = now
}

// empty is true of a bucket without any debt: forgetting it loses nothing.
func (b *bucket) empty(now time.Time, interval time.Duration) bool {
	b.leak(now, interval)
	return b.used == 0
}

// Budget of calls (threat T-14: nodes that are made to call a victim). One attempt that fails costs the victim some six
// packets in four seconds, so an address gets less than one packet a second on average.
const (
	callBurst      = 40
	callInterval   = 100 * time.Millisecond
	failBurst      = 6
	failInterval   = 15 * time.Second
	failBookMax    = 4096
	offerBurst     = 6 // per identity (threat T-15)
	offerInterval  = 10 * time.Second
	pendingMax     = 16              // incoming tunnels that are not yet up
	probesMax      = 8               // at once
	handshakeTries = 4               // endpoints of one offer or answer
	handshakeEvery = 5 * time.Second // WireGuard's REKEY_TIMEOUT: it sends no initiation sooner after the last
)

// dials remembers which addresses do not answer: by address, not by port, for whoever names a victim can name all ports.
type dials struct {
	calls  bucket
	failed map[netip.Addr]*bucket
}

// allowed is true if an endpoint may be called now.
func (d *dials) allowed(now time.Time, e netip.AddrPort) bool {
	b := d.failed[e.Addr()]
	if b == nil {
		return len(d.failed) < failBookMax
	}
	b.leak(now, failInterval)
	return b.used+1 <= failBurst
}

// note takes the result of a call.
func (d *dials) note(now time.Time, e netip.AddrPort, ok bool) {
	if ok {
		delete(d.failed, e.Addr())
		return
	}
	b := d.failed[e.Addr()]
	if b == nil {
		d.prune(now)
		b = &bucket{}
		d.failed[e.Addr()] = b
	}
	b.spend(now, failInterval)
}

func (d *dials) prune(now time.Time) {
	if len(d.failed) < failBookMax/2 {
		return
	}
	for a, b := range d.failed {
		if b.empty(now, failInterval) {
			delete(d.failed, a)
		}
	}
}
