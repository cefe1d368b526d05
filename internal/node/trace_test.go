package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"re6st/internal/identity"
	"re6st/internal/status"
	"re6st/internal/trace"
	"re6st/tunnel/control"
)

// newTestTracer is that of node 1 in a line of nodes 1 to 4, of which 4 is a
// gateway.
func newTestTracer(t *testing.T) *tracer {
	t.Helper()
	c := newClaims(testNetworks, netip.Prefix{})
	for i := 1; i <= 4; i++ {
		c.Add(certified(i, func(n *identity.Node) {
			if i == 3 {
				n.IPv4 = netip.MustParsePrefix("10.42.3.0/24")
			}
		}))
	}
	rtt := 10.0
	hop := func(i int) control.NextHop {
		if i == 4 {
			return control.NextHop{Kind: control.HopGateway}
		}
		return control.NextHop{Kind: control.HopTunnel, Interface: "re6st-x", Peer: certified(i + 1).Name, RTTms: &rtt}
	}
	self, _ := c.ByName("node-1")
	return &tracer{
		self: self, claims: c, domain: func() string { return "mesh" }, slots: make(chan struct{}, tracesMax),
		nextHop: func(netip.Addr, netip.Addr) (control.NextHop, error) { return hop(1), nil },
		ask: func(_ context.Context, p netip.Prefix, _, _ netip.Addr) (control.NextHop, error) {
			for i := 2; i <= 4; i++ {
				if certified(i).Prefix == p {
					return hop(i), nil
				}
			}
			return control.NextHop{}, errors.New("nobody there")
		},
	}
}

func seen(address string, i int, kind trace.Kind) trace.Hop {
	h := trace.Hop{Limit: i, Kind: kind, Sent: 3, Received: 3, RTT: time.Duration(i) * 10 * time.Millisecond}
	if kind == trace.Silence {
		h.Received, h.RTT = 0, 0
		return h
	}
	h.Address = netip.MustParseAddr(address)
	return h
}

func TestA11_TraceThroughAGateway(t *testing.T) {
	tr := newTestTracer(t)
	tr.survey = func(_ context.Context, to, from netip.Addr) (trace.Result, error) {
		if to != netip.MustParseAddr("2001:db8:f000::80") || from != tr.self.Address {
			t.Errorf("survey of %v from %v", to, from)
		}
		return trace.Result{Reached: true, Hops: []trace.Hop{
			seen("2001:db8:42:2::1", 1, trace.Passed), seen("", 2, trace.Silence), seen("2001:db8:42:4::1", 3, trace.Passed),
			seen("2001:db8:f001::1", 4, trace.Passed), seen("2001:db8:f000::80", 5, trace.Arrived),
		}}, nil
	}
	got, err := tr.trace(t.Context(), url.Values{"host": {"2001:db8:f000::80"}, "mesh": {"true"}})
	if err != nil || !got.Reached || len(got.Hops) != 6 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, want := range []struct{ name, kind string }{{"node-1", "tunnel"}, {"node-2", "tunnel"}, {"", ""}, {"node-4", "gateway"}, {"", ""}, {"", ""}} {
		h := got.Hops[i]
		kind := ""
		if h.Next != nil {
			kind = h.Next.Kind
		}
		if h.Limit != i || h.Name != want.name || kind != want.kind {
			t.Errorf("hop %d: %+v, want %+v", i, h, want)
		}
	}
	if h := got.Hops[2]; h.Loss != 1 || h.RTTms != nil || h.Address != "" {
		t.Errorf("the mute hop: %+v", h)
	}
	if h := got.Hops[3]; h.RTTms == nil || *h.RTTms != 30 {
		t.Errorf("hop 3: %+v", h)
	}
}

