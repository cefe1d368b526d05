package oracle

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"re6st/ebpf"
	"re6st/internal/fib"
	"re6st/internal/kernel"
	"re6st/internal/lab"
	"re6st/internal/lab/packets"
)

// withShortcut attaches the eBPF programs to the relay's tunnels and its LAN.
func (w *world) withShortcut() *ebpf.Shortcut {
	w.t.Helper()
	host, err := kernel.Open()
	lab.Must(w.t, err)
	w.t.Cleanup(func() { lab.Must(w.t, host.Close()) })
	s, err := ebpf.NewShortcut(ebpf.ShortcutConfig{Clsact: host.Filters("0badcafe")})
	lab.Must(w.t, err)
	w.t.Cleanup(func() { lab.Must(w.t, s.Close()) })
	for _, k := range tunnels {
		lab.Must(w.t, s.Attach(ebpf.Port{Index: indexOf(w.t, k.name()), Kind: fib.Raw}))
	}
	lab.Must(w.t, s.Attach(ebpf.Port{Index: indexOf(w.t, lanName), Kind: fib.Ethernet, Sources: []netip.Prefix{
		netip.MustParsePrefix("2001:db8:42:1::/64"), netip.MustParsePrefix("10.42.0.0/20"),
	}}))
	w.follow(func(_ *fib.Table, add []fib.Entry, remove []fib.Key) {
		if err := s.Update(add, remove); err != nil {
			w.t.Errorf("updating the shortcut: %v", err)
		}
	})
	w.shortcut = s.SetOn
	return s
}

func indexOf(t *testing.T, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	lab.Must(t, err)
	return i.Index
}

// follow calls with each table that the kernel has, and with what is different; the
// first has been when it returns.
func (w *world) follow(tell func(t *fib.Table, add []fib.Entry, remove []fib.Key)) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	first, ended := make(chan struct{}), make(chan error)
	var once sync.Once
	f := fib.New()
	go func() {
		ended <- kernel.FollowFIB(ctx, meshTable, slog.New(slog.DiscardHandler), func(events ...fib.Event) {
			f.Apply(events...)
			tell(f.Compile())
			once.Do(func() { close(first) })
		})
	}()
	w.t.Cleanup(func() {
		cancel()
		lab.Must(w.t, <-ended)
	})
	<-first
}

// What comes out, and what comes back, is the same with the shortcut as without.
func TestA14_ShortcutIsNeverDifferent(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := tunRelay(t)
	s := w.withShortcut()
	w.rounds(1, inLane(count(10000, 1_000_000), 3000))
	wantForwarded(t, s, uint64(inLane(1000, 500)))
}

// Where the host filters reverse paths IPv4 is the stack's, which drops what has no
// way back; and again the shortcut's when it does no more.
func TestA14_ReversePathFilter(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := tunRelay(t)
	filter := func(value string) {
		for _, name := range []string{"all", "t1", "t3"} {
			lab.Must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte(value), 0))
		}
	}
	filter("2")
	s := w.withShortcut()
	w.rounds(3, 3000)
	lab.Must(t, s.SetOn(true))
	forwards := func() bool {
		before, err := s.Stats()
		lab.Must(t, err)
		w.ecnOf(ecnPacket(false, ect0, w.number()))
		after, err := s.Stats()
		lab.Must(t, err)
		return after.Packets["forwarded"] > before.Packets["forwarded"]
	}
	if forwards() {
		t.Error("IPv4 takes the shortcut past the filter")
	}
	for _, x := range []struct {
		value string
		want  bool
	}{{"0", true}, {"1", false}} {
		filter(x.value)
		if _, err := lab.Await(lab.Slow(10*time.Second), func() error {
			if forwards() != x.want {
				return fmt.Errorf("it takes the shortcut: %t", !x.want)
			}
			return nil
		}); err != nil {
			t.Errorf("rp_filter %s: %v", x.value, err)
		}
	}
}

// wantForwarded: where nothing takes the shortcut, nothing is tested.
func wantForwarded(t *testing.T, s *ebpf.Shortcut, least uint64) {
	t.Helper()
	st, err := s.Stats()
	lab.Must(t, err)
	if t.Logf("%+v", st); st.Packets["forwarded"] < least {
		t.Errorf("%d packets took the shortcut, want %d at least", st.Packets["forwarded"], least)
	}
}

// Packets that an interface is to cut leave the relay uncut: the egress TUN reads
// as many as were sent.
func TestSuperPacketsStayWhole(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := tunRelay(t)
	s := w.withShortcut()
	const n, segment = 100, 1200
	var all []sent
	for i := range n {
		p := superPacket(i, 50*segment, segment)
		all = append(all, sent{w.ports[0], p})
	}
	for _, on := range []bool{false, true} {
		out := w.send(on, all)
		whole := 0
		for _, o := range out {
			if o.port == "t2" && strings.HasPrefix(o.frame, "kind 4 segment 1200 ") && len(o.packet) == len(all[0].packet.Bytes) {
				whole++
			}
		}
		if whole != n || len(out) != n {
			t.Errorf("shortcut %t: of %d super-packets %d came out whole, among %d packets", on, n, whole, len(out))
		}
	}
	wantForwarded(t, s, n)
}

// superPacket is TCP from tunnel 1 to 2.
func superPacket(number, payload, segment int) packets.Packet {
	b := make([]byte, 60+payload)
	b[0], b[6], b[7] = 6<<4, 6, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	src, dst := netip.MustParseAddr("2001:db8:42:11::7"), netip.MustParseAddr("2001:db8:42:12::7")
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[40:], 4000)
	binary.BigEndian.PutUint16(b[42:], 33434)
	binary.BigEndian.PutUint32(b[44:], uint32(number*payload))
	b[52], b[53] = 5<<4, 0x10
	return packets.Packet{What: "super-packet", Bytes: b, Offload: packets.Offload{
		Partial: true, Segment: uint16(segment), Header: 60, Start: 40, Checksum: 16,
	}}
}

// The same of the tunnels that nodes have: wireguard-go's, and in the kernel lane
// the kernel's.
func TestA14_ShortcutBetweenTunnels(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := tunnelRelay(t, lab.Backend())
	s := w.withShortcut()
	w.rounds(1, inLane(count(10000, 100_000), 3000))
	wantForwarded(t, s, uint64(inLane(1000, 500)))
}

// The same of what is handed over inside the process, and of both together: what
// goes from a tunnel to a tunnel is handed over, what comes from the LAN takes the
// other shortcut.
func TestA14_RelayInsideTheProcess(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := processRelay(t)
	w.rounds(1, inLane(count(10000, 100_000), 2000))
	_, sum := w.relayer.Relayed()
	if t.Logf("%+v", sum); sum.PacketsOut < 500 {
		t.Error("hardly anything was handed over, and hardly anything tested")
	}
	handOver := w.shortcut
	s := w.withShortcut()
	w.shortcut = func(on bool) error { return errors.Join(handOver(on), s.SetOn(on)) }
	w.rounds(2, inLane(count(5000, 100_000), 2000))
	wantForwarded(t, s, 100)
}

// tunnelRelay is a world with tunnels of a backend.
func tunnelRelay(t *testing.T, kind string) *world {
	b := backend(t, kind)
	w := newWorld(t, func(t *testing.T, k tunnel) port { return openTunnel(t, b, k) })
	w.withoutOffload()
	return w
}

// withoutOffload: what comes out of WireGuard is whole.
func (w *world) withoutOffload() {
	for name, p := range w.plans {
		p.Offload = p.Offload && name == lanName
		w.plans[name] = p
	}
	w.establish()
}
