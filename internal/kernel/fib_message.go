package kernel

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"re6st/internal/fib"
)

// Attributes that x/sys has not, or not under these names.
const (
	rtaMetrics   = unix.RTA_METRICS
	rtaEncap     = unix.RTA_ENCAP
	rtaNewDst    = unix.RTA_NEWDST
	rtaFlow      = unix.RTA_FLOW
	fraPad       = 18
	fraSuppressG = 13 // FRA_SUPPRESS_IFGROUP
	fraUnused    = 5

	frActNop = 3

	inet6Conf     = 2 // IFLA_INET6_CONF
	devconfMTU6   = 2 // its place in the array
	suppressesOff = 0xffffffff
)

// fibRoute is a route as package fib wants it, and its table. Exceptions of the
// cache are none.
func fibRoute(body []byte) (r fib.Route, table uint32, many, isRoute bool, err error) {
	f, err := parseRoute(body)
	if err != nil || f.cloned {
		return fib.Route{}, 0, false, false, err
	}
	special := f.many
	err = eachAttr(body[rtmsgLen:], func(kind uint16, _ []byte) error {
		switch kind {
		case rtaMetrics, rtaEncap, rtaNewDst, rtaFlow:
			special = true
		}
		return nil
	})
	r = fib.Route{
		RouteKey:  fib.RouteKey{Dst: f.Dst, Src: f.Src, Priority: f.Priority, TOS: body[3]},
		Throw:     f.rtn == unix.RTN_THROW,
		Ordinary:  f.rtn == unix.RTN_UNICAST && !special && body[3] == 0 && f.Ifindex > 0,
		Interface: f.Ifindex, Gateway: f.Gateway,
	}
	return r, f.Table, f.many, true, err
}

// fibLink is an interface as package fib wants it. Up is what the operator set: a
// link without a carrier keeps its routes, and packets are lost there.
func fibLink(body []byte) (fib.Link, error) {
	l, err := parseLink(body)
	if err != nil {
		return fib.Link{}, err
	}
	out := fib.Link{Index: l.Index, MTU: l.MTU, Up: native.Uint32(body[8:])&unix.IFF_UP != 0}
	switch native.Uint16(body[2:]) {
	case unix.ARPHRD_NONE:
		out.Kind = fib.Raw
	case unix.ARPHRD_ETHER:
		out.Kind = fib.Ethernet
	}
	return out, eachAttr(body[ifinfomsgLen:], func(kind uint16, v []byte) error {
		if kind != unix.IFLA_AF_SPEC {
			return nil
		}
		return eachAttr(v, func(family uint16, v []byte) error {
			if family != unix.AF_INET6 {
				return nil
			}
			return eachAttr(v, func(kind uint16, v []byte) error {
				if kind == inet6Conf && len(v) >= 4*(devconfMTU6+1) {
					out.MTU6 = int(native.Uint32(v[4*devconfMTU6:]))
				}
				return nil
			})
		})
	})
}

// fibRule is a policy rule as it concerns packets in transit without a mark, and
// whether it can at all. What is not understood of a rule makes it match more, and
// end what is known: then the stack decides.
func fibRule(body []byte, table uint32) (r fib.Rule, concerns bool, err error) {
	if len(body) < ruleHeaderLen {
		return r, false, fmt.Errorf("%w: rule of %d bytes", errMessage, len(body))
	}
	dst, src, err := unspecified(body[0])
	if err != nil {
		return r, false, nil // of another family, as multicast routing's
	}
	r.IPv4 = body[0] == unix.AF_INET
	asked, action := uint32(body[4]), body[7]
	concerns, strange := action != frActNop, body[3] != 0
	mark, mask := uint32(0), uint32(suppressesOff)
	hasMark := false
	err = eachAttr(body[ruleHeaderLen:], func(kind uint16, v []byte) (err error) {
		n := uint32(0)
		switch kind {
		case fraDst:
			dst, err = addrLike(dst, v)
		case fraSrc:
			src, err = addrLike(src, v)
		case fraFwmark:
			hasMark = true
			mark, err = uint32Of(v)
		case fraFwmask:
			mask, err = uint32Of(v)
		case fraTable:
			asked, err = uint32Of(v)
		case fraSuppressPrefixlen, fraSuppressG:
			n, err = uint32Of(v)
			strange = strange || n != suppressesOff
		case fraIifname: // of packets that this host itself sends
			concerns = concerns && cString(v) != "lo"
			strange = true
		case fraOifname: // as for sockets that are bound to an interface
			concerns = false
		case fraPriority, fraProtocol, fraPad, fraGoto, fraUnused:
		default:
			strange = true
		}
		return err
	})
	if err != nil {
		return r, false, err
	}
	if native.Uint32(body[8:])&fibRuleInvert != 0 {
		return fib.Rule{IPv4: r.IPv4}, true, nil
	}
	if hasMark && mark&mask != 0 {
		return r, false, nil
	}
	if r.To, err = selector(dst, body[1]); err == nil {
		r.From, err = selector(src, body[2])
	}
	r.Lookup = action == frActToTable && asked == table && !strange
	// The local table is known apart.
	if action == frActToTable && asked == unix.RT_TABLE_LOCAL && !r.To.IsValid() && !r.From.IsValid() && !strange {
		concerns = false
	}
	return r, concerns, err
}

func selector(a netip.Addr, bits uint8) (netip.Prefix, error) {
	if bits == 0 {
		return netip.Prefix{}, nil
	}
	p, err := a.Prefix(int(bits))
	if err != nil {
		return p, fmt.Errorf("%w: rule: %w", errMessage, err)
	}
	return p, nil
}
