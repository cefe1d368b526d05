package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"re6st/internal/identity"
	"re6st/tunnel"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

const (
	probeTime  = 4 * time.Second
	offerTime  = 4 * time.Second
	notifyTime = 2 * time.Second
)

// carryOut does what the machine wants, in its order.
func (a *Agent) carryOut(now time.Time) {
	for {
		out := a.manager.Output()
		if len(out.Actions) == 0 && len(out.Events) == 0 {
			return
		}
		for _, x := range out.Actions {
			a.act(now, x)
		}
		a.logEvents(out.Events)
	}
}

func (a *Agent) act(now time.Time, x tunnel.Action) {
	switch x := x.(type) {
	case tunnel.Probe:
		a.call(func(ctx context.Context) { a.probe(ctx, x) })
	case tunnel.Create:
		a.create(x)
	case tunnel.SendOffer:
		a.call(func(ctx context.Context) { a.offer(ctx, x) })
	case tunnel.Reply:
		a.reply(now, x)
	case tunnel.Connect:
		a.connect(x)
	case tunnel.Attach:
		a.attach(x)
	case tunnel.SetCost:
		a.setCost(x)
	case tunnel.Detach:
		a.detach(x, nil)
	case tunnel.Notify:
		versions := a.gossip.versions()
		a.call(func(ctx context.Context) { a.notify(ctx, x, versions) })
	case tunnel.Destroy:
		a.destroy(x.Tunnel, nil)
	}
}

// call runs f in a goroutine of its own, when one of the few slots is free.
func (a *Agent) call(f func(ctx context.Context)) {
	ctx := a.ctx
	a.workers.Go(func() {
		select {
		case a.calls <- struct{}{}:
			defer func() { <-a.calls }()
			f(ctx)
		case <-ctx.Done():
			f(ctx) // it fails at once, and says so to the loop
		}
	})
}

func expect(p tunnel.Peer) expectation { return expectation{prefix: p.Prefix} }

func targetOf(t tunnel.Target, p tunnel.Peer) target {
	return target{addr: t.Addr, overlay: t.Overlay, want: expect(p)}
}

// probe asks who is there, and which way is the quickest.
func (a *Agent) probe(ctx context.Context, x tunnel.Probe) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	r := a.race(ctx, x)
	a.box.post(func(now time.Time) {
		a.manager.Probed(now, x.Peer.ID(), r)
		if r.Err == nil {
			a.heard(targetOf(r.Target, x.Peer), r.Info.Versions)
		}
	})
}

// offer sends an offer, and keeps the key that the answer's session gives.
func (a *Agent) offer(ctx context.Context, x tunnel.SendOffer) {
	ctx, cancel := context.WithTimeout(ctx, offerTime)
	defer cancel()
	t := targetOf(x.Target, x.Peer)
	answer, _, psk, err := a.transport.PutTunnel(ctx, t, x.Tunnel, x.Offer)
	a.box.post(func(now time.Time) {
		if d := a.devices[x.Tunnel]; d != nil && err == nil {
			d.psk = psk
		}
		a.manager.Answered(now, x.Tunnel, answer, err)
		if err == nil {
			a.heard(t, answer.Versions)
		}
	})
}

// notify tells a peer, wherever it is reached first. If it is nowhere, it finds out by the silence.
func (a *Agent) notify(ctx context.Context, x tunnel.Notify, versions control.Versions) {
	for _, t := range x.Targets {
		err := a.notifyAt(ctx, targetOf(t, x.Peer), x, versions)
		if _, refused := errors.AsType[*control.Refusal](err); err == nil || refused {
			return
		}
	}
}

func (a *Agent) notifyAt(ctx context.Context, t target, x tunnel.Notify, versions control.Versions) error {
	ctx, cancel := context.WithTimeout(ctx, notifyTime)
	defer cancel()
	if x.Closed {
		return a.transport.Delete(ctx, t, x.Tunnel)
	}
	return a.transport.Patch(ctx, t, x.Tunnel, control.Patch{Draining: true, Versions: versions})
}

