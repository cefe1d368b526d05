package babel

import (
	"net/netip"
	"time"

	"re6st/babel/wire"
)

// Receive takes a datagram that arrived on a link. "Packets whose source is not
// a link-local address or port 6696 MUST be ignored" (section 4). All of it is
// decoded before any of it is acted upon.
func (e *Engine) Receive(now time.Time, index int, src netip.AddrPort, dst netip.Addr, payload []byte) {
	l := e.link(index)
	if !e.begin(now) || l == nil {
		return
	}
	from := src.Addr().WithZone("")
	isLocal := from.Is6() && from.IsLinkLocalUnicast() && src.Port() == wire.Port && from != l.LinkLocal
	isHere := dst.IsLinkLocalUnicast() || dst.IsMulticast()
	if !isLocal || !isHere {
		return
	}
	l.counters.packetsIn++
	l.counters.bytesIn += uint64(len(payload))
	if !l.authenticate(now, src, dst, payload) {
		return
	}
	arrival := e.Timestamp(now)
	packet := e.decoder.Parse(payload, from)
	if packet.Err != nil {
		l.counters.malformed++
		l.budgetOf(from).complain(now, e, Event{Kind: PacketMalformed, Interface: index, Neighbour: from, Text: packet.Err.Error()})
	}
	n := l.neighbour(from)
	if n != nil {
		n.heard = now
		n.budget.earn(packetOverhead + len(payload))
	}
	in := inbound{e: e, l: l, n: n, from: from, arrival: arrival}
	for _, tlv := range packet.TLVs {
		in.handle(now, tlv)
	}
	in.finish(now)
}

// inbound is the context of one packet.
type inbound struct {
	e       *Engine
	l       *link
	n       *neighbour
	from    netip.Addr
	arrival uint32
	hello   wire.Timestamp
	echo    wire.Echo
	acks    []uint16
	greeted bool // the neighbour said Hello
}

func (in *inbound) handle(now time.Time, tlv wire.TLV) {
	if h, ok := tlv.(*wire.Hello); ok {
		in.handleHello(now, h)
		return
	}
	if a, ok := tlv.(*wire.AckRequest); ok {
		// "A node MUST send an Acknowledgment": known to us or not.
		in.acks = append(in.acks, a.Opaque)
		return
	}
	switch t := tlv.(type) {
	case *wire.Ack:
		in.l.auth.meet(now, in.from, t.Opaque)
	case *wire.IHU:
		if in.l.auth.isForEarlierLife(now, in.from) {
			return
		}
	}
	if u, ok := tlv.(*wire.IHU); ok && in.n == nil && u.Address.IsValid() && in.l.isOurs(u.Address) {
		// It answered our first Hello, and we missed its own: the next IHU could be
		// three Hellos away.
		in.n = in.l.addNeighbour(now, in.from)
	}
	n := in.n
	if n == nil {
		return // whoever has not said Hello is no neighbour
	}
	switch t := tlv.(type) {
	case *wire.Ack:
		n.acknowledged(now, t.Opaque)
		in.l.wake()
	case *wire.IHU:
		if in.l.isOurs(t.Address) {
			in.echo = t.Echo
			n.ihu(now, t)
		}
	case *wire.Update:
		in.l.counters.updatesIn++
		n.receiveUpdate(now, t)
	case *wire.RouteRequest:
		n.receiveRouteRequest(now, t)
	case *wire.SeqnoRequest:
		n.receiveSeqnoRequest(now, t)
	}
}

func (in *inbound) handleHello(now time.Time, t *wire.Hello) {
	if in.n == nil {
		in.n = in.l.addNeighbour(now, in.from)
	}
	if in.n != nil {
		in.n = in.n.hello(now, t)
		in.hello = t.Timestamp
		in.greeted = true
	}
}

func (in *inbound) finish(now time.Time) {
	in.acknowledge()
	in.sample(now)
	if in.greeted && in.n != nil && !in.n.isGone {
		in.n.askMute(now)
	}
}

// acknowledge answers all that one packet wants acknowledged in one packet, which
// is shorter: nobody is flooded by asking in another's name.
func (in *inbound) acknowledge() {
	if len(in.acks) == 0 {
		return
	}
	b := in.l.newBatch(in.from)
	for _, opaque := range in.acks {
		b.add(&wire.Ack{Opaque: opaque})
	}
	b.end()
}

// sample looks at the timestamps together: a sample needs both (RFC 9616, section
// 3.2).
func (in *inbound) sample(now time.Time) {
	n := in.n
	if n == nil || !in.hello.Present {
		return
	}
	if in.echo.Present {
		wasKnown := n.rtt.isKnown
		n.rtt.sample(now, in.echo.Origin, in.echo.Receive, in.hello.Transmit, in.arrival)
		if n.rtt.isKnown && !wasKnown && in.l.Kind == Tunnel {
			n.forgetSmoothing() // the cost so far was a guess: what replaces it is no noise
		}
	}
	n.rtt.noteHello(now, in.hello.Transmit, in.arrival)
	n.reckon(now)
	n.wake()
}

// isOurs: an IHU without address is for whoever receives it.
func (l *link) isOurs(a netip.Addr) bool {
	if !a.IsValid() || a == l.LinkLocal {
		return true
	}
	for _, x := range l.Addresses {
		if x.WithZone("") == a {
			return true
		}
	}
	return false
}

// isRoutable leaves out what must never be routed (appendix C), and what the
// forwarding table cannot hold: IPv4 has no source-specific routes in Linux.
func isRoutable(p, from netip.Prefix) bool {
	a := p.Addr()
	isBad := a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() && a.Is6() ||
		p.Bits() > 0 && a.IsUnspecified() && p.Bits() == a.BitLen() ||
		a.Is4() && from.IsValid()
	return !isBad
}

