package main

import (
	"fmt"
	"net/rpc"
	"os"
	"strconv"
	"strings"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// cost is what one daemon needs for a table of one size. It stands between a
// source, which announces the table, and a sink, to which it passes it on.
type cost struct {
	Daemon   string `json:"daemon"`
	Prefixes int    `json:"prefixes"`
	// CPU milliseconds per 1,000 prefixes, the kernel's part included.
	LearnMS   float64 `json:"learn_ms"`
	RetractMS float64 `json:"retract_ms"`
	// Seconds from the first datagram until the sink has everything, and from
	// the retraction until it has nothing; 0: never.
	LearnSeconds   float64 `json:"learn_seconds"`
	RetractSeconds float64 `json:"retract_seconds"`
	MissingKernel  int     `json:"missing_kernel"`
	MissingSink    int     `json:"missing_sink"`
	RSSEmptyMB     float64 `json:"rss_empty_mb"`
	RSSMB          float64 `json:"rss_mb"`
	BytesPerRoute  float64 `json:"bytes_per_route"` // of a full dump
	RestCPU        float64 `json:"rest_cpu_percent"`
	RestBytes      float64 `json:"rest_bytes_per_second"`
	BackBytes      float64 `json:"back_bytes_per_second"` // to the source
	// Datagrams that the daemon's sockets dropped.
	Drops int `json:"drops"`
}

// burst is what becomes of a table that comes as fast as it can be sent.
type burst struct {
	Daemon        string  `json:"daemon"`
	Prefixes      int     `json:"prefixes"`
	LearnSeconds  float64 `json:"learn_seconds"` // until the sink has all; 0: not within the patience
	Known         int     `json:"known"`         // of the sink, when the patience was over
	Drops         int     `json:"drops"`
	SeqnoRequests uint64  `json:"seqno_requests"`
	SentTimes     float64 `json:"sent_times"` // bytes to the sink, over those of one dump
}

// bed is a daemon with its two neighbours.
type bed struct {
	t            lab.TB
	l            *lab.Lab
	dut          *lab.Host
	proc         *lab.Proc
	source, sink *rpc.Client
}

const (
	patience = 90 * time.Second
	settle   = 3 * time.Second
)

// newBed starts the daemon between its neighbours.
func newBed(t lab.TB, d daemon) *bed {
	l := lab.New(t)
	b := &bed{t: t, l: l, dut: l.Host("dut")}
	source, sink := l.Host("source"), l.Host("sink")
	l.Connect(b.dut, source, "in", "eth0")
	l.Connect(b.dut, sink, "out", "eth0")
	b.proc = d.start(b.dut, timers{}, nil, "in", "out")
	b.source, b.sink = startPeer(t, source), startPeer(t, sink)
	for _, p := range []*rpc.Client{b.source, b.sink} {
		l.Await(d.name+" is a neighbour", 30*time.Second, func() error {
			if counts(t, p).Neighbours == 0 {
				return fmt.Errorf("not heard")
			}
			return nil
		})
	}
	<-time.After(settle) // both directions, and what a start costs
	return b
}

func startPeer(t lab.TB, h *lab.Host) *rpc.Client {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("finding this program: %v", err)
	}
	h.Start("peer", exe, "peer", "eth0")
	var client *rpc.Client
	h.Lab.Await("the peer on "+h.Name, 10*time.Second, func() error {
		conn, err := h.Conn("tcp", peerControl, time.Second)
		if err == nil {
			client = rpc.NewClient(conn)
		}
		return err
	})
	return client
}

func counts(t lab.TB, p *rpc.Client) Counts {
	t.Helper()
	var c Counts
	if err := p.Call("Peer.Counts", struct{}{}, &c); err != nil {
		t.Fatalf("asking a peer: %v", err)
	}
	return c
}

func tell(t lab.TB, p *rpc.Client, method string, args any) {
	t.Helper()
	if err := p.Call("Peer."+method, args, &struct{}{}); err != nil {
		t.Fatalf("telling a peer: %v", err)
	}
}

// awaitKnown waits until the sink knows as many prefixes, and says when it was.
func (b *bed) awaitKnown(n int, patience time.Duration) (Counts, bool) {
	var c Counts
	_, err := lab.Await(patience, func() error {
		if c = counts(b.t, b.sink); c.Known != n {
			return fmt.Errorf("%d of %d", c.Known, n)
		}
		return nil
	})
	return c, err == nil
}

