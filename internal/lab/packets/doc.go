// Package packets makes IP packets for tests that compare two ways of forwarding
// them: ordinary ones, odd ones that a router must know what to do with, and
// malformed ones. The same plan and seed give the same packets.
//
// It builds bytes and sends nothing: interfaces, and what became of a packet, are
// the test's. It does not know what is right; the other way of forwarding does.
package packets

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
)

// Plan is what the packets of one generator are to meet.
type Plan struct {
	V6, V4 Ends
	// MTUs of the ways out: lengths around each of them are made.
	MTUs []int
	// Offload allows packets that the interface is to cut or to finish (Packet.Offload).
	Offload bool
}

// Ends are the addresses of one family; the generator adds those that no plan
// need name (multicast, link-local, ...). No destinations: no packets of the family.
type Ends struct{ Sources, Destinations []Address }

// Address is one with its meaning in the plan. So many of its last bits, at
// most 16, are another each time: kernels limit what they answer to one address.
type Address struct {
	What   string
	Addr   netip.Addr
	Spread int
}

// number gives one of the addresses.
func (a Address) number(n uint64) netip.Addr {
	b := a.Addr.AsSlice()
	last := b[len(b)-2:]
	low := uint16(n) & (1<<a.Spread - 1)
	binary.BigEndian.PutUint16(last, binary.BigEndian.Uint16(last)|low)
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// Packet is one to be sent.
type Packet struct {
	What    string // in words, what is special about it
	Bytes   []byte // from the IP header on
	Offload Offload
}

// Offload is what the vnet header of a TUN says; the zero value is a packet as it
// goes over the wire.
type Offload struct {
	Partial  bool   // the transport checksum covers the pseudo-header only
	Segment  uint16 // bytes of payload in each of the packets that this one is cut into; 0: it is one
	UDP      bool   // of UDP, not of TCP
	Header   int    // bytes before the payload
	Start    int    // of the transport header
	Checksum int    // where in the transport header the checksum is
}

// Generator makes the packets of a plan.
type Generator struct {
	plan  Plan
	rand  *rand.Rand
	count uint64
}

// New begins a sequence of packets.
func New(plan Plan, seed uint64) *Generator {
	return &Generator{plan: plan, rand: rand.New(rand.NewPCG(seed, 0))}
}

// Next makes a packet. Most have one twist, so that each is seen alone, some two
// or three, and a quarter is ordinary.
func (g *Generator) Next() Packet {
	d := &draft{Generator: g, hop: 64, protocol: udp, payload: 8 + g.rand.IntN(200)}
	is6 := len(g.plan.V4.Destinations) == 0 || len(g.plan.V6.Destinations) > 0 && g.rand.IntN(2) == 0
	ends, twists, build := g.plan.V4, twists4, (*draft).build4
	d.df = g.rand.IntN(2) == 0
	if is6 {
		ends, twists, build = g.plan.V6, twists6, (*draft).build6
	}
	from, to := pick(d, ends.Sources), pick(d, ends.Destinations)
	d.src, d.dst = from.number(g.count), to.number(g.count)
	d.note("%s to %s", from.What, to.What)
	for range []int{0, 1, 1, 1, 1, 1, 2, 2, 3, 0}[g.rand.IntN(10)] {
		twists[g.rand.IntN(len(twists))](d)
	}
	g.count++
	b := build(d)
	for _, spoil := range d.spoil {
		b = spoil(b)
	}
	return Packet{What: fmt.Sprintf("%d: %s", g.count, strings.Join(d.what, ", ")), Bytes: b, Offload: d.offload}
}

// draft is a packet that is being thought about.
type draft struct {
	*Generator
	what []string

	src, dst netip.Addr
	hop      uint8
	class    uint8  // traffic class, TOS
	flow     uint32 // flow label
	id       uint16 // IPv4
	df       bool
	offset   int // of a fragment, in octets
	more     bool
	options  []byte   // IPv4
	headers  []header // IPv6 extension headers
	protocol uint8
	payload  int // bytes behind the transport header
	total    int // if not 0: length of the whole packet, by which the payload is chosen
	checksum checksumKind
	flags    uint8 // of TCP, beside ACK
	message  uint8 // of ICMP, where it is no error; 0: an echo request
	inner    bool  // an ICMP error about a packet of these ends
	offload  Offload
	want     wantedOffload
	spoil    []func([]byte) []byte
}

type checksumKind uint8

const (
	right checksumKind = iota
	wrong
	zero
)

type wantedOffload struct {
	partial bool
	segment int
}

func (d *draft) note(format string, args ...any) {
	d.what = append(d.what, fmt.Sprintf(format, args...))
}

// mark makes each packet one of a kind, so that a difference can be traced.
func (d *draft) mark(payload []byte) {
	for i := range payload {
		payload[i] = byte(i)
	}
	if len(payload) >= 8 {
		binary.BigEndian.PutUint64(payload, d.count)
	}
}

func pick[T any](d *draft, from []T) T { return from[d.rand.IntN(len(from))] }

// limits are lengths of whole packets where routers decide.
func (d *draft) limits() []int {
	var all []int
	for _, mtu := range append([]int{1280, 576, 68}, d.plan.MTUs...) {
		for n := -2; n <= 2; n++ {
			all = append(all, mtu+n)
		}
		all = append(all, mtu-8, mtu+8)
	}
	return all
}
