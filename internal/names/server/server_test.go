package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"re6st/internal/lab/solo"
	"re6st/internal/names"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// freePort is one of this host's that is free for UDP and TCP.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), solo.FreePort(t))
}

// start runs a server that knows beaver.mesh.
func start(t *testing.T, c Config) *Server {
	t.Helper()
	if c.Listen == nil {
		c.Listen = []netip.AddrPort{freePort(t)}
	}
	if c.IsOurs == nil {
		c.IsOurs = netip.Addr.IsLoopback
	}
	c.Log, c.Retry = slog.New(slog.NewTextHandler(io.Discard, nil)), 20*time.Millisecond
	s := New(c)
	beaver := names.Host{Name: "beaver", Prefix: netip.MustParsePrefix("2001:db8:42:8::/64"), Address: netip.MustParseAddr("2001:db8:42:8::1")}
	s.SetDirectory(names.New(names.Config{
		Domain: "mesh", Networks: []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48")}, Self: beaver, NAT64: netip.MustParsePrefix("2001:db8:64::/96"),
	}, slices.Values([]names.Host{beaver})))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// question asks until somebody answers.
func question(t *testing.T, network string, server netip.AddrPort, name string, kind uint16) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: network, Timeout: 5 * time.Second}
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	deadline := time.Now().Add(10 * time.Second)
	for {
		r, _, err := client.Exchange(m, server.String())
		if err == nil {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("asking for %s by %s: %v", name, network, err)
		}
	}
}

func line(m *dns.Msg) string {
	var b strings.Builder
	b.WriteString(dns.RcodeToString[m.Rcode])
	for _, rr := range m.Answer {
		b.WriteString(" " + strings.Join(strings.Fields(rr.String()), " "))
	}
	return b.String()
}

func TestAnswersByUDPAndTCP(t *testing.T) {
	s := start(t, Config{})
	for _, network := range []string{"udp", "tcp"} {
		got := line(question(t, network, s.config.Listen[0], "beaver.mesh.", dns.TypeAAAA))
		if want := "NOERROR beaver.mesh. 30 IN AAAA 2001:db8:42:8::1"; got != want {
			t.Errorf("%s: %s, want %s", network, got, want)
		}
	}
}

// A port that another program has is no reason to end: it is said, and tried
// again.
func TestPortInUse(t *testing.T) {
	a := freePort(t)
	other, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, Config{Listen: []netip.AddrPort{a}})
	await(t, "the trouble is said", func() bool { return len(s.Troubles()) == 1 })
	if got := s.Troubles()[0]; got.Address != a || !strings.Contains(got.Err.Error(), "the port is in use") {
		t.Errorf("trouble %v", got)
	}
	other.Close()
	await(t, "the trouble is over", func() bool { return len(s.Troubles()) == 0 })
	question(t, "udp", a, "beaver.mesh.", dns.TypeAAAA)
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	solo.Until(t, what, 10*time.Second, cond)
}

// upstream is a resolver of the Internet.
func upstream(t *testing.T, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	a := freePort(t)
	for _, network := range []string{"udp", "tcp"} {
		ready := make(chan struct{})
		s := &dns.Server{Addr: a.String(), Net: network, Handler: handle, NotifyStartedFunc: func() { close(ready) }}
		done := make(chan error, 1)
		go func() { done <- s.ListenAndServe() }()
		<-ready
		t.Cleanup(func() { s.Shutdown(); <-done })
	}
	return a
}

func serveRecords(w dns.ResponseWriter, q *dns.Msg, records ...string) {
	r := new(dns.Msg)
	r.SetReply(q)
	r.RecursionAvailable = true
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err == nil {
			r.Answer = append(r.Answer, rr)
		}
	}
	if _, isUDP := w.RemoteAddr().(*net.UDPAddr); isUDP {
		r.Truncate(512)
	}
	_ = w.WriteMsg(r)
}

