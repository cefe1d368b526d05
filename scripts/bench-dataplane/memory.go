package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// manyTunnels is what one process with many tunnels costs; the other ends are stock.
type manyTunnels struct {
	Kind       string   `json:"kind"`
	Base       memoryOf `json:"base"` // no tunnel
	Idle20     memoryOf `json:"idle_20"`
	Busy20     memoryOf `json:"busy_20"` // each has sent and received, one after the other, then all at once
	Idle100    memoryOf `json:"idle_100"`
	IdleCPU100 float64  `json:"idle_100_cpu_percent"` // of a core
}

// hub is a process with tunnels to another host, all over one cable.
type hub struct {
	here, there *lab.Host
	proc        *lab.Proc
	to, back    []netip.Addr // of the far and the near end of each tunnel
}

// newHub makes and connects them.
func newHub(l *lab.Lab, k int, program, kind string, tunnels int) *hub {
	s := row(l, k, kind, 2)
	h := &hub{here: s.hosts[0], there: s.hosts[1]}
	near, far := tunnelsConfig{Kind: kind}, tunnelsConfig{Kind: stock}
	var mine, theirs []string
	for i := range tunnels {
		a, err := newKey()
		if err != nil {
			l.TB.Fatalf("%v", err)
		}
		b, err := newKey()
		if err != nil {
			l.TB.Fatalf("%v", err)
		}
		name := fmt.Sprintf("wg%d", i)
		net := fmt.Sprintf("fd05:%x:%x::", k, i+1)
		nearPort, farPort := portOf(kind, i), portOf(stock, i)
		near.Tunnels = append(near.Tunnels, tunnelSpec{
			Name: name, MTU: tunnelMTU, Routes: []string{net + "/64"},
			Lines: device(a, int(nearPort)) + peer(b, netip.AddrPortFrom(cableAddress(k, 0, 1), farPort), "::/0"),
		})
		far.Tunnels = append(far.Tunnels, tunnelSpec{
			Name: name, MTU: tunnelMTU,
			Lines: device(b, int(farPort)) + peer(a, netip.AddrPortFrom(cableAddress(k, 0, 0), nearPort), "::/0"),
		})
		h.to, h.back = append(h.to, netip.MustParseAddr(net+"2")), append(h.back, netip.MustParseAddr(net+"1"))
		mine = append(mine, fmt.Sprintf("addr add %s1/64 dev %s nodad\nlink set %s up", net, name, name))
		theirs = append(theirs, fmt.Sprintf("addr add %s2/64 dev %s nodad\nlink set %s up", net, name, name))
	}
	startTunnels(h.there, program, far)
	h.proc = startTunnels(h.here, program, near)
	for few := range slices.Chunk(theirs, atOnce) {
		h.there.IP(few...)
		<-time.After(breath)
	}
	for few := range slices.Chunk(mine, atOnce) {
		h.here.IP(few...)
		<-time.After(breath)
	}
	return h
}

// Each device of stock wireguard-go hears by a socket of its own what happens to all
// interfaces, and gives up when that overflows: interfaces are set up a few at a time.
const (
	atOnce = 5
	breath = 100 * time.Millisecond
)

// shake has all tunnels make their handshakes.
func (h *hub) shake(t lab.TB) {
	h.here.Lab.Await(fmt.Sprintf("all %d tunnels of %s to answer", len(h.to), h.proc.Name), 30*time.Second, func() error {
		results, err := h.here.PingAll(h.to, 10*time.Second)
		if err != nil {
			return err
		}
		for i, r := range results {
			if !r.OK {
				return fmt.Errorf("tunnel %d: %s", i, r.Err)
			}
		}
		return nil
	})
}

func (h *hub) memory(t lab.TB) memoryOf {
	m, err := readMemory(h.proc.PID)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return m
}

