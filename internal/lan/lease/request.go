package lease

import (
	"net/netip"
	"time"
)

// Kind of a message (RFC 2131, section 3.1, table 2).
type Kind int

// The kinds that machines send, and our answers.
const (
	Ignore Kind = iota // not for us, or no answer
	Discover
	Request
	Decline
	Release
	Inform
	Offer
	Ack
	Nak
)

// Message is what a machine says.
type Message struct {
	Kind      Kind
	Key       string     // names the machine: its identifier, or its link-layer address
	Requested netip.Addr // option 50; invalid: none
	Server    netip.Addr // option 54; invalid: none
	Client    netip.Addr // ciaddr; invalid: none
}

// Answer is what to do.
type Answer struct {
	Kind    Kind
	Address netip.Addr // what the machine gets
	Store   bool       // the leases have changed: keep them before the answer goes out
	Foreign netip.Addr // the machine talks with this other server; invalid: none
}

// Handle answers a message (RFC 2131, section 4.3).
func (t *Table) Handle(now time.Time, m Message) Answer {
	if m.Key == "" || len(m.Key) > MaxKey {
		return Answer{}
	}
	switch m.Kind {
	case Discover:
		return t.discover(now, m)
	case Request:
		return t.request(now, m)
	case Decline:
		return t.decline(now, m)
	case Release:
		return t.release(now, m)
	case Inform:
		if m.Client.IsValid() {
			return Answer{Kind: Ack}
		}
	}
	return Answer{}
}

// discover offers (section 4.3.1). An offer is remembered, so that two machines
// are not offered the same; it never shortens a lease.
func (t *Table) discover(now time.Time, m Message) Answer {
	a, ok := t.choose(now, m.Key, m.Requested)
	if !ok {
		return Answer{}
	}
	if e, isKnown := t.byAddr[a]; !isKnown || e.key != m.Key || e.state != bound {
		t.set(a, entry{m.Key, offered, now.Add(offerTime)})
	}
	return Answer{Kind: Offer, Address: a}
}

// request binds (section 4.3.2).
func (t *Table) request(now time.Time, m Message) Answer {
	wanted := m.Requested
	if !wanted.IsValid() {
		wanted = m.Client // it renews, or rebinds
	}
	switch {
	case m.Server.IsValid() && m.Server != t.gateway:
		t.withdraw(m.Key)
		return Answer{Foreign: m.Server}
	case !t.has(wanted):
		if m.Server.IsValid() {
			return Answer{Kind: Nak} // it asks us, for what is not ours
		}
		return Answer{}
	case !t.isFree(now, m.Key, wanted):
		return Answer{Kind: Nak}
	}
	t.set(wanted, entry{m.Key, bound, now.Add(Time)})
	return Answer{Kind: Ack, Address: wanted, Store: true}
}

// withdraw forgets an offer that was not taken.
func (t *Table) withdraw(key string) {
	if a, ok := t.byKey[key]; ok && t.byAddr[a].state == offered {
		delete(t.byAddr, a)
		delete(t.byKey, key)
	}
}

// decline rests an address that its machine found in use by another (section
// 4.3.3). Only who was given it can say so.
func (t *Table) decline(now time.Time, m Message) Answer {
	if m.Server != t.gateway || t.byKey[m.Key] != m.Requested || !t.has(m.Requested) {
		return Answer{}
	}
	delete(t.byKey, m.Key)
	t.byAddr[m.Requested] = entry{m.Key, declined, now.Add(declineTime)}
	return Answer{Store: true}
}

// release ends a lease (section 4.3.4); the machine gets the same address when it
// comes back, unless another needs it.
func (t *Table) release(now time.Time, m Message) Answer {
	e, isKnown := t.byAddr[m.Client]
	if m.Server != t.gateway || !isKnown || e.key != m.Key || e.state != bound || !now.Before(e.until) {
		return Answer{}
	}
	e.until = now
	t.byAddr[m.Client] = e
	return Answer{Store: true}
}