func TestForwarding(t *testing.T) {
	good := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		switch q.Question[0].Name + dns.TypeToString[q.Question[0].Qtype] {
		case "www.example.A":
			serveRecords(w, q, "www.example. 60 IN A 203.0.113.7")
		case "large.example.TXT":
			var many []string
			for i := range 40 {
				many = append(many, fmt.Sprintf("large.example. 60 IN TXT \"%050d\"", i))
			}
			serveRecords(w, q, many...)
		default:
			serveRecords(w, q)
		}
	})
	bad := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg)
		_ = w.WriteMsg(r.SetRcode(q, dns.RcodeServerFailure))
	})
	s := start(t, Config{Forward: []netip.AddrPort{freePort(t), bad, good}}) // the first one is not there
	for _, test := range []struct {
		network, name string
		kind          uint16
		want          string
	}{
		{"udp", "www.example.", dns.TypeA, "NOERROR www.example. 60 IN A 203.0.113.7"},
		{"udp", "www.example.", dns.TypeAAAA, "NOERROR www.example. 60 IN AAAA 2001:db8:64::cb00:7107"},
		{"udp", "none.example.", dns.TypeAAAA, "NOERROR"},
		{"udp", "beaver.mesh.", dns.TypeAAAA, "NOERROR beaver.mesh. 30 IN AAAA 2001:db8:42:8::1"},
		{"udp", "absent.mesh.", dns.TypeAAAA, "NXDOMAIN"},
	} {
		if got := line(question(t, test.network, s.config.Listen[0], test.name, test.kind)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	if r := question(t, "udp", s.config.Listen[0], "large.example.", dns.TypeTXT); !r.Truncated || len(r.Answer) > 10 {
		t.Errorf("by UDP: %d records, truncated %v", len(r.Answer), r.Truncated)
	}
	if r := question(t, "tcp", s.config.Listen[0], "large.example.", dns.TypeTXT); r.Truncated || len(r.Answer) != 40 {
		t.Errorf("by TCP: %d records, truncated %v", len(r.Answer), r.Truncated)
	}
}

func TestStrangersGetNoRecursion(t *testing.T) {
	asked := make(chan struct{}, 1)
	s := start(t, Config{
		Forward: []netip.AddrPort{upstream(t, func(w dns.ResponseWriter, q *dns.Msg) { asked <- struct{}{}; serveRecords(w, q) })},
		IsOurs:  func(netip.Addr) bool { return false },
	})
	if got := line(question(t, "udp", s.config.Listen[0], "www.example.", dns.TypeA)); got != "REFUSED" {
		t.Error(got)
	}
	if got := line(question(t, "udp", s.config.Listen[0], "beaver.mesh.", dns.TypeAAAA)); !strings.HasPrefix(got, "NOERROR") {
		t.Error(got)
	}
	if len(asked) > 0 {
		t.Error("others were asked")
	}
}

// Where nobody answers the client learns that, before it gives up by itself.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := start(t, Config{Forward: []netip.AddrPort{silent.LocalAddr().(*net.UDPAddr).AddrPort()}})
	if got := line(question(t, "udp", s.config.Listen[0], "www.example.", dns.TypeA)); got != "SERVFAIL" {
		t.Error(got)
	}
}

// A resolver that asks us what we ask it ends in a failure, not in a storm.
func TestCircleEnds(t *testing.T) {
	t.Parallel()
	a := freePort(t)
	s := start(t, Config{Listen: []netip.AddrPort{a}, Forward: []netip.AddrPort{a}})
	if got := line(question(t, "udp", s.config.Listen[0], "www.example.", dns.TypeA)); got != "SERVFAIL" {
		t.Error(got)
	}
}

func TestConnectionsAreFew(t *testing.T) {
	s := start(t, Config{})
	question(t, "tcp", s.config.Listen[0], "beaver.mesh.", dns.TypeAAAA)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range connectionsPerSource + 4 {
		c, err := net.Dial("tcp", s.config.Listen[0].String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	// The last one was closed at once; nobody says anything to it.
	last := open[len(open)-1]
	_ = last.SetReadDeadline(time.Now().Add(2 * time.Second))
	if _, err := last.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("one connection too many: %v", err)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestLongMessageEndsTheConnection(t *testing.T) {
	s := start(t, Config{})
	question(t, "tcp", s.config.Listen[0], "beaver.mesh.", dns.TypeAAAA)
	c, err := net.Dial("tcp", s.config.Listen[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{0xff, 0xff, 0}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestLimits(t *testing.T) {
	l := newLimits()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	count := func(a string, isOurs bool, tries int) (n int) {
		for range tries {
			if l.allow(now, netip.MustParseAddr(a), isOurs) {
				n++
			}
		}
		return n
	}
	if n := count("192.0.2.1", false, 100); n != strangerBurst {
		t.Errorf("a stranger got %d at once", n)
	}
	if n := count("192.0.2.2", false, 100); n != strangerBurst {
		t.Errorf("another one got %d", n)
	}
	if n := count("2001:db8::1", false, 100) + count("2001:db8::ffff", false, 100); n != strangerBurst {
		t.Errorf("two addresses of a /64 got %d", n)
	}
	now = now.Add(time.Second)
	if n := count("192.0.2.1", false, 100); n != strangerRate {
		t.Errorf("a second later: %d", n)
	}
	now = now.Add(-time.Hour) // a clock that steps back gives nothing away
	if n := count("192.0.2.1", false, 100); n != 0 {
		t.Errorf("after a step back: %d", n)
	}
	for i := range 3 * sourcesMax {
		l.allow(now, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), false)
	}
	if n := len(l.now) + len(l.old); n > 2*sourcesMax {
		t.Errorf("%d sources are remembered", n)
	}
}