// offerCall is an offer of a peer that waits for the machine's answer.
type offerCall struct {
	peer   identity.Node
	psk    func(answerer wg.Key) (wg.Key, error)
	result chan offerResult // capacity 1: the loop never waits for who asked

	mu   sync.Mutex // guards gone, and the session while a key is derived from it
	gone bool
}

// leave says that the request, and with it the session, may end.
func (c *offerCall) leave() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
}

var errGone = errors.New("the caller has gone")

func (c *offerCall) key(answerer wg.Key) (wg.Key, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return wg.Key{}, errGone
	}
	return c.psk(answerer)
}

type offerResult struct {
	answer control.Answer
	err    error
}

func (c *offerCall) finish(answer control.Answer, err error) {
	select {
	case c.result <- offerResult{answer, err}:
	default:
	}
}

// reply answers a waiting offer. The key is derived here, while the session that carries the request is sure to live.
func (a *Agent) reply(now time.Time, x tunnel.Reply) {
	c := a.pending[x.Call]
	delete(a.pending, x.Call)
	d := a.devices[x.Tunnel]
	switch {
	case c == nil:
	case x.Refusal != nil:
		c.finish(control.Answer{}, x.Refusal)
	case d == nil:
		c.finish(control.Answer{}, control.Refuse(control.Internal, "no device"))
	default:
		psk, err := c.key(wg.Key(x.Answer.PublicKey))
		if err != nil {
			a.log.Warn("deriving the pre-shared key of a tunnel", "peer", c.peer.Name, "err", err)
			d.broken = true
			c.finish(control.Answer{}, control.Refuse(control.Internal, "no key"))
			a.box.post(func(now time.Time) { a.manager.DeviceFailed(now, x.Tunnel, err) })
			return
		}
		d.psk, d.broken = psk, false
		// The offerer begins its handshake when it has the answer; an initiation
		// that comes before the device knows its peer is lost, and the next one is
		// due in five seconds. So the answer waits for Connect, which is next.
		d.answer = func() { c.finish(x.Answer, nil) }
	}
}

// logEvents tells people: a tunnel that is up or no longer, and on the debug level the rest.
func (a *Agent) logEvents(events []tunnel.Event) {
	for _, e := range events {
		level, text := slog.LevelDebug, "tunnel "+e.To.String()
		switch {
		case e.To == tunnel.Up:
			level = slog.LevelInfo
		case e.To == tunnel.Closed && (e.From == tunnel.Up || e.From == tunnel.Draining):
			level = slog.LevelInfo
		}
		attrs := []any{
			"peer", e.Peer.Name, "tunnel", idPrefix(e.Tunnel), "direction", e.Direction.String(),
			"reason", string(e.Reason), "cause", e.Cause.String(),
		}
		if d := a.devices[e.Tunnel]; d != nil && d.wg != nil {
			attrs = append(attrs, "iface", d.wg.Name())
		}
		if e.Detail != "" {
			attrs = append(attrs, "detail", e.Detail)
		}
		a.log.Log(context.Background(), level, text, attrs...)
	}
}

// firstOf calls the places where a peer may be, one after the other, until one takes it.
func firstOf(ctx context.Context, targets []target, call func(context.Context, target) error) error {
	err := error(errNowhere)
	for _, t := range targets {
		each, cancel := context.WithTimeout(ctx, offerTime)
		err = call(each, t)
		cancel()
		if _, refused := errors.AsType[*control.Refusal](err); err == nil || refused || ctx.Err() != nil {
			return err
		}
	}
	return err
}

var errNowhere = errors.New("no place to call")

// targetsOf are those places: through the mesh if there is a route, and directly.
func (a *Agent) targetsOf(p tunnel.Peer) []target {
	const direct = 3
	var out []target
	if a.routed[p.ID()] {
		out = append(out, target{addr: netip.AddrPortFrom(p.Address(), control.Port), overlay: true, want: expect(p)})
	}
	for _, e := range p.Endpoints[:min(len(p.Endpoints), direct)] {
		out = append(out, target{addr: e, want: expect(p)})
	}
	return out
}
