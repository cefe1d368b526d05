package tunnel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"re6st/tunnel/control"
)

// solo is one manager whose world is the test: verbs feed it, wants look at what it does.
type solo struct {
	t       *testing.T
	m       *Manager
	now     time.Time
	actions []Action
	events  []Event
	call    uint64
}

func peerN(n int) Peer {
	prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x42, byte(n >> 8), byte(n)}), 64)
	return Peer{
		Name: fmt.Sprintf("p%d", n), Prefix: prefix,
		Endpoints: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), control.Port)},
	}
}

// newSolo is the node of the number given.
func newSolo(t *testing.T, self int) *solo {
	t.Helper()
	s := &solo{t: t, now: epoch}
	s.m = New(Config{
		Self: peerN(self).ID(), Networks: []netip.Prefix{simNetwork}, MTU: 1420, Silence: 30 * time.Second,
		Rand: rand.New(rand.NewPCG(1, uint64(self))), Parameters: DefaultParameters(),
	})
	s.m.SetAddresses(s.now, []netip.Addr{netip.MustParseAddr("198.18.99.1")})
	s.after(0)
	return s
}

// after lets time pass, waking the manager when it wants.
func (s *solo) after(d time.Duration) {
	s.t.Helper()
	until := s.now.Add(d)
	for range 10_000 {
		s.m.Advance(s.now)
		s.drain()
		next := s.m.Deadline()
		if next.After(until) {
			s.now = until
			return
		}
		if next.After(s.now) {
			s.now = next
		}
	}
	s.t.Fatal("the deadline does not move")
}

func (s *solo) drain() {
	out := s.m.Output()
	s.actions = append(s.actions, out.Actions...)
	s.events = append(s.events, out.Events...)
}

func (s *solo) knows(ns ...int) {
	for _, n := range ns {
		s.m.LearnPeers(s.now, []Peer{peerN(n)}, false)
	}
	s.after(0)
}

// take removes the first action of a type, which must be there.
func take[A Action](s *solo, why string) A {
	s.t.Helper()
	for i, x := range s.actions {
		if a, ok := x.(A); ok {
			s.actions = append(s.actions[:i:i], s.actions[i+1:]...)
			return a
		}
	}
	var zero A
	s.t.Fatalf("%s: no %T among %+v", why, zero, s.actions)
	return zero
}

// none checks that there is no action of a type.
func none[A Action](s *solo, why string) {
	s.t.Helper()
	for _, x := range s.actions {
		if a, ok := x.(A); ok {
			s.t.Errorf("%s: %+v", why, a)
		}
	}
}

func (s *solo) answerProbe(p Probe, room int) {
	s.m.Probed(s.now, p.Peer.ID(), ProbeResult{
		Target: p.Targets[0], RTT: 10 * time.Millisecond,
		Info: control.NodeInfo{Protocol: 1, Name: p.Peer.Name, Prefix: p.Peer.Prefix, Endpoints: p.Peer.Endpoints, Room: room},
	})
	s.after(0)
}

func (s *solo) makeDevice(c Create) {
	s.m.Created(s.now, c.Tunnel, control.Key{1, byte(len(s.events))}, 6327, nil)
	s.after(0)
}

func answerOf(n int) control.Answer {
	return control.Answer{Protocol: 1, PublicKey: control.Key{2, byte(n)}, Port: 6400, MTU: 1400, Endpoints: []netip.AddrPort{
		netip.MustParseAddrPort("198.18.50.1:6400"), netip.MustParseAddrPort("198.18.50.2:6400"),
	}}
}

// offered brings the manager to the point where it has sent its offer to a node.
func (s *solo) offered(n int) SendOffer {
	s.t.Helper()
	s.knows(n)
	s.answerProbe(take[Probe](s, "a candidate is asked first"), 5)
	s.makeDevice(take[Create](s, "it answered"))
	return take[SendOffer](s, "the device is there")
}

