package tunnel

import (
	"net/netip"
	"testing"

	"re6st/tunnel/control"
)

func TestIncomingTunnel(t *testing.T) {
	s := newSolo(t, 1)
	id := control.TunnelID{9}
	call := s.receiveOffer(2, id)
	none[Reply](s, "the device is not there yet")
	s.makeDevice(take[Create](s, "an offer"))
	r := take[Reply](s, "the device is there")
	if r.Refusal != nil || r.Call != call || r.Answer.MTU != 1380 || r.Answer.Observed.Port() != 999 {
		t.Errorf("%+v", r)
	}
	if c := take[Connect](s, "accepted"); !c.Quiet || c.Endpoint.IsValid() {
		t.Errorf("%+v: the offerer begins", c)
	}
	s.after(handshakeEvery/2 - 1)
	none[Connect](s, "the offerer has its chance")
	s.after(1)
	if c := take[Connect](s, "it did not come through"); c.Quiet || c.Endpoint != netip.MustParseAddrPort("198.18.77.7:6500") {
		t.Errorf("%+v: the peer is where the offer came from", c)
	}
	s.m.Observed(s.now, id, Stats{LastHandshake: s.now})
	s.after(0)
	take[Attach](s, "handshake")
	s.m.DeviceFailed(s.now, id, errSilence)
	s.after(0)
	n := take[Notify](s, "the peer, of which we know only where it called from, is told")
	if !n.Closed || len(n.Targets) == 0 || n.Targets[0].Addr != netip.MustParseAddrPort("198.18.77.7:999") {
		t.Errorf("%+v", n)
	}
}

// The last accepted request for an id wins.
func TestSameOfferAgain(t *testing.T) {
	s := newSolo(t, 1)
	id := control.TunnelID{9}
	s.receiveOffer(2, id)
	second := s.receiveOffer(2, id)
	s.wantRefusal(control.Busy, "the first call of two")
	s.makeDevice(take[Create](s, "one device"))
	none[Create](s, "one device only")
	if r := take[Reply](s, "answer"); r.Call != second || r.Refusal != nil {
		t.Errorf("%+v", r)
	}
	take[Connect](s, "accepted")
	third := s.receiveOffer(2, id)
	if r := take[Reply](s, "the answer was lost"); r.Call != third || r.Refusal != nil {
		t.Errorf("%+v", r)
	}
	take[Connect](s, "with the keys of the last exchange")
	s.receiveOffer(3, id)
	s.wantRefusal(control.Invalid, "the id is another's")
	if len(s.m.tunnels) != 1 {
		t.Errorf("%d tunnels", len(s.m.tunnels))
	}
}

func TestT15_IncomingQuota(t *testing.T) {
	s := newSolo(t, 1)
	accepted, full, busy := 0, 0, 0
	for n := 2; n < 200; n++ {
		id := control.TunnelID{byte(n), byte(n >> 8), 1}
		s.receiveOffer(n, id)
		if s.m.tunnels[id] == nil {
			switch r := take[Reply](s, "refused"); r.Refusal.Code {
			case control.Full:
				full++
			case control.Busy:
				busy++
			default:
				t.Errorf("%+v", r)
			}
			continue
		}
		if accepted++; accepted <= 10 {
			s.actions = nil // its device takes for ever
		} else {
			s.makeDevice(take[Create](s, "accepted"))
			take[Reply](s, "accepted")
			s.m.Observed(s.now, id, Stats{LastHandshake: s.now})
		}
		s.m.checkInvariants(t, s.now)
	}
	if accepted != s.m.parameters.MaxIncoming || full == 0 {
		t.Errorf("%d accepted, %d full, %d busy", accepted, full, busy)
	}
	if _, room := s.m.Load(); room != 0 {
		t.Errorf("room for %d", room)
	}
}

func TestT15_OneIdentityAsksTooOften(t *testing.T) {
	s := newSolo(t, 1)
	devices := 0
	for i := range 1000 {
		s.receiveOffer(2, control.TunnelID{1, byte(i >> 8), byte(i)})
		for _, a := range s.actions {
			if _, ok := a.(Create); ok {
				devices++
			}
		}
		s.actions = nil
		if len(s.m.tunnels) > 1 {
			t.Fatalf("%d tunnels with one peer", len(s.m.tunnels))
		}
	}
	if devices > offerBurst {
		t.Errorf("%d devices for one identity", devices)
	}
}
