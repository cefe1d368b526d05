package advert

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// RFC 4861, section 6.2.1 and 10.
const (
	maxInterval        = 600 * time.Second // MaxRtrAdvInterval
	minInterval        = 200 * time.Second // MinRtrAdvInterval
	maxInitialInterval = 16 * time.Second  // MAX_INITIAL_RTR_ADVERT_INTERVAL
	initialCount       = 3                 // MAX_INITIAL_RTR_ADVERTISEMENTS
	minDelayBetween    = 3 * time.Second   // MIN_DELAY_BETWEEN_RAS
	maxDelay           = 500 * time.Millisecond
)

const (
	// maxUnicast bounds the answers that wait. Who asks beyond it is answered
	// together with all others.
	maxUnicast = 32
	// defaultHold is how long we stay a default router when the mesh has lost its
	// way out: another gateway is found within seconds, and machines that have
	// dropped a router ask for one only when they need it.
	defaultHold = 10 * time.Second
)

// Router is the advertiser of one interface. It has one owner and no lock.
//
// A message for everyone is due at nextAll, never within minDelayBetween of the
// last one (section 6.2.6); the first initialCount after a start or a change come
// fast. Answers to those who asked from an address of theirs are in unicast.
type Router struct {
	lan     LAN
	linkMTU int
	rand    *rand.Rand

	mesh     Mesh
	lostAt   time.Time // the mesh has no way out since; zero: it has
	offers   []Offer
	leaving  []leaving
	told     Advertisement // what the last fast series is about
	others   others
	stopping bool
	stopped  bool

	lastAll time.Time
	nextAll time.Time
	initial int // so many fast ones are left
	unicast []waiting
	output  []Message
}

type leaving struct {
	offer Offer
	left  int // advertisements that still say so
}

type waiting struct {
	to netip.Addr
	at time.Time
}

// Message is an advertisement to send.
type Message struct {
	To            netip.Addr // invalid: all nodes on the link
	Advertisement Advertisement
}

// New makes the router of a LAN whose link begins to work now. It has nothing to
// offer but addresses until SetMesh.
func New(now time.Time, lan LAN, linkMTU int, r *rand.Rand) *Router {
	n := &Router{lan: lan, linkMTU: linkMTU, rand: r}
	n.told = n.content(now)
	n.announce(now)
	return n
}

// announce begins a fast series (section 6.2.4), with which everyone hears of the
// change.
func (r *Router) announce(now time.Time) {
	r.initial = initialCount
	r.schedule(now, now.Add(r.jitter(maxDelay)))
}

// schedule has the next message to all go out at the time, or earlier if one is
// due before.
func (r *Router) schedule(now, at time.Time) {
	if earliest := r.lastAll.Add(minDelayBetween); !r.lastAll.IsZero() && at.Before(earliest) {
		at = earliest
	}
	if r.nextAll.IsZero() || at.Before(r.nextAll) {
		r.nextAll = at
	}
}

func (r *Router) jitter(d time.Duration) time.Duration {
	return time.Duration(r.rand.Int64N(int64(d)))
}

// SetMesh says what the mesh offers from now on.
func (r *Router) SetMesh(now time.Time, m Mesh) {
	if r.stopping {
		return
	}
	wasDefault := r.mesh.Default
	switch {
	case m.Default:
		r.lostAt = time.Time{}
	case wasDefault && r.lostAt.IsZero():
		r.lostAt = now
	}
	if wasDefault && !m.Default && now.Before(r.lostAt.Add(defaultHold)) {
		m.Default = true
	}
	r.mesh = m
	r.tellChange(now)
}

// tellChange begins a fast series where there is news.
func (r *Router) tellChange(now time.Time) {
	if r.stopping {
		return
	}
	r.setOffers(r.mesh.offers(!r.others.hasDefault(now)))
	a := r.content(now)
	if a.RouterLifetime == r.told.RouterLifetime && a.MTU == r.told.MTU && slices.Equal(a.Offers, r.told.Offers) {
		return
	}
	r.told = a
	r.announce(now)
}

