package ebpf

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"re6st/internal/fib"
)

// ShortcutConfig says how programs are attached.
type ShortcutConfig struct {
	// Clsact attaches where the kernel has no tcx; without one such a kernel is
	// refused.
	Clsact Clsact
	// NoTCX takes Clsact whatever the kernel has: for tests.
	NoTCX bool

	sizes sizes // of the maps, for tests that fill them
}

// A Port is an interface whose packets in transit are looked at when they come in.
type Port struct {
	Index int
	// Kind is fib.Raw for a tunnel, fib.Ethernet for a LAN. Packets are sent to
	// tunnels only; what goes to a LAN is the stack's.
	Kind fib.Kind
	// Sources are those that a LAN's machines may use; packets with others are left
	// to the stack, whose rules judge them. A tunnel's may have any.
	Sources []netip.Prefix
	// CountOnly leaves out the program that takes packets from a tunnel: others do
	// that. Each program costs a grace period of RCU when it comes and when it goes,
	// of some 12 ms, under a lock that all namespaces of a host have together.
	CountOnly bool
}

// A Shortcut sends packets in transit past the IP stack. It is off until SetOn.
type Shortcut struct {
	config  ShortcutConfig
	objects shortcutObjects

	mu     sync.Mutex // guards what follows
	isOn   bool
	ports  map[int]*port
	routes *routes
	slots  *slots
	renew  chan struct{} // closed to end what renews the programs' time; nil: tcx
}

// port is an interface with our programs.
type port struct {
	Port
	attached  attachment
	sources   uint32                    // table
	permitted map[netip.Prefix]struct{} // what is in it
}

// sizes of the maps; zero: what the program says.
type sizes struct{ routes, counters, interfaces uint32 }

// NewShortcut loads the programs. They are attached nowhere, and know no routes.
func NewShortcut(c ShortcutConfig) (*Shortcut, error) {
	s := &Shortcut{config: c, ports: map[int]*port{}}
	if err := s.load(0); err != nil {
		return nil, err
	}
	return s, nil
}

// load makes programs and maps in the kernel; header is what lies before the IP
// header on tunnels.
func (s *Shortcut) load(header uint32) error {
	if err := prepare(); err != nil {
		return err
	}
	spec, err := loadShortcut()
	if err == nil {
		err = spec.Variables[shortcutVarTunnelHeaderLen].Set(header)
	}
	if err == nil {
		resize(spec, s.config.sizes)
		err = spec.LoadAndAssign(&s.objects, nil)
	}
	if err != nil {
		return refusal("loading the shortcut", err)
	}
	s.slots = newSlots(s.objects.Counters)
	s.routes = newRoutes(newPrefixes(&s.objects, s.slots), s.resolve)
	return nil
}

func resize(spec *ebpf.CollectionSpec, z sizes) {
	for name, n := range map[string]uint32{
		shortcutMapRoutes: z.routes, shortcutMapCounters: z.counters, shortcutMapInterfaces: z.interfaces,
	} {
		if n > 0 {
			spec.Maps[name].MaxEntries = n
		}
	}
}

// Attach puts the programs on an interface. Where they are there already, only the
// sources are changed.
func (s *Shortcut) Attach(p Port) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.attach(p); err != nil {
		return fmt.Errorf("attaching the shortcut to interface %d: %w", p.Index, err)
	}
	return nil
}

