package babel

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
	"unique"

	"re6st/babel/wire"
)

// attachment is the opaque sub-TLVs of a route, as they are on the wire. The
// same one comes by every neighbour, so it is stored once. The zero value is
// none.
type attachment struct{ handle unique.Handle[string] }

func attachmentOf(b []byte) attachment {
	if len(b) == 0 {
		return attachment{}
	}
	return attachment{unique.Make(string(b))}
}

func (a attachment) text() string {
	if a == (attachment{}) {
		return ""
	}
	return a.handle.Value()
}

// carried is the attachment of a neighbour's route. It lies beside the routes,
// so that those without cost nothing.
type carried struct {
	n uint16 // number of the neighbour
	a attachment
}

// attachmentBytesMax bounds what one neighbour makes us store: 128 octets for
// each of as many routes as it may have by default.
const attachmentBytesMax = 128 * routesMaxDefault

// SetAttachment gives a prefix that we originate opaque sub-TLVs, which all
// routers of this kind pass on with the route, bit for bit. None takes them away.
// A change is announced at once.
func (e *Engine) SetAttachment(now time.Time, prefix, from netip.Prefix, list []wire.SubTLV) error {
	if !e.begin(now) || !prefix.IsValid() {
		return nil
	}
	b, err := wire.NewAttachment(list)
	if err != nil {
		return fmt.Errorf("announcing %v: %w", prefix, err)
	}
	p := e.find(keyOf(prefix, from))
	if p == nil || p.own() == nil {
		return fmt.Errorf("attaching to %v: not originated here", prefix)
	}
	p.own().attachment = attachmentOf(b)
	p.reconsider(now)
	return nil
}

// carry notes what came with a neighbour's Update: nothing, if it is too much.
func (p *entry) carry(n *neighbour, b []byte) {
	if len(b) == 0 && (p.x == nil || len(p.x.carried) == 0) {
		return
	}
	a, x := attachmentOf(b), p.extra()
	i := slices.IndexFunc(x.carried, func(c carried) bool { return c.n == n.number })
	switch {
	case i < 0 && a == (attachment{}):
		return
	case i < 0:
		i = len(x.carried)
		x.carried = append(x.carried, carried{n: n.number})
	}
	n.attached += len(a.text()) - len(x.carried[i].a.text())
	if n.attached > attachmentBytesMax {
		n.attached -= len(a.text())
		n.budget.dropped.Attachments++
		a = attachment{}
	}
	if x.carried[i].a = a; a == (attachment{}) {
		x.carried = slices.Delete(x.carried, i, i+1)
	}
}

// attachment is what is announced with the route that the entry has now.
func (p *entry) attachment() attachment {
	if own := p.own(); own != nil {
		return own.attachment
	}
	if n := p.next(); n != nil {
		return p.carriedFrom(n)
	}
	return attachment{}
}

// told is the attachment that was announced last.
func (p *entry) told() attachment {
	if p.x == nil {
		return attachment{}
	}
	return p.x.told
}

func (p *entry) noteTold() {
	if a := p.attachment(); a != p.told() {
		p.extra().told = a
	}
}

func (p *entry) carriedFrom(n *neighbour) attachment {
	if p.x != nil {
		for _, c := range p.x.carried {
			if c.n == n.number {
				return c.a
			}
		}
	}
	return attachment{}
}