// up brings the manager to a tunnel with a node.
func (s *solo) up(n int) control.TunnelID {
	s.t.Helper()
	o := s.offered(n)
	s.m.Answered(s.now, o.Tunnel, answerOf(n), nil)
	s.after(0)
	take[Connect](s, "the offer was accepted")
	s.m.Observed(s.now, o.Tunnel, Stats{LastHandshake: s.now, RxBytes: 100})
	s.after(0)
	take[Attach](s, "the handshake is done")
	return o.Tunnel
}

func (s *solo) receiveOffer(n int, id control.TunnelID) uint64 {
	return s.receiveOfferFor(n, id, control.Elected)
}

func (s *solo) receiveOfferFor(n int, id control.TunnelID, reason control.Reason) uint64 {
	s.call++
	s.m.Offered(s.now, s.call, peerN(n), netip.MustParseAddrPort("198.18.77.7:999"), id, control.Offer{
		Protocol: 1, PublicKey: control.Key{3, byte(n), id[0]}, Port: 6500, MTU: 1380, Reason: reason,
	})
	s.after(0)
	return s.call
}

func (s *solo) wantRefusal(code control.Code, why string) {
	s.t.Helper()
	if r := take[Reply](s, why); r.Refusal == nil || r.Refusal.Code != code {
		s.t.Errorf("%s: %+v, want %q", why, r, code)
	}
}

func (s *solo) state(id control.TunnelID) State {
	if t := s.m.tunnels[id]; t != nil {
		return t.state
	}
	return Closed
}

func TestOutgoingTunnel(t *testing.T) {
	s := newSolo(t, 1)
	s.knows(2)
	p := take[Probe](s, "a new peer")
	if len(p.Targets) != 1 || p.Targets[0].Overlay || p.Targets[0].Addr != peerN(2).Endpoints[0] {
		t.Errorf("%+v", p)
	}
	s.answerProbe(p, 5)
	c := take[Create](s, "it answered")
	s.makeDevice(c)
	o := take[SendOffer](s, "the device is there")
	if o.Offer.MTU != 1420 || o.Offer.Port != 6327 || len(o.Offer.Endpoints) != 1 || o.Offer.Reason != control.Random || o.Target != p.Targets[0] {
		t.Errorf("%+v", o)
	}
	s.m.Answered(s.now, o.Tunnel, answerOf(2), nil)
	s.after(0)
	first := take[Connect](s, "the offer was accepted")
	if want := netip.AddrPortFrom(peerN(2).Endpoints[0].Addr(), 6400); first.Endpoint != want {
		t.Errorf("first endpoint %v, want %v: there it answered just now", first.Endpoint, want)
	}
	s.after(handshakeEvery)
	if second := take[Connect](s, "no handshake"); second.Endpoint != answerOf(2).Endpoints[0] {
		t.Errorf("second endpoint %v", second.Endpoint)
	}
	none[Attach](s, "not up yet")
	s.m.Observed(s.now, o.Tunnel, Stats{LastHandshake: s.now, RxBytes: 1})
	s.after(0)
	take[Attach](s, "handshake")
	if st := s.m.Snapshot(s.now); len(st) != 1 || st[0].State != Up || st[0].MTU != 1400 || st[0].Direction != Out {
		t.Errorf("%+v", st)
	}
	s.after(handshakeEvery * 3)
	none[Connect](s, "up: no more endpoints")
}

// Of two offers that cross the one of the smaller router-id stands.
func TestCrossingOffers(t *testing.T) {
	t.Run("ours stands", func(t *testing.T) {
		s := newSolo(t, 1)
		o := s.offered(2)
		s.receiveOffer(2, control.TunnelID{9})
		s.wantRefusal(control.Crossed, "we are the smaller")
		s.m.Answered(s.now, o.Tunnel, answerOf(2), nil)
		s.after(0)
		s.receiveOffer(2, control.TunnelID{9})
		s.wantRefusal(control.Crossed, "it may have been sent before our offer arrived")
		if s.state(o.Tunnel) != Handshaking {
			t.Error("ours does not stand")
		}
	})
	t.Run("theirs stands", func(t *testing.T) {
		s := newSolo(t, 3)
		o := s.offered(2)
		s.receiveOffer(2, control.TunnelID{9})
		take[Destroy](s, "ours goes")
		none[Notify](s, "the peer refuses ours by itself")
		s.makeDevice(take[Create](s, "theirs stands"))
		if r := take[Reply](s, "accepted"); r.Refusal != nil {
			t.Errorf("%+v", r)
		}
		s.m.Answered(s.now, o.Tunnel, control.Answer{}, control.Refuse(control.Crossed, ""))
		s.after(0)
		if s.state(control.TunnelID{9}) != Handshaking || len(s.m.tunnels) != 1 {
			t.Error("theirs does not stand")
		}
	})
	t.Run("a candidate yields", func(t *testing.T) {
		s := newSolo(t, 1)
		s.knows(2)
		s.receiveOffer(2, control.TunnelID{9})
		take[Create](s, "we have offered nothing yet")
	})
}