// receiveUpdate is section 3.5.3.
func (n *neighbour) receiveUpdate(now time.Time, t *wire.Update) {
	e := n.link.e
	n.noteTold(now, t.Metric != Infinity)
	if !t.Prefix.IsValid() {
		n.retractAll(now)
		return
	}
	if n.repeats(now, t) {
		return
	}
	k := keyOf(t.Prefix, t.From)
	if !isRoutable(k.prefix, k.from) {
		return
	}
	p := e.find(k)
	if t.Metric == Infinity {
		if p != nil {
			n.retractOne(now, p)
		}
		return
	}
	if t.RouterID == e.RouterID {
		n.receiveOwn(now, p, t)
		return
	}
	u := Update{k.prefix, k.from, t.RouterID, n.addr, n.link.Index, t.Seqno, t.Metric, string(t.Attachment)}
	verdict, extra := e.judge(u)
	switch {
	case verdict == Refuse:
		n.budget.dropped.Filtered++
		n.refuse(now, p, u)
		return
	case !n.mayStore(now, p, t):
		n.budget.dropped.Routes++
		n.refuse(now, p, u)
		return
	}
	if p == nil {
		p = e.entry(k)
		e.budgets.found(p, n.budget)
	}
	p.receive(now, n, t, verdict, extra)
}

// repeats takes an Update that says what is known, as nearly all do: nothing is to
// be judged, selected or told, but the time until the route expires begins anew.
// The filters would say what they said (see ImportFilter).
func (n *neighbour) repeats(now time.Time, t *wire.Update) bool {
	var source uint32
	e := n.link.e
	if t.From.IsValid() && t.From.Bits() > 0 {
		if source = e.froms.find(t.From.Masked()); source == 0 {
			return false
		}
	}
	p := e.entries.find(destOf(t.Prefix, source))
	if p == nil {
		return false
	}
	r := p.route(n)
	isSame := r != nil && r.refMetric == t.Metric && r.seqno == t.Seqno && r.id == t.RouterID &&
		r.interval == max(t.Interval, intervalMin) && t.Metric != Infinity && !r.is(stale) &&
		n.hops[r.hop].addr == t.NextHop && p.carriedFrom(n).text() == string(t.Attachment)
	if isSame {
		p.refresh(now, r)
	}
	return isSame
}

func (n *neighbour) refuse(now time.Time, p *entry, u Update) {
	n.hasRefused = true
	n.budget.complain(now, n.link.e, Event{
		Kind: RouteRefused, Interface: u.Interface, Neighbour: n.addr,
		Prefix: u.Prefix, From: u.From, RouterID: u.RouterID, Seqno: u.Seqno,
	})
	if p == nil {
		return
	}
	if r := p.route(n); r != nil {
		p.remove(r)
		p.reconsider(now)
	}
}

// receiveOwn: our own announcement comes back. It is no route; but if it is
// newer than what we remember, others will not believe us until we are above.
func (n *neighbour) receiveOwn(now time.Time, p *entry, t *wire.Update) {
	e := n.link.e
	if p != nil {
		n.retractOne(now, p) // its earlier route was by another router
	}
	if !e.seqno.exceed(now, t.Seqno, n.budget) {
		return
	}
	e.emit(Event{Kind: SeqnoRaised, Interface: n.link.Index, Neighbour: n.addr, Prefix: t.Prefix, Seqno: e.seqno.current})
	for _, q := range e.sortedEntries() {
		if q.own() == nil {
			continue
		}
		for _, l := range e.links {
			l.announce(now, q, true)
		}
	}
}

// retractAll costs a walk over all routes, and they need not even be finite. Who
// says it too often has nothing left to walk over.
func (n *neighbour) retractAll(now time.Time) {
	if cost := 1 + float64(len(n.routes))/walkShare; !n.budget.requests.take(now, cost, requestsBurst, requestsRate) {
		n.dropRoutes(now)
		return
	}
	for p := range n.learnt() {
		n.retractOne(now, p)
	}
}

func (n *neighbour) retractOne(now time.Time, p *entry) {
	if r := p.route(n); r != nil && r.refMetric != Infinity {
		p.retract(now, r)
		p.reconsider(now)
	}
}

// receive takes a finite Update that the filter admits.
func (p *entry) receive(now time.Time, n *neighbour, t *wire.Update, verdict Verdict, extra uint16) {
	r := p.route(n)
	isFeasible := p.isFeasible(t.RouterID, t.Seqno, t.Metric)
	if r != nil && r == p.selected() && !isFeasible && r.id == t.RouterID && verdict == Accept {
		// "MAY be ignored": wholly, its timer included. Packets keep flowing while
		// the neighbour is asked for a newer seqno, unless there is another way.
		r.set(stale, true)
		p.extra().late = late{t.Seqno, t.Metric, max(t.Interval, intervalMin), p.e.after(now, 0)}
		p.wantSeqno(now, r)
		p.reconsider(now)
		return
	}
	if r == nil {
		r = p.addRoute(n, t.NextHop)
	}
	n.setHop(r, t.NextHop)
	r.id, r.seqno, r.refMetric, r.interval = t.RouterID, t.Seqno, t.Metric, max(t.Interval, intervalMin)
	r.setVerdict(verdict)
	r.set(stale, false)
	p.setImportCost(r, extra)
	p.carry(n, t.Attachment)
	p.setMetric(now, r)
	p.refresh(now, r)
	if !isFeasible && p.x != nil {
		p.x.starvedAt = 0 // something has changed: asking may help now
	}
	p.reconsider(now)
}