// kernelRoutes counts the usable routes that the daemon installed.
func (b *bed) kernelRoutes() int {
	out := b.dut.Run("sh", "-c", "ip -6 route show table main | grep -c '^fd00:bab:.*via' || true")
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		b.t.Fatalf("counting routes: %v", err)
	}
	return n
}

// measureCost takes one daemon through one size of table.
func measureCost(t lab.TB, d daemon, prefixes int, rest time.Duration) cost {
	b := newBed(t, d)
	c := cost{Daemon: d.name, Prefixes: prefixes, RSSEmptyMB: b.rss()}
	before, begun := b.cpu(), time.Now()
	tell(t, b.source, "Announce", Announce{Prefixes: prefixes, Rate: 200})
	full, ok := b.awaitKnown(prefixes, patience)
	if ok {
		c.LearnSeconds = full.Changed.Sub(begun).Seconds()
	}
	<-time.After(settle)
	c.LearnMS = perThousand(b.cpu()-before, prefixes)
	c.MissingKernel, c.MissingSink = prefixes-b.kernelRoutes(), prefixes-counts(t, b.sink).Known
	c.BytesPerRoute = b.dumpBytes(prefixes)

	if rest > 0 {
		sinkBefore, sourceBefore := counts(t, b.sink), counts(t, b.source)
		before, begun = b.cpu(), time.Now()
		<-time.After(rest)
		span := time.Since(begun).Seconds()
		c.RestCPU = 100 * (b.cpu() - before).Seconds() / span
		c.RestBytes = float64(counts(t, b.sink).Bytes-sinkBefore.Bytes) / span
		c.BackBytes = float64(counts(t, b.source).Bytes-sourceBefore.Bytes) / span
	}
	c.RSSMB = b.rss()

	before, begun = b.cpu(), time.Now()
	tell(t, b.source, "Retract", struct{}{})
	if gone, ok := b.awaitKnown(0, patience/3); ok {
		c.RetractSeconds = gone.Changed.Sub(begun).Seconds()
	}
	<-time.After(settle)
	c.RetractMS = perThousand(b.cpu()-before, prefixes)
	c.Drops = b.drops()
	return c
}

// dumpBytes asks for the table and weighs the answer.
func (b *bed) dumpBytes(prefixes int) float64 {
	before := counts(b.t, b.sink)
	tell(b.t, b.sink, "AskAll", struct{}{})
	var now Counts
	_, err := lab.Await(10*time.Second, func() error {
		if now = counts(b.t, b.sink); now.Updates-before.Updates < uint64(prefixes) {
			return fmt.Errorf("%d updates", now.Updates-before.Updates)
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return float64(now.Bytes-before.Bytes) / float64(now.Updates-before.Updates)
}

func perThousand(d time.Duration, prefixes int) float64 {
	return float64(d.Microseconds()) / float64(prefixes)
}

func measureBurst(t lab.TB, d daemon, prefixes int) burst {
	b := newBed(t, d)
	out := burst{Daemon: d.name, Prefixes: prefixes}
	before, begun := counts(t, b.sink), time.Now()
	tell(t, b.source, "Announce", Announce{Prefixes: prefixes})
	full, ok := b.awaitKnown(prefixes, patience)
	if ok {
		out.LearnSeconds = full.Changed.Sub(begun).Seconds()
	}
	<-time.After(settle)
	now := counts(t, b.sink)
	out.Known, out.Drops = now.Known, b.drops()
	out.SeqnoRequests = counts(t, b.source).SeqnoRequests
	if ok {
		out.SentTimes = float64(now.Bytes-before.Bytes) / (13.7 * float64(prefixes))
	}
	return out
}

// cpu is what the daemon has used.
func (b *bed) cpu() time.Duration {
	d, err := measure.CPUTime(b.proc.PID)
	if err != nil {
		b.t.Fatalf("%s: %v", b.proc.Name, err)
	}
	return d
}

func (b *bed) rss() float64 {
	mb, err := measure.Memory(b.proc.PID, "VmRSS")
	if err != nil {
		b.t.Fatalf("reading the memory of %s: %v", b.proc.Name, err)
	}
	return mb
}

// drops sums what the host's Babel sockets could not take.
func (b *bed) drops() int {
	out := b.dut.Run("sh", "-c", "cat /proc/net/udp6 /proc/net/udp")
	sum := 0
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 13 || !strings.HasSuffix(f[1], ":1A28") { // 6696
			continue
		}
		n, err := strconv.Atoi(f[len(f)-1])
		if err != nil {
			b.t.Fatalf("reading the drops of %q: %v", line, err)
		}
		sum += n
	}
	return sum
}