// A peer that offers anew has lost what we believe to have.
func TestNewOfferReplacesATunnelThatThePeerLost(t *testing.T) {
	s := newSolo(t, 1)
	old := s.up(2)
	s.after(crossWindow)
	s.receiveOffer(2, control.TunnelID{9})
	take[Detach](s, "the old one is dead")
	take[Destroy](s, "the old one is dead")
	take[Create](s, "the new one")
	if s.state(old) != Closed || len(s.m.tunnels) != 1 {
		t.Error("two tunnels with one peer")
	}
}

func TestSilentTunnelIsClosed(t *testing.T) {
	s := newSolo(t, 1)
	id := s.up(2)
	for i := range 10 {
		s.after(20 * time.Second)
		s.m.Observed(s.now, id, Stats{LastHandshake: s.now, RxBytes: uint64(200 + i)})
	}
	if s.state(id) != Up {
		t.Fatal("closed, though the peer was heard every 20 s")
	}
	s.after(31 * time.Second)
	if s.state(id) != Closed {
		t.Fatal("silent for 31 s, but not closed")
	}
	take[Detach](s, "the routing first")
	take[Notify](s, "perhaps the peer hears us")
	take[Destroy](s, "then the device")
	s.after(5 * time.Second)
	take[Probe](s, "the peer is asked again")
}

func TestDrain(t *testing.T) {
	s := newSolo(t, 1)
	id := s.up(2)
	s.m.drain(s.now, s.m.tunnels[id], "test")
	s.after(0)
	if c := take[SetCost](s, "drain"); c.Extra != drainCost {
		t.Errorf("%+v", c)
	}
	if n := take[Notify](s, "drain"); n.Closed {
		t.Errorf("%+v", n)
	}
	s.m.SetRoutes(s.now, nil, []Destination{{Peer: peerN(2).ID(), Metric: 44, Via: peerN(2).ID(), Alternate: Unreachable}})
	s.after(drainLeast + 2*time.Second)
	if s.state(id) != Draining {
		t.Error("closed while a route uses it")
	}
	s.m.SetRoutes(s.now, nil, nil)
	s.after(2 * time.Second)
	if s.state(id) != Closed {
		t.Error("nothing uses it, but it is not closed")
	}
	if n := take[Notify](s, "closed"); !n.Closed {
		t.Errorf("%+v", n)
	}
}

func TestDrainThatIsNotObeyedIsGivenUp(t *testing.T) {
	s := newSolo(t, 1)
	id := s.up(2)
	s.m.Patched(s.now, peerN(3).ID(), id, control.Patch{Draining: true})
	if s.state(id) != Up {
		t.Fatal("drained by a stranger")
	}
	s.m.Patched(s.now, peerN(2).ID(), id, control.Patch{Draining: true})
	s.after(0)
	take[SetCost](s, "the peer drains")
	s.after(2*bounds[Draining] + time.Second)
	if s.state(id) != Closed {
		t.Error("the peer never closed it")
	}
}

