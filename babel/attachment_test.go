package babel

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

func (n *node) attachmentTo(p netip.Prefix) string {
	if p := n.engine.find(keyOf(p, netip.Prefix{})); p != nil {
		return p.attachment().text()
	}
	return ""
}

// Opaque sub-TLVs travel with their route over three relays, bit for bit, and
// change with it.
func TestAttachmentsTravelUnchanged(t *testing.T) {
	for _, kind := range []Kind{Tunnel, Wired} {
		w := newWorld(t, 1)
		var n []*node
		for i := range 5 {
			n = append(n, w.add())
			if i > 0 {
				w.connect(kind, 5*time.Millisecond, n[i-1], n[i])
			}
		}
		list := []wire.SubTLV{{Type: 112, Body: bytes.Repeat([]byte{0xa5, 0, 0xff}, 30)}, {Type: 119}, {Type: 112, Body: []byte{1}}}
		want, err := wire.NewAttachment(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := n[0].engine.SetAttachment(w.now, n[0].prefix, netip.Prefix{}, list); err != nil {
			t.Fatal(err)
		}
		n[0].drain()
		w.await("the attachment at the other end", 20*time.Second, func() bool { return n[4].attachmentTo(n[0].prefix) == string(want) })
		if got := wire.SubTLVs(n[4].attachmentTo(n[0].prefix)); fmt.Sprint(got) != fmt.Sprint(list) {
			t.Errorf("%v: got %v, want %v", kind, got, list)
		}
		w.run(30 * time.Second)

		list[1].Body = []byte("another")
		want, _ = wire.NewAttachment(list)
		n[0].engine.SetAttachment(w.now, n[0].prefix, netip.Prefix{}, list)
		n[0].drain()
		took := w.await("the changed one, by triggered updates", 3*time.Second, func() bool { return n[4].attachmentTo(n[0].prefix) == string(want) })
		t.Log(kind, "change known after", took)

		w.run(10 * time.Second)
		n[0].engine.SetAttachment(w.now, n[0].prefix, netip.Prefix{}, nil)
		n[0].drain()
		w.await("none any more", 3*time.Second, func() bool { return n[4].attachmentTo(n[0].prefix) == "" })
		w.run(10 * time.Second) // those who know it by a longer way
		for _, x := range n {
			for _, l := range x.engine.links {
				for _, y := range l.neighbours {
					if y.attached != 0 {
						t.Errorf("%d octets of attachments are still counted", y.attached)
					}
				}
			}
		}
	}
}

// A router that knows nothing of them takes them off, and all else is as before.
func TestAttachmentsStripped(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	text, _ := wire.NewAttachment([]wire.SubTLV{{Type: 113, Body: []byte("signed")}})
	u := &wire.Update{Prefix: prefixA, Interval: 6000, Seqno: 1, Metric: 100, RouterID: originA, Attachment: text}
	a.say(u, &wire.Update{Prefix: prefixB, Interval: 6000, Seqno: 1, Metric: 100, RouterID: originA})
	s.pass(100 * time.Millisecond)
	got := map[netip.Prefix]string{}
	for _, h := range s.heard {
		if x, ok := h.tlv.(*wire.Update); ok && h.index == 2 {
			got[x.Prefix] = string(x.Attachment)
		}
	}
	if got[prefixA] != string(text) || got[prefixB] != "" {
		t.Errorf("passed on: %q", got)
	}
	s.heard = nil
	s.idle(6*time.Second, a, b)
	u.Attachment = nil
	a.say(u)
	s.pass(6 * time.Second)
	found := false
	for _, h := range s.heard {
		x, ok := h.tlv.(*wire.Update)
		found = found || ok && h.index == 2 && x.Prefix == prefixA && len(x.Attachment) == 0
	}
	if !found {
		t.Error("the news that there is none any more was not passed on")
	}
	s.wantRoute("the route does not care", prefixA, a)
}

// Those of other types are for whoever sends them: they end here.
func TestOtherUnknownSubTLVsAreNotPassedOn(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Tunnel)
	s.link(2, Tunnel)
	// Sub-TLVs 2 (Diversity), 111, 113 (ours), 120.
	a.raw("060a 0000 000000000000000a 081e 02804000 1770 0001 0064 20010db80042000a 0201 63 6f00 7102 abcd 7801 ff")
	s.pass(100 * time.Millisecond)
	for _, h := range s.heard {
		if x, ok := h.tlv.(*wire.Update); ok && h.index == 2 && string(x.Attachment) != "q\x02\xab\xcd" {
			t.Errorf("passed on: %x", x.Attachment)
		}
	}
	s.wantRoute("the Update counts", prefixA, a)
}

// An import filter sees them; what it holds has them still when it asks again.
func TestImportFilterSeesAttachments(t *testing.T) {
	var seen []string
	verdict := Hold
	s := newScript(t, func(c *Config) {
		c.Import = func(u Update) Verdict {
			seen = append(seen, u.Attachment)
			return verdict
		}
	})
	a := s.link(1, Tunnel)
	text, _ := wire.NewAttachment([]wire.SubTLV{{Type: 112, Body: []byte("signed")}})
	a.say(&wire.Update{Prefix: prefixA, Interval: 6000, Seqno: 1, Metric: 100, RouterID: originA, Attachment: text})
	verdict = Accept
	s.e.FilterChanged(s.now)
	s.drain()
	if len(seen) != 2 || seen[0] != string(text) || seen[1] != string(text) {
		t.Errorf("seen %q", seen)
	}
	s.wantRoute("accepted", prefixA, a)
}

func TestSetAttachmentRefuses(t *testing.T) {
	s := newScript(t, nil)
	if err := s.e.SetAttachment(s.now, prefixA, nowhere, nil); err == nil {
		t.Error("a prefix that is not ours")
	}
	s.e.Originate(s.now, prefixA, nowhere, 0)
	for _, list := range [][]wire.SubTLV{
		{{Type: 111}},
		{{Type: 120}},
		{{Type: 128}},
		{{Type: 112, Body: make([]byte, wire.AttachmentMax-1)}},
		{{Type: 112, Body: make([]byte, 120)}, {Type: 112, Body: make([]byte, 120)}},
	} {
		if err := s.e.SetAttachment(s.now, prefixA, nowhere, list); !errors.Is(err, wire.ErrAttachment) {
			t.Errorf("%d sub-TLVs of type %d: %v", len(list), list[0].Type, err)
		}
	}
	most := []wire.SubTLV{{Type: 112, Body: make([]byte, wire.AttachmentMax-2)}}
	if err := s.e.SetAttachment(s.now, prefixA, nowhere, most); err != nil {
		t.Error(err)
	}
	// The longest Update there is: nothing to be omitted, and a source prefix.
	full := netip.MustParsePrefix("2001:db8:1:2:3:4:5:6/128")
	s.e.Originate(s.now, full, full, 0)
	if err := s.e.SetAttachment(s.now, full, full, most); err != nil {
		t.Error(err)
	}
	a := s.link(1, Tunnel)
	a.say(&wire.RouteRequest{Prefix: full, From: full})
	s.heard = nil
	s.pass(100 * time.Millisecond)
	for _, h := range s.heard {
		if x, ok := h.tlv.(*wire.Update); ok && x.Prefix == full && len(x.Attachment) == wire.AttachmentMax {
			return
		}
	}
	t.Error("the longest Update did not arrive")
}