func TestTraceOfWhatDoesNotAnswer(t *testing.T) {
	tr := newTestTracer(t)
	tr.survey = func(context.Context, netip.Addr, netip.Addr) (trace.Result, error) {
		return trace.Result{Error: &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", syscall.EHOSTUNREACH)}}, nil
	}
	got, err := tr.trace(t.Context(), url.Values{"host": {"node-2"}, "mesh": {"true"}})
	if err != nil || got.Reached || got.Error != "no route to host" || len(got.Hops) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	tr.survey = func(context.Context, netip.Addr, netip.Addr) (trace.Result, error) {
		return trace.Result{Hops: []trace.Hop{seen("2001:db8:42:2::1", 1, trace.Passed), seen("2001:db8:42:3::77", 2, trace.Unreachable)}}, nil
	}
	tr.ask = func(context.Context, netip.Prefix, netip.Addr, netip.Addr) (control.NextHop, error) {
		return control.NextHop{}, errors.New("it does not answer")
	}
	got, err = tr.trace(t.Context(), url.Values{"host": {"node-3"}, "mesh": {"true"}})
	if err != nil || got.Hops[1].Error != "it does not answer" || !got.Hops[2].Unreachable || got.Hops[2].Behind != "node-3" || got.Hops[2].Name != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHostsOfTrace(t *testing.T) {
	tr := newTestTracer(t)
	for _, tt := range []struct {
		host  string
		ipv4  bool
		want  string
		wrong string
	}{
		{host: "node-2", want: "2001:db8:42:2::1"},
		{host: "NODE-2.mesh.", want: "2001:db8:42:2::1"},
		{host: "node-3", ipv4: true, want: "10.42.3.1"},
		{host: "192.0.2.1", want: "192.0.2.1"},
		{host: "::ffff:192.0.2.1", want: "192.0.2.1"},
		{host: "node-2", ipv4: true, wrong: "no IPv4 address"},
		{host: "node-9", wrong: "is known"},
		{host: "node-2.example", wrong: "is known"},
		{host: "", wrong: "is known"},
		{host: "\x1b[31m" + strings.Repeat("x", 1000), wrong: "is known"},
		{host: "ff02::1", wrong: "not an address"},
		{host: "fe80::1%lo", wrong: "not an address"},
		{host: "::", wrong: "not an address"},
	} {
		got, err := tr.resolve(tt.host, tt.ipv4)
		if tt.wrong == "" && (err != nil || got.String() != tt.want) {
			t.Errorf("%q: %v, %v; want %s", tt.host, got, err, tt.want)
		}
		if refusal, ok := errors.AsType[*status.Refusal](err); tt.wrong != "" && (!ok || !strings.Contains(refusal.Text, tt.wrong) || len(refusal.Text) > 300) {
			t.Errorf("%q: %v, %v; want %q", tt.host, got, err, tt.wrong)
		}
	}
	if _, err := tr.trace(t.Context(), url.Values{"host": {"192.0.2.1"}, "mesh": {"true"}}); err == nil {
		t.Error("a node without an IPv4 address sends from it")
	}
}

func TestPing(t *testing.T) {
	tr := newTestTracer(t)
	tr.ping = func(_ context.Context, _, _ netip.Addr, count int) ([]trace.Reply, error) {
		all := make([]trace.Reply, count)
		all[0] = trace.Reply{Kind: trace.Arrived, From: certified(2).Address, RTT: 10 * time.Millisecond}
		all[1] = trace.Reply{Kind: trace.Arrived, From: certified(2).Address, RTT: 20 * time.Millisecond}
		all[2] = trace.Reply{Kind: trace.Unreachable, From: certified(3).Address, RTT: time.Millisecond}
		return all, nil
	}
	got, err := tr.echo(t.Context(), url.Values{"host": {"node-2"}, "count": {"4"}})
	if err != nil || got.Name != "node-2" || got.Sent != 4 || got.Received != 2 || got.Loss != 0.5 || *got.RTTms != 15 {
		t.Errorf("%+v, %v", got, err)
	}
	if got.Replies[2].RTTms != nil || got.Replies[2].From == "" || got.Replies[3].From != "" {
		t.Errorf("%+v", got.Replies)
	}
	for _, bad := range []string{"0", "-1", "101", "x", "1e9"} {
		if _, err := tr.echo(t.Context(), url.Values{"host": {"node-2"}, "count": {bad}}); err == nil {
			t.Errorf("count %s is taken", bad)
		}
	}
}

// Each holds a raw socket, so there are few at once.
func TestTracesAtOnceAreBounded(t *testing.T) {
	tr := newTestTracer(t)
	started, end := make(chan struct{}), make(chan struct{})
	tr.survey = func(context.Context, netip.Addr, netip.Addr) (trace.Result, error) {
		started <- struct{}{}
		<-end
		return trace.Result{}, nil
	}
	var running sync.WaitGroup
	q := url.Values{"host": {"node-2"}, "mesh": {"true"}}
	for range tracesMax {
		running.Go(func() { _, _ = tr.trace(t.Context(), q) })
		<-started
	}
	if _, err := tr.trace(t.Context(), q); err == nil {
		t.Error("one more runs")
	}
	close(end)
	running.Wait()
	if len(tr.slots) != 0 {
		t.Errorf("%d slots are not given back", len(tr.slots))
	}
}