func TestExchangeKeepsTheVictimUntilTheNewOneCarriesRoutes(t *testing.T) {
	s := newSolo(t, 1)
	victim := s.up(2)
	s.knows(3)
	s.actions = nil
	if x := s.m.byPeer[peerN(3).ID()]; x != nil {
		s.m.end(s.now, x, Stopped, "test")
	}
	s.m.peers[peerN(3).ID()].probing = false
	s.m.open(s.now, Open{Peer: peerN(3).ID(), Reason: control.Elected, Replaces: peerN(2).ID()})
	s.after(0)
	s.answerProbe(take[Probe](s, "the new one"), 5)
	s.makeDevice(take[Create](s, "the new one"))
	o := take[SendOffer](s, "the new one")
	s.m.Answered(s.now, o.Tunnel, answerOf(3), nil)
	s.m.Observed(s.now, o.Tunnel, Stats{LastHandshake: s.now, RxBytes: 1})
	s.after(3 * time.Second)
	if s.state(victim) != Up || s.state(o.Tunnel) != Up {
		t.Fatalf("victim %v, new %v", s.state(victim), s.state(o.Tunnel))
	}
	s.m.SetRoutes(s.now, nil, []Destination{{Peer: peerN(3).ID(), Metric: 44, Via: peerN(3).ID(), Alternate: 88}})
	s.after(time.Second)
	if s.state(victim) != Draining {
		t.Errorf("the new one carries routes, but the victim is %v", s.state(victim))
	}
}

func TestRefusals(t *testing.T) {
	for _, x := range []struct {
		err   error
		quiet time.Duration // in which the peer is left alone, of a node in an old mesh with another tunnel
	}{
		{control.Refuse(control.Full, ""), 40 * time.Second},
		{control.Refuse(control.Busy, "").After(2 * time.Minute), 80 * time.Second},
		{control.Refuse(control.Outdated, ""), 40 * time.Minute},
		{control.Refuse(control.Denied, ""), 40 * time.Minute},
		{errors.New("no route to host"), 3 * time.Second},
	} {
		s := newSolo(t, 1)
		id := s.up(9)
		s.m.started = s.now.Add(-2 * middleAge)
		o := s.offered(2)
		s.m.Answered(s.now, o.Tunnel, control.Answer{}, x.err)
		s.actions = nil
		for range int(x.quiet / time.Second) {
			s.m.Observed(s.now, id, Stats{LastHandshake: s.now, RxBytes: uint64(s.now.UnixNano())})
			s.after(time.Second)
		}
		none[Probe](s, fmt.Sprintf("left alone after %v", x.err))
		none[SendOffer](s, fmt.Sprintf("left alone after %v", x.err))
	}
}

// A pair whose keys were exchanged but whose handshake never came is left alone for an hour, less in need.
func TestPairThatCannotTalkIsLeftAloneForAnHour(t *testing.T) {
	s := newSolo(t, 1)
	keep := s.up(9)
	s.m.started = s.now.Add(-2 * middleAge)
	o := s.offered(2)
	s.m.Answered(s.now, o.Tunnel, answerOf(2), nil)
	s.after(bounds[Handshaking] + time.Second)
	if s.state(o.Tunnel) != Closed {
		t.Fatal("still shaking hands")
	}
	s.actions = nil
	probes := 0
	for range 40 * 6 {
		s.m.Observed(s.now, keep, Stats{LastHandshake: s.now, RxBytes: uint64(s.now.UnixNano())})
		s.after(10 * time.Second)
	}
	for _, a := range s.actions {
		if _, ok := a.(Probe); ok {
			probes++
		}
	}
	if probes > 0 {
		t.Errorf("%d probes within forty minutes", probes)
	}
	s.m.end(s.now, s.m.tunnels[keep], Lost, "test")
	s.after(5 * time.Second)
	take[Probe](s, "without any tunnel every peer is worth a try")
}

// The node is told 1000 names for one victim address: few packets go there.
func TestT14_OneVictimUnderManyNames(t *testing.T) {
	s := newSolo(t, 1)
	victim := netip.MustParseAddr("203.0.113.66")
	for n := range 1000 {
		p := peerN(n + 10)
		p.Endpoints = []netip.AddrPort{netip.AddrPortFrom(victim, uint16(1000+n))}
		s.m.LearnPeers(s.now, []Peer{p}, true)
	}
	calls := 0
	for range 600 {
		s.after(time.Second)
		for _, a := range s.actions {
			p, ok := a.(Probe)
			if !ok {
				continue
			}
			var failed []netip.AddrPort
			for _, x := range p.Targets {
				calls++
				failed = append(failed, x.Addr)
			}
			s.m.Probed(s.now, p.Peer.ID(), ProbeResult{Failed: failed, Err: errSilence})
		}
		s.actions = nil
	}
	// Each call is some six packets: one packet a second is a hundred calls in ten minutes.
	if calls > 100 {
		t.Errorf("%d calls to the victim in ten minutes", calls)
	}
	t.Logf("%d calls to the victim in ten minutes", calls)
}