func (s *Shortcut) attach(p Port) error {
	if old, ok := s.ports[p.Index]; ok {
		if old.Kind == p.Kind && old.CountOnly == p.CountOnly && old.attached.check() == nil {
			old.Sources = p.Sources
			return s.routes.permit(old, p.Sources)
		}
		if err := s.detach(p.Index); err != nil {
			return err
		}
	}
	hooks := s.hooks(p)
	if hooks == nil {
		return fmt.Errorf("kind %d of interface: packets are taken from tunnels and Ethernet only", p.Kind)
	}
	n := &port{Port: p, permitted: map[netip.Prefix]struct{}{}}
	if p.Kind == fib.Ethernet {
		n.sources = s.routes.newTable()
	}
	err := s.objects.Interfaces.Put(uint32(p.Index), s.interfaceOf(n))
	if errors.Is(err, unix.E2BIG) {
		err = fmt.Errorf("no room for more than %d interfaces: %w", s.objects.Interfaces.MaxEntries(), err)
	}
	if err == nil {
		err = s.routes.permit(n, p.Sources)
	}
	if err == nil {
		n.attached, err = attach(s.config.Clsact, s.config.NoTCX, p.Index, hooks)
	}
	if err != nil {
		return errors.Join(err, s.forget(n))
	}
	s.ports[p.Index] = n
	s.keepAlive(n.attached)
	return s.routes.rewrite(p.Index)
}

// hooks: behind other programs, as they may be an operator's filter.
func (s *Shortcut) hooks(p Port) []hook {
	switch p.Kind {
	case fib.Raw:
		all := []hook{{name: "count egress", program: s.objects.Re6stCount, last: true}}
		if !p.CountOnly {
			all = append(all, hook{ingress: true, name: "shortcut ingress", program: s.objects.Re6stTunnel, last: true})
		}
		return all
	case fib.Ethernet:
		return []hook{{ingress: true, name: "shortcut ingress", program: s.objects.Re6stLan, last: true}}
	}
	return nil
}

const (
	kindTunnel = 1
	kindLAN    = 2
)

func (s *Shortcut) interfaceOf(p *port) shortcutInterface {
	if p.Kind == fib.Ethernet {
		return shortcutInterface{Kind: kindLAN, Sources: p.sources, Counter: noSlot}
	}
	return shortcutInterface{Kind: kindTunnel, Counter: s.slots.take(slotKey{into: p.Index})}
}

// Detach takes the programs from an interface, and before that every way that
// leads out by it. It is no error where the interface is gone.
func (s *Shortcut) Detach(index int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.detach(index); err != nil {
		return fmt.Errorf("detaching the shortcut from interface %d: %w", index, err)
	}
	return nil
}

func (s *Shortcut) detach(index int) error {
	p, ok := s.ports[index]
	if !ok {
		return nil
	}
	delete(s.ports, index)
	err := s.routes.rewrite(index)
	return errors.Join(err, p.attached.close(), s.forget(p))
}

// forget takes a port out of the maps.
func (s *Shortcut) forget(p *port) error {
	err := s.routes.permit(p, nil)
	if e := s.objects.Interfaces.Delete(uint32(p.Index)); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
		err = errors.Join(err, fmt.Errorf("forgetting interface %d: %w", p.Index, e))
	}
	s.slots.drop(p.Index)
	return err
}

// Attached says whether the programs are on the interface: somebody may have
// removed them.
func (s *Shortcut) Attached(index int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.ports[index]
	return ok && p.attached.check() == nil
}

// resolve makes of a decision what the programs read.
func (s *Shortcut) resolve(d fib.Decision) written {
	p, ok := s.ports[d.Interface]
	if d.Action != fib.Forward || !ok || p.Kind != fib.Raw {
		return written{}
	}
	return written{shortcutRoute{Interface: uint32(d.Interface), Mtu: uint32(d.MTU)}, slotKey{d.Prefix, d.Interface}}
}

// Update writes what fib.FIB.Compile says has changed. What finds no room in the
// maps is left to the stack, and so are shorter prefixes around it; this is no
// error, see Stats.
func (s *Shortcut) Update(add []fib.Entry, remove []fib.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.routes.update(add, remove)
	return errors.Join(err, s.write())
}

// SetOn turns the shortcut on or off: off, every packet is the stack's. It is one
// write.
func (s *Shortcut) SetOn(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isOn = on
	return s.write()
}

