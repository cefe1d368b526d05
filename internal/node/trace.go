package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/internal/status"
	"re6st/internal/trace"
	"re6st/tunnel/control"
)

// tracesMax is how many run at once: each has a raw socket.
const tracesMax = 4

// defaultCount is how many echoes a ping has unless told.
const defaultCount = 5

// tracer answers trace and ping of this node's operator.
type tracer struct {
	self    identity.Node
	domain  func() string
	claims  *claims
	survey  func(ctx context.Context, to, from netip.Addr) (trace.Result, error)
	ping    func(ctx context.Context, to, from netip.Addr, count int) ([]trace.Reply, error)
	nextHop func(to, from netip.Addr) (control.NextHop, error)
	ask     func(ctx context.Context, node netip.Prefix, to, from netip.Addr) (control.NextHop, error)
	slots   chan struct{} // one for each that runs
}

func (d *daemon) makeTracer() {
	d.tracer = &tracer{
		self: d.member.self,
		domain: func() string {
			doc, _ := d.documents.current()
			return doc.Domain
		},
		claims: d.claims, survey: trace.Survey, ping: trace.Ping, nextHop: d.signpost.nextHop, ask: d.askNextHop,
		slots: make(chan struct{}, tracesMax),
	}
}

// questions are what the local socket answers beside the documents of views.
func (d *daemon) questions() status.Questions {
	return status.Questions{
		"trace": func(ctx context.Context, q url.Values) (any, error) { return d.tracer.trace(ctx, q) },
		"ping":  func(ctx context.Context, q url.Values) (any, error) { return d.tracer.echo(ctx, q) },
	}
}

// errand is what is asked about: from where to where.
type errand struct {
	host     string
	to, from netip.Addr
	isBound  bool // from is not the kernel's choice
}

// begin reads the question and takes a slot.
func (t *tracer) begin(q url.Values) (errand, func(), error) {
	w := errand{host: q.Get("host")}
	var err error
	if w.to, err = t.resolve(w.host, q.Get("ipv4") == "true"); err != nil {
		return errand{}, nil, err
	}
	if w.isBound = q.Get("mesh") == "true"; w.isBound {
		w.from = t.self.Address
		if w.to.Is4() {
			if w.from = addressing.NodeAddress(t.self.IPv4); !w.from.IsValid() {
				return errand{}, nil, status.Bad("this node has no IPv4 address in the mesh")
			}
		}
	} else {
		w.from = sourceOf(w.to)
	}
	select {
	case t.slots <- struct{}{}:
		return w, func() { <-t.slots }, nil
	default:
		return errand{}, nil, status.Bad("%d of these run already", tracesMax)
	}
}

// resolve takes an address, or the name of a node, with the mesh's domain or
// without.
func (t *tracer) resolve(host string, wantsIPv4 bool) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		if a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
			return netip.Addr{}, status.Bad("%v is not an address that a way leads to", a)
		}
		return a, nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if domain := t.domain(); domain != "" {
		name = strings.TrimSuffix(name, "."+domain)
	}
	n, ok := t.claims.ByName(name)
	if !ok {
		return netip.Addr{}, status.Bad("no node of the name %.80q is known (see: re6stnode peers); another host is named by its address", host)
	}
	if !wantsIPv4 {
		return n.Address, nil
	}
	if !n.IPv4.IsValid() {
		return netip.Addr{}, status.Bad("%s has no IPv4 address in the mesh", n.Name)
	}
	return addressing.NodeAddress(n.IPv4), nil
}

// sourceOf is the address from which the kernel would send. Nothing is sent.
func sourceOf(to netip.Addr) netip.Addr {
	const discard = 9
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, discard)))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

func (w errand) bound() netip.Addr {
	if w.isBound {
		return w.from
	}
	return netip.Addr{}
}