func TestStopRefusesAndCloses(t *testing.T) {
	s := newSolo(t, 1)
	id := s.up(2)
	s.m.Stop(s.now)
	s.after(0)
	take[Detach](s, "stop")
	take[Destroy](s, "stop")
	if s.state(id) != Closed {
		t.Error("not closed")
	}
	s.receiveOffer(3, control.TunnelID{7})
	s.wantRefusal(control.Closing, "we are stopping")
	s.after(time.Hour)
	none[Probe](s, "stopped")
}

// An endpoint in the mesh's own prefix would send the tunnel through itself.
func TestEndpointsInsideTheMeshAreNeverCalled(t *testing.T) {
	s := newSolo(t, 1)
	p := peerN(2)
	p.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("[2001:db8:42:2::1]:6326"), netip.MustParseAddrPort("127.0.0.1:6326")}
	s.m.LearnPeers(s.now, []Peer{p}, false)
	s.after(time.Minute)
	none[Probe](s, "no endpoint is usable")
}

// When a prefix comes to be announced in the mesh, endpoints in it are forgotten.
func TestEndpointsInAnAnnouncedPrefixAreForgotten(t *testing.T) {
	s := newSolo(t, 1)
	p := peerN(2)
	p.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("198.51.100.7:6326")}
	s.m.LearnPeers(s.now, []Peer{p}, false)
	s.m.SetAddresses(s.now, []netip.Addr{netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("203.0.113.9")})
	s.m.SetNetworks(s.now, []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48"), netip.MustParsePrefix("198.51.100.0/24")})
	s.after(time.Minute)
	none[Probe](s, "no endpoint is usable")
	s.m.LearnPeers(s.now, []Peer{p}, false)
	s.after(time.Minute)
	none[Probe](s, "nor is it when it is heard again")
	if own := s.m.ownEndpoints(6327); len(own) != 1 || own[0].Addr() != netip.MustParseAddr("203.0.113.9") {
		t.Errorf("we offer %v, want the endpoint outside of it alone", own)
	}
}

// What a third node says of a peer does not touch what the peer itself said, while that works.
func TestHintsDoNotSpoilAProvenPeer(t *testing.T) {
	s := newSolo(t, 1)
	s.up(2)
	lie := peerN(2)
	lie.Name, lie.Endpoints = "mallory", []netip.AddrPort{netip.MustParseAddrPort("203.0.113.66:1")}
	s.m.LearnPeers(s.now, []Peer{lie}, true)
	got := s.m.Peers()[0]
	if got.Name != "p2" || len(got.Endpoints) != 1 || got.Endpoints[0] != peerN(2).Endpoints[0] {
		t.Errorf("%+v", got)
	}
	s.m.LearnPeers(s.now, []Peer{{Name: "p3", Prefix: peerN(3).Prefix, Endpoints: lie.Endpoints}}, true)
	s.m.LearnPeers(s.now, []Peer{peerN(3)}, true)
	for _, p := range s.m.Peers() {
		if p.Name == "p3" && len(p.Endpoints) != 2 {
			t.Errorf("of an unproven peer all hints are kept: %+v", p)
		}
	}
}

func TestPeersAreBounded(t *testing.T) {
	s := newSolo(t, 1)
	for n := range peersMax + 500 {
		s.m.learn(s.now, peerN(n+2), true)
	}
	if len(s.m.peers) != peersMax {
		t.Errorf("%d peers", len(s.m.peers))
	}
}