// write says which families are on. IPv4 is not where a source that is the stack's
// has found no room.
func (s *Shortcut) write() error {
	var families uint32
	if s.isOn {
		families = 1 << family6
		if s.routes.knowsLocals() {
			families |= 1 << family4
		}
	}
	if err := s.objects.On.Set(families); err != nil {
		return fmt.Errorf("turning the shortcut on or off: %w", err)
	}
	return nil
}

// Bits of the program's switch.
const (
	family4 = 0
	family6 = 1
)

// How long programs on clsact go on after we were killed or stopped, and how often
// we tell them that we live.
const (
	lifetime = 5 * time.Second
	renewal  = time.Second
)

// keepAlive renews the programs' time, where they would outlive us.
func (s *Shortcut) keepAlive(a attachment) {
	if s.renew != nil || a.method() == "tcx" {
		return
	}
	s.renew = make(chan struct{})
	s.extend()
	go func(end <-chan struct{}) {
		ticks := time.NewTicker(renewal)
		defer ticks.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticks.C:
				s.mu.Lock()
				s.extend()
				s.mu.Unlock()
			}
		}
	}(s.renew)
}

// extend: where it fails the shortcut goes off by itself.
func (s *Shortcut) extend() {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		s.objects.Until.Set(uint64(now.Nano()) + uint64(lifetime))
	}
}

// Flows gives what the programs counted, in no order.
func (s *Shortcut) Flows() ([]Flow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots.flows()
}

// ShortcutStats is how a Shortcut does.
type ShortcutStats struct {
	On      bool   `json:"on"`
	Method  string `json:"method,omitempty"` // tcx or clsact, once something is attached
	Entries int    `json:"entries"`
	// Lost are destinations that have no room in the map: they, and shorter ones
	// around them, are left to the stack.
	Lost int `json:"lost"`
	// Packets by what became of them: forwarded, or why they were left to the stack.
	Packets map[string]uint64 `json:"packets"`
}

// Stats reads them.
func (s *Shortcut) Stats() (ShortcutStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ShortcutStats{On: s.isOn, Entries: len(s.routes.prefixes.written), Lost: s.routes.lost.Size(), Packets: map[string]uint64{}}
	for _, p := range s.ports {
		st.Method = p.attached.method()
	}
	for i, name := range verdictNames {
		var perCPU []uint64
		if err := s.objects.Verdicts.Lookup(uint32(i), &perCPU); err != nil {
			return st, fmt.Errorf("reading the counters of the shortcut: %w", err)
		}
		for _, n := range perCPU {
			st.Packets[name] += n
		}
	}
	return st, nil
}

// verdictNames are those of enum verdict.
var verdictNames = [shortcutVerdictVERDICTS]string{
	shortcutVerdictFORWARDED:           "forwarded",
	shortcutVerdictMALFORMED:           "malformed",
	shortcutVerdictVERSION:             "version",
	shortcutVerdictOPTIONS:             "options",
	shortcutVerdictFRAGMENT:            "fragment",
	shortcutVerdictHOP_LIMIT:           "hop_limit",
	shortcutVerdictADDRESS:             "address",
	shortcutVerdictCHECKSUM:            "checksum",
	shortcutVerdictCONNECTING:          "connecting",
	shortcutVerdictNEIGHBOUR_DISCOVERY: "neighbour_discovery",
	shortcutVerdictOFF:                 "off",
	shortcutVerdictNOT_OURS:            "not_ours",
	shortcutVerdictSOURCE:              "source",
	shortcutVerdictNO_ROUTE:            "no_route",
	shortcutVerdictPASS:                "pass",
	shortcutVerdictBACK:                "back",
	shortcutVerdictTOO_BIG:             "too_big",
}

// Close takes the programs from all interfaces and out of the kernel.
func (s *Shortcut) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failures []error
	for _, p := range s.ports {
		failures = append(failures, p.attached.close())
	}
	s.ports = map[int]*port{}
	if s.renew != nil {
		close(s.renew)
		s.renew = nil
	}
	return errors.Join(append(failures, s.slots.close(), s.objects.Close())...)
}