// trace finds the hops, and asks those that are nodes over which tunnel they send
// such packets.
func (t *tracer) trace(ctx context.Context, q url.Values) (status.Trace, error) {
	w, done, err := t.begin(q)
	if err != nil {
		return status.Trace{}, err
	}
	defer done()
	r, err := t.survey(ctx, w.to, w.bound())
	if err != nil {
		return status.Trace{}, err
	}
	doc := status.Trace{
		SchemaVersion: status.SchemaVersion, Host: w.host, Address: w.to.String(), Source: text(w.from), Reached: r.Reached, Hops: []status.Hop{},
	}
	if r.Error != nil {
		doc.Error = unwrapped(r.Error)
	}
	first := status.Hop{Name: t.self.Name, Address: t.self.Address.String()}
	if w.to.Is4() && t.self.IPv4.IsValid() {
		first.Address = addressing.NodeAddress(t.self.IPv4).String()
	}
	doc.Hops = append(doc.Hops, first)
	owners := []netip.Prefix{t.self.Prefix}
	for _, h := range r.Hops {
		hop, owner := t.describe(h)
		doc.Hops, owners = append(doc.Hops, hop), append(owners, owner)
	}
	t.tunnels(ctx, w, doc.Hops, owners)
	return doc, nil
}

// describe says who a hop is; the prefix is a node's that can be asked, or
// invalid.
func (t *tracer) describe(h trace.Hop) (status.Hop, netip.Prefix) {
	hop := status.Hop{Limit: h.Limit, Sent: h.Sent, Received: h.Received, Address: text(h.Address)}
	if h.Sent > 0 {
		hop.Loss = float64(h.Sent-h.Received) / float64(h.Sent)
	}
	if h.Received > 0 {
		hop.RTTms = milliseconds(h.RTT)
	}
	if h.Kind == trace.Unreachable {
		hop.Unreachable = true
	}
	n, ok := t.claims.OwnerOf(h.Address)
	switch {
	case !ok:
		return hop, netip.Prefix{}
	case h.Address != n.Address && h.Address != addressing.NodeAddress(n.IPv4):
		hop.Behind = n.Name
		return hop, netip.Prefix{}
	}
	hop.Name = n.Name
	return hop, n.Prefix
}

// tunnels asks all nodes on the way at once, ourselves included.
func (t *tracer) tunnels(ctx context.Context, w errand, hops []status.Hop, owners []netip.Prefix) {
	if !w.from.IsValid() {
		return
	}
	var asking sync.WaitGroup
	for i := range hops {
		if !owners[i].IsValid() || i > 0 && owners[i] == t.self.Prefix {
			continue
		}
		asking.Go(func() {
			next, err := t.nextHop, error(nil)
			if i > 0 {
				next = func(to, from netip.Addr) (control.NextHop, error) { return t.ask(ctx, owners[i], to, from) }
			}
			n, err := next(w.to, w.from)
			if err != nil {
				hops[i].Error = err.Error()
				return
			}
			hops[i].Next = &status.NextHop{Kind: n.Kind, Interface: n.Interface, Peer: n.Peer, PeerAddress: text(n.PeerAddress), RTTms: n.RTTms, Loss: n.Loss}
		})
	}
	asking.Wait()
}

// echo is ping.
func (t *tracer) echo(ctx context.Context, q url.Values) (status.Ping, error) {
	count := defaultCount
	if text := q.Get("count"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > trace.CountMax {
			return status.Ping{}, status.Bad("count %.20q: want 1 to %d", text, trace.CountMax)
		}
		count = n
	}
	w, done, err := t.begin(q)
	if err != nil {
		return status.Ping{}, err
	}
	defer done()
	replies, err := t.ping(ctx, w.to, w.bound(), count)
	doc := status.Ping{SchemaVersion: status.SchemaVersion, Host: w.host, Address: w.to.String(), Source: text(w.from), Replies: []status.Echo{}}
	if n, ok := t.claims.OwnerOf(w.to); ok && w.to == n.Address {
		doc.Name = n.Name
	}
	if err != nil {
		doc.Error = unwrapped(err)
	}
	var sum time.Duration
	for _, r := range replies {
		e := status.Echo{From: text(r.From)}
		if r.Kind == trace.Arrived {
			doc.Received++
			sum += r.RTT
			e.RTTms = milliseconds(r.RTT)
		}
		doc.Replies = append(doc.Replies, e)
	}
	if doc.Sent = len(replies); doc.Sent > 0 {
		doc.Loss = float64(doc.Sent-doc.Received) / float64(doc.Sent)
	}
	if doc.Received > 0 {
		doc.RTTms = milliseconds(sum / time.Duration(doc.Received))
	}
	return doc, nil
}

func milliseconds(d time.Duration) *float64 {
	ms := float64(d.Microseconds()) / 1000
	return &ms
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// unwrapped leaves the system's own words: which call it was says nothing to who
// asked.
func unwrapped(err error) string {
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Sprint(op.Err)
	}
	return err.Error()
}
