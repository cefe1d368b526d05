package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// DNSArgs are those of DNS.
type DNSArgs struct {
	Listen  string
	Records []string // as in a zone file
}

// DNS starts a server that answers from the records, and that nothing else
// exists: a resolver of the Internet.
func (a *Agent) DNS(args DNSArgs, _ *struct{}) error {
	known := map[string][]dns.RR{}
	for _, text := range args.Records {
		rr, err := dns.NewRR(text)
		if err != nil {
			return fmt.Errorf("record %q: %w", text, err)
		}
		name := strings.ToLower(rr.Header().Name)
		known[name] = append(known[name], rr)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(answerFrom(known, q)) })
	packets, err := net.ListenPacket("udp", args.Listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	streams, err := net.Listen("tcp", args.Listen)
	if err != nil {
		packets.Close()
		return fmt.Errorf("listening: %w", err)
	}
	a.mu.Lock()
	a.closers = append(a.closers, packets, streams)
	a.mu.Unlock()
	go (&dns.Server{PacketConn: packets, Handler: handler}).ActivateAndServe()
	go (&dns.Server{Listener: streams, Handler: handler}).ActivateAndServe()
	return nil
}

func answerFrom(known map[string][]dns.RR, q *dns.Msg) *dns.Msg {
	r := new(dns.Msg)
	r.SetReply(q)
	r.RecursionAvailable = true
	all, ok := known[strings.ToLower(q.Question[0].Name)]
	if !ok {
		r.Rcode = dns.RcodeNameError
	}
	for _, rr := range all {
		if rr.Header().Rrtype == q.Question[0].Qtype {
			r.Answer = append(r.Answer, rr)
		}
	}
	return r
}

// DNS starts a name server on the host, until Unserve.
func (h *Host) DNS(listen string, records ...string) {
	h.Lab.TB.Helper()
	if err := h.call("DNS", DNSArgs{Listen: listen, Records: records}, &struct{}{}); err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
}

// datagramMax is the longest datagram that there is.
const datagramMax = 65535

// EchoUDP starts a service that sends each datagram back.
func (a *Agent) EchoUDP(listen string, _ *struct{}) error {
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	a.mu.Lock()
	a.closers = append(a.closers, conn)
	a.mu.Unlock()
	go func() {
		b := make([]byte, datagramMax)
		for {
			n, from, err := conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteTo(b[:n], from)
			}
		}
	}()
	return nil
}

// DatagramArgs are those of Datagram.
type DatagramArgs struct {
	To      netip.AddrPort
	Size    int
	Timeout time.Duration
}

// Datagram sends one of the size, and again until it comes back as it was.
func (a *Agent) Datagram(args DatagramArgs, _ *struct{}) error {
	conn, err := net.Dial("udp", args.To.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	sent, got := bytes.Repeat([]byte("re6st"), args.Size/5+1)[:args.Size], make([]byte, datagramMax)
	var last error
	for end := time.Now().Add(args.Timeout); time.Now().Before(end); {
		if _, last = conn.Write(sent); last != nil {
			continue // the path's MTU has become known: the next one is made to fit
		}
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		var n int
		if n, last = conn.Read(got); last == nil {
			if !bytes.Equal(got[:n], sent) {
				return fmt.Errorf("%d bytes went to %v, %d others came back", args.Size, args.To, n)
			}
			return nil
		}
	}
	return fmt.Errorf("a datagram of %d bytes to %v: %w", args.Size, args.To, last)
}

// EchoUDP starts a service on the host that sends datagrams back, until Unserve.
func (h *Host) EchoUDP(listen string) {
	h.Lab.TB.Helper()
	if err := h.call("EchoUDP", listen, &struct{}{}); err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
}

// Datagram sends one of the size to a service of EchoUDP, until it comes back.
func (h *Host) Datagram(to netip.AddrPort, size int, timeout time.Duration) error {
	return h.call("Datagram", DatagramArgs{To: to, Size: size, Timeout: timeout}, &struct{}{})
}

// ResolvConf gives the host a /etc/resolv.conf of its own.
func (h *Host) ResolvConf(lines ...string) {
	h.Lab.TB.Helper()
	h.bind("/etc/resolv.conf", strings.Join(lines, "\n")+"\n")
	h.bind("/etc/nsswitch.conf", "hosts: files dns\n")
}