// Whatever happens in whatever order: the books are right, deadlines lie ahead, every call is answered once, what was
// created is destroyed, and nothing outlives its bound.
func TestManagerProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		now := epoch
		m := New(Config{
			Self: peerN(5).ID(), Networks: []netip.Prefix{simNetwork}, MTU: 1420, Silence: 30 * time.Second,
			Rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0)), Parameters: DefaultParameters(),
		})
		m.parameters.MaxIncoming = 3
		devices := make(map[control.TunnelID]bool)
		calls := make(map[uint64]bool)
		var probes []Probe
		var ids []control.TunnelID
		apply := func() {
			for range 100 {
				m.Advance(now)
				for _, a := range m.Output().Actions {
					switch a := a.(type) {
					case Probe:
						probes = append(probes, a)
					case Create:
						devices[a.Tunnel] = true
						ids = append(ids, a.Tunnel)
					case Destroy:
						delete(devices, a.Tunnel)
					case Reply:
						if !calls[a.Call] {
							r.Fatalf("call %d is answered twice, or was never made", a.Call)
						}
						delete(calls, a.Call)
					}
				}
				if m.Deadline().After(now) {
					return
				}
			}
			r.Fatalf("the deadline does not move: %v", m.Deadline().Sub(now))
		}
		peerOf := func() int { return rapid.IntRange(1, 9).Draw(r, "peer") }
		idOf := func() control.TunnelID {
			if len(ids) > 0 && rapid.IntRange(0, 3).Draw(r, "known") > 0 {
				return rapid.SampledFrom(ids).Draw(r, "id")
			}
			return control.TunnelID{byte(rapid.IntRange(1, 20).Draw(r, "new"))}
		}
		var call uint64
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			switch rapid.IntRange(0, 11).Draw(r, "input") {
			case 0:
				now = now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(r, "ms")) * time.Millisecond)
			case 1:
				m.LearnPeers(now, []Peer{peerN(peerOf())}, rapid.Bool().Draw(r, "hint"))
			case 2, 3:
				call++
				calls[call] = true
				m.Offered(now, call, peerN(peerOf()), netip.AddrPort{}, idOf(), control.Offer{Protocol: 1, PublicKey: control.Key{1}, MTU: 1400, Reason: control.Random})
			case 4, 5:
				if len(probes) > 0 {
					p := probes[0]
					probes = probes[1:]
					res := ProbeResult{Err: errSilence}
					if rapid.Bool().Draw(r, "ok") {
						res = ProbeResult{Target: p.Targets[0], RTT: time.Millisecond, Info: control.NodeInfo{Protocol: 1, Room: rapid.IntRange(0, 1).Draw(r, "room")}}
					}
					m.Probed(now, p.Peer.ID(), res)
				}
			case 6, 7:
				var err error
				if rapid.IntRange(0, 4).Draw(r, "fail") == 0 {
					err = errSilence
				}
				m.Created(now, idOf(), control.Key{1}, 1, err)
			case 8:
				var err error
				if rapid.Bool().Draw(r, "fail") {
					err = rapid.SampledFrom([]error{errSilence, control.Refuse(control.Full, ""), control.Refuse(control.Crossed, "")}).Draw(r, "err")
				}
				m.Answered(now, idOf(), control.Answer{Protocol: 1, PublicKey: control.Key{2}, MTU: 1400, Port: 1}, err)
			case 9:
				m.Observed(now, idOf(), Stats{LastHandshake: now, RxBytes: uint64(now.UnixNano())})
			case 10:
				m.Patched(now, peerN(peerOf()).ID(), idOf(), control.Patch{Draining: true})
			case 11:
				m.Deleted(now, peerN(peerOf()).ID(), idOf())
			}
			apply()
			m.checkInvariants(r, now)
		}
		m.Stop(now)
		apply()
		if len(m.tunnels) != 0 || len(calls) != 0 {
			r.Fatalf("%d tunnels and %d calls are left", len(m.tunnels), len(calls))
		}
		for id := range devices { // those whose creation has not ended yet
			m.Created(now, id, control.Key{1}, 1, nil)
		}
		apply()
		if len(devices) != 0 {
			r.Fatalf("%d devices are left", len(devices))
		}
	})
}
