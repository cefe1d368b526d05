package babel

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"re6st/babel/mac"
	"re6st/babel/wire"
)

// RouterID names the originator of a route.
type RouterID = wire.RouterID

// Infinity is the metric of what cannot be reached.
const Infinity = wire.Infinity

// Config is what an Engine is made of.
type Config struct {
	RouterID RouterID
	// Seqno is the first that has never been used: what the last Output.Reserve
	// of an earlier life said, or anything the first time.
	Seqno uint16
	// Rand gives jitter, Hello seqnos, and the indices and nonces of RFC 8967:
	// outside of simulations nobody may be able to guess it.
	Rand *rand.Rand
	// Import judges each Update; nil admits all.
	Import ImportFilter
	// ImportCost adds to the metric of a route that Import admits; nil adds nothing.
	ImportCost func(Update) uint16
	// Export judges what is announced over each link; nil announces everything.
	Export ExportFilter
	// RoutesMax bounds the routes that one neighbour may make us store.
	// Zero: 65536.
	RoutesMax int
	// RoutesTotalMax bounds those of all neighbours together, but for a share that
	// each has in any case. Zero: 16 times RoutesMax.
	RoutesTotalMax int
	// Fault is planted on purpose, for a test of the tests. None in a product.
	Fault Fault
}

// Verdict is what an ImportFilter says.
type Verdict uint8

const (
	// Accept lets the route be selected.
	Accept Verdict = iota
	// Refuse drops it. When FilterChanged is called, its neighbour is asked again.
	Refuse
	// Hold keeps it without using it, until FilterChanged: not known yet.
	Hold
)

func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case Refuse:
		return "refuse"
	}
	return "hold"
}

// Update is what an ImportFilter judges.
type Update struct {
	Prefix    netip.Prefix
	From      netip.Prefix // zero: any source
	RouterID  RouterID
	Neighbour netip.Addr
	Interface int
	Seqno     uint16
	Metric    uint16
	// Attachment is the opaque sub-TLVs that came with it: see wire.SubTLVs.
	Attachment string
}

// ImportFilter is policy as a value. It must be a function of the update and of
// what FilterChanged announces.
type ImportFilter func(Update) Verdict

// Announcement is what an ExportFilter judges: what we would say of a route over
// a link, the extra metric of the filter aside.
type Announcement struct {
	Prefix    netip.Prefix
	From      netip.Prefix // zero: any source
	RouterID  RouterID
	Interface int
	Metric    uint16
	Own       bool // originated here
}

// ExportFilter is policy about what others hear: whether the route is announced
// over the link, and what is added to its metric there. What is not ok is
// retracted if it was announced before. Like an ImportFilter it may only change
// its mind when FilterChanged says so.
type ExportFilter func(Announcement) (add uint16, ok bool)

// Kind is the kind of a link: how its cost is computed, whether split horizon
// applies, and whether changes are acknowledged.
type Kind uint8

const (
	// Wired: 2-out-of-3 (RFC 8966, appendix A.2.1), cost 96.
	Wired Kind = iota
	// Tunnel: point to point; cost from RTT and loss.
	Tunnel
	// Wireless: ETX (appendix A.2.2).
	Wireless
)

func (k Kind) String() string {
	switch k {
	case Wired:
		return "wired"
	case Tunnel:
		return "tunnel"
	}
	return "wireless"
}

// InterfaceConfig describes a link. Zero intervals and MTU take the defaults.
type InterfaceConfig struct {
	Index          int
	Name           string
	LinkLocal      netip.Addr   // our address there
	Addresses      []netip.Addr // further ones, by which an IHU may mean us
	MTU            int          // default 1280
	Kind           Kind
	HelloInterval  time.Duration // default 4 s
	UpdateInterval time.Duration // default 4 Hello intervals, on tunnels 300 s
	ExtraCost      uint16
	RTT            bool // send timestamps; on tunnels always
	// IPv4 is our address there, and then the next hop of the IPv4 routes that we
	// announce (AE 1). Without one they go by our IPv6 address (AE 4, RFC 9229).
	IPv4 netip.Addr

	// RxCost is the nominal cost of a link without loss. Zero: 96, wireless 256.
	// A tunnel that has one costs that much at least, whatever its RTT.
	RxCost uint16
	// RTTMin, RTTMax and RTTPenalty shape the cost of the RTT (RFC 9616, section
	// 4.2): nothing up to RTTMin, RTTPenalty from RTTMax on. All zero: 10 ms, 120
	// ms and 150; on tunnels the wider window of tunnels.
	RTTMin, RTTMax time.Duration
	RTTPenalty     uint16
	// SplitHorizon and NoSplitHorizon override the kind: by default what came
	// from a link is not said there unless it is wireless (section 3.7.4).
	SplitHorizon, NoSplitHorizon bool
	// UnicastHello sends scheduled Hellos to each neighbour by unicast, and
	// multicast ones more rarely: for links on which multicast is expensive.
	UnicastHello bool
	// Keys, if there are any, make each packet carry a MAC by each of them, and
	// only packets with one be accepted (RFC 8967): at most mac.KeysMax.
	Keys []mac.Key
	// AcceptUnsigned accepts other packets too, while keys are brought to all
	// routers of the link.
	AcceptUnsigned bool
}

// Route is a route in the forwarding table.
type Route struct {
	Prefix      netip.Prefix
	From        netip.Prefix // zero: any source
	NextHop     netip.Addr
	Interface   int
	Unreachable bool // without next hop: refuse with an ICMP error
}

// RouteChange adds or replaces the route of a (Prefix, From), or deletes it.
type RouteChange struct {
	Route
	Delete bool
}