// busy has each tunnel carry in both directions, then all of them.
func (h *hub) busy(t lab.TB, self string, each, all time.Duration) {
	send := func(from *lab.Host, to netip.Addr, length time.Duration) error {
		var out transferred
		return load(&out, from, self, "tcp", to.String(), length.String(), "0")
	}
	for i := range h.to {
		if err := interrupted(); err != nil {
			t.Fatalf("%v", err)
		}
		if err := send(h.here, h.to[i], each); err != nil {
			t.Fatalf("tunnel %d, sending: %v", i, err)
		}
		if err := send(h.there, h.back[i], each); err != nil {
			t.Fatalf("tunnel %d, receiving: %v", i, err)
		}
	}
	for _, way := range []struct {
		from *lab.Host
		to   []netip.Addr
	}{{h.here, h.to}, {h.there, h.back}} {
		var wg sync.WaitGroup
		for _, to := range way.to {
			wg.Go(func() {
				if err := send(way.from, to, all); err != nil {
					t.Errorf("all at once: %v", err)
				}
			})
		}
		wg.Wait()
	}
}

// memories measures stock and ours side by side, but the load, which they take in turn.
func memories(t lab.TB, c config, r *report) {
	each, all, idle := 300*time.Millisecond, 2*time.Second, 20*time.Second
	if c.quick {
		each, all, idle = 100*time.Millisecond, time.Second, 5*time.Second
	}
	kinds := []string{stock, ours}
	l := lab.New(t)
	var hubs, large []*hub
	for i, kind := range kinds {
		m := &manyTunnels{Kind: kind}
		r.Tunnels = append(r.Tunnels, m)
		m.Base = newHub(l, 10+i, c.tunnels, kind, 0).memory(t)
		hubs = append(hubs, newHub(l, 20+i, c.tunnels, kind, 20))
		large = append(large, newHub(l, 30+i, c.tunnels, kind, 100))
	}
	for _, h := range slices.Concat(hubs, large) {
		h.shake(t)
	}
	<-time.After(settling)
	for i := range kinds {
		r.Tunnels[i].Idle20 = hubs[i].memory(t)
	}
	idleCPU(t, large, idle, r.Tunnels)
	for i, h := range hubs {
		for _, host := range []*lab.Host{h.here, h.there} {
			host.Start("load", c.self, "load", "serve")
		}
		h.here.Lab.Await("the receivers", 10*time.Second, func() error {
			return firstErr(h.there.Dial(netip.AddrPortFrom(h.back[0], tcpPort), time.Second), h.here.Dial(netip.AddrPortFrom(h.to[0], tcpPort), time.Second))
		})
		h.busy(t, c.self, each, all)
		r.Tunnels[i].Busy20 = h.memory(t)
	}
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// idleCPU measures what 100 tunnels cost that nobody uses; they have keepalives.
func idleCPU(t lab.TB, large []*hub, span time.Duration, into []*manyTunnels) {
	read := func() []time.Duration {
		var out []time.Duration
		for _, h := range large {
			d, err := measure.CPUTime(h.proc.PID)
			if err != nil {
				t.Fatalf("%v", err)
			}
			out = append(out, d)
		}
		return out
	}
	before, begun := read(), time.Now()
	<-time.After(span)
	after := read()
	for i, h := range large {
		into[i].IdleCPU100 = 100 * (after[i] - before[i]).Seconds() / time.Since(begun).Seconds()
		into[i].Idle100 = h.memory(t)
	}
}

func (r *report) tunnelsTable(w io.Writer) {
	if len(r.Tunnels) == 0 {
		return
	}
	fmt.Fprint(w, "\nMany tunnels in one process, RSS in MB; their other ends are stock\n\n")
	measure.Table(w, "", "no tunnel", "20 idle", "20, all were busy (peak)", "100 idle", "threads", "CPU, % of a core")
	for _, m := range r.Tunnels {
		measure.Row(w, m.Kind, fmt.Sprintf("%.1f", m.Base.RSSMB), fmt.Sprintf("%.1f", m.Idle20.RSSMB), fmt.Sprintf("%.0f (%.0f)", m.Busy20.RSSMB, m.Busy20.Peak),
			fmt.Sprintf("%.1f", m.Idle100.RSSMB), fmt.Sprint(m.Idle100.Threads), fmt.Sprintf("%.2f", m.IdleCPU100))
	}
}