func (r *Router) setOffers(next []Offer) {
	for _, o := range r.offers {
		if !slices.Contains(next, o) {
			r.leaving = append(r.leaving, leaving{o, initialCount})
		}
	}
	r.leaving = slices.DeleteFunc(r.leaving, func(l leaving) bool { return slices.Contains(next, l.offer) })
	r.leaving = r.leaving[max(0, len(r.leaving)-maxLeaving):]
	r.offers = next
}

// SetLinkMTU says that the link's has changed.
func (r *Router) SetLinkMTU(now time.Time, mtu int) {
	r.linkMTU = mtu
	r.tellChange(now)
}

// Solicited: a machine asks (section 6.2.6). From the unspecified address it can
// be answered only together with all others.
func (r *Router) Solicited(now time.Time, from netip.Addr) {
	if r.stopping {
		return
	}
	known := slices.ContainsFunc(r.unicast, func(w waiting) bool { return w.to == from })
	switch {
	case known:
	case from.IsLinkLocalUnicast() && len(r.unicast) < maxUnicast:
		r.unicast = append(r.unicast, waiting{from, now.Add(r.jitter(maxDelay))})
	default:
		r.schedule(now, now.Add(r.jitter(maxDelay)))
	}
}

// Heard: another router advertises.
func (r *Router) Heard(now time.Time, from netip.Addr, h Heard) {
	r.others.heard(now, r.lan.Prefix, r.mesh.Networks, from, h)
	r.tellChange(now)
}

// Stop takes everything back with one last advertisement; Done says when it is
// out. It is sent as soon as the limit on messages to all permits. One is enough:
// who misses it finds, at the next neighbour discovery, that we route no more.
func (r *Router) Stop(now time.Time) {
	if r.stopping {
		return
	}
	r.stopping = true
	r.unicast, r.nextAll, r.initial = nil, time.Time{}, 0
	r.schedule(now, now)
}

// Done says that there is nothing more to say.
func (r *Router) Done() bool { return r.stopped }

// Others are the other routers on the link.
func (r *Router) Others(now time.Time) []Other { return r.others.view(now) }

// Deadline is when Advance has something to do.
func (r *Router) Deadline(now time.Time) time.Time {
	at := r.nextAll
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, w := range r.unicast {
		sooner(w.at)
	}
	if !r.stopping {
		if r.mesh.Default && !r.lostAt.IsZero() {
			sooner(r.lostAt.Add(defaultHold))
		}
		sooner(r.others.deadline(now))
	}
	return at
}

// Advance does what is due.
func (r *Router) Advance(now time.Time) {
	if r.stopped {
		return
	}
	if r.mesh.Default && !r.lostAt.IsZero() && !now.Before(r.lostAt.Add(defaultHold)) {
		m := r.mesh
		m.Default = false
		r.SetMesh(now, m)
	}
	r.others.expire(now)
	r.tellChange(now) // the last other default router may be gone
	if !r.nextAll.IsZero() && !now.Before(r.nextAll) {
		r.sendToAll(now)
		return // who waits for an answer has just got it
	}
	r.unicast = slices.DeleteFunc(r.unicast, func(w waiting) bool {
		if now.Before(w.at) {
			return false
		}
		r.output = append(r.output, Message{To: w.to, Advertisement: r.content(now)})
		return true
	})
}

// sendToAll also answers those who wait.
func (r *Router) sendToAll(now time.Time) {
	r.output = append(r.output, Message{Advertisement: r.content(now)})
	r.lastAll, r.nextAll, r.unicast = now, time.Time{}, nil
	for i := range r.leaving {
		r.leaving[i].left--
	}
	r.leaving = slices.DeleteFunc(r.leaving, func(l leaving) bool { return l.left <= 0 })
	r.told = r.content(now) // without what has been taken back often enough
	if r.stopping {
		r.stopped = true
		return
	}
	interval := minInterval + r.jitter(maxInterval-minInterval)
	if r.initial--; r.initial > 0 {
		interval = min(interval, maxInitialInterval)
	}
	r.schedule(now, now.Add(interval))
}

// Output takes what is to be sent.
func (r *Router) Output() []Message {
	out := r.output
	r.output = nil
	return out
}