// Packet is a datagram to send. It is complete after Stamp. It is the caller's, as
// long as the caller likes: the engine has no other use for its Data, unless Reuse
// gives it back.
type Packet struct {
	Interface int
	Dst       netip.Addr // multicast group or neighbour
	Data      []byte
	stampAt   int
	seal      *seal
	isAnswer  bool
}

// Stamp writes the transmit timestamp, if the packet has one, and then its packet
// counter and MACs, if the link has keys. To be called just before each send,
// with Engine.Timestamp of that moment, by the loop that owns the engine.
func (p *Packet) Stamp(timestamp uint32) {
	if p.stampAt > 0 {
		b := p.Data[p.stampAt:]
		b[0], b[1], b[2], b[3] = byte(timestamp>>24), byte(timestamp>>16), byte(timestamp>>8), byte(timestamp)
	}
	if p.seal != nil {
		p.Data = p.seal.close(p.Data, p.Dst)
	}
}

// Output is what an Engine wants done, in the order of its fields.
type Output struct {
	// Reserve must be durable before Packets leave: seqnos before it may have
	// been used. If that fails, drop Packets and call ReserveFailed.
	Reserve    uint16
	HasReserve bool
	// Routes must be in the kernel before Packets announce them. For each that
	// fails, call RouteFailed.
	Routes  []RouteChange
	Packets []Packet
	Events  []Event
}

// EventKind says what happened.
type EventKind uint8

const (
	NeighbourUp EventKind = iota
	NeighbourDown
	RouteLost         // the last usable route to Prefix
	RouteRefused      // by the import filter, or a limit
	RouteUninstalled  // refused by the kernel
	SeqnoRaised       // our router-id was heard with a newer seqno
	PacketMalformed   // Text says why
	RouterIDDuplicate // an Update with our router-id for what we do not originate
	PacketRefused     // by the MAC, Text says why; told now and then
)

func (k EventKind) String() string {
	return [...]string{
		"neighbour up", "neighbour down", "route lost", "route refused", "route not installed",
		"seqno raised", "malformed packet", "router-id duplicate", "packet refused",
	}[k]
}

// Event tells people; nothing depends on it.
type Event struct {
	Kind      EventKind
	Interface int
	Neighbour netip.Addr
	Prefix    netip.Prefix
	From      netip.Prefix
	RouterID  RouterID
	Seqno     uint16
	Text      string
}

// Snapshot is the state for people.
type Snapshot struct {
	Version    int // of the protocol
	RouterID   RouterID
	Seqno      uint16
	Interfaces []InterfaceState
	Neighbours []NeighbourState
	Routes     []RouteState
	Sources    []SourceState
}

// InterfaceState is a link with its counters.
type InterfaceState struct {
	Index          int
	Name           string
	Kind           Kind
	LinkLocal      netip.Addr
	MTU            int
	HelloInterval  time.Duration
	UpdateInterval time.Duration
	ExtraCost      uint16
	SplitHorizon   bool
	HelloSeqno     uint16
	PacketsIn      uint64
	PacketsOut     uint64
	BytesIn        uint64
	BytesOut       uint64
	UpdatesIn      uint64
	UpdatesOut     uint64
	HellosOut      uint64 // multicast
	UnicastHellos  uint64 // sent
	IHUsOut        uint64
	Malformed      uint64
	Resent         uint64
	MAC            MACState
}

// MACState counts packets by what RFC 8967 said of them.
type MACState struct {
	Keys           int // zero: nothing is checked
	AcceptUnsigned bool
	Accepted       uint64
	Unsigned       uint64 // no MAC
	Forged         uint64 // no right MAC
	Uncounted      uint64 // no packet counter
	Replayed       uint64
	Unproven       uint64 // their sender had to be challenged first
	Challenges     uint64 // sent
	Replies        uint64 // sent
}

// NeighbourState is a neighbour with the cost of its link.
type NeighbourState struct {
	Interface int
	Address   netip.Addr
	Reachable bool
	Multicast uint16 // Hello histories, latest in the top bit
	Unicast   uint16
	// NextMulticast and NextUnicast are the Hello seqnos that are expected, zero
	// before the first.
	NextMulticast uint16
	NextUnicast   uint16
	RxCost        uint16
	TxCost        uint16
	Cost          uint16
	RTT           time.Duration // zero: unknown
	Loss          float64       // share of Hellos missed
	Routes        int
	Selected      int
	Dropped       Dropped
	Since         time.Time
	Heard         time.Time
}

// RouteState is a route, own or learnt. Neighbour is zero for an own one.
type RouteState struct {
	Prefix    netip.Prefix
	From      netip.Prefix
	RouterID  RouterID
	Seqno     uint16
	Metric    uint16 // ours
	Received  uint16 // the neighbour's
	Neighbour netip.Addr
	NextHop   netip.Addr
	Interface int
	Own       bool
	Feasible  bool
	Selected  bool
	Installed bool
	Held      bool // by the import filter
	Expires   time.Time
}

// SourceState is a feasibility distance.
type SourceState struct {
	Prefix   netip.Prefix
	From     netip.Prefix
	RouterID RouterID
	Seqno    uint16
	Metric   uint16
	Expires  time.Time
}

// Destination is what tunnel selection wants to know of a prefix.
type Destination struct {
	Prefix    netip.Prefix
	From      netip.Prefix
	RouterID  RouterID
	Metric    uint16
	Neighbour netip.Addr
	Interface int
	// Alternative is the best metric that is not through Interface, or Infinity.
	Alternative uint16
}
