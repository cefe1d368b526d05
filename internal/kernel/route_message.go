package kernel

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// rtmsg of linux/rtnetlink.h: family, destination length, source length, tos,
// table, protocol, scope, type, u32 flags.
const rtmsgLen = unix.SizeofRtMsg

// scopeNowhere in a deletion matches every scope.
const scopeNowhere = unix.RT_SCOPE_NOWHERE

const rtaNHID = 30 // RTA_NH_ID, which x/sys has not

var kernelTypes = [...]uint8{
	Unicast:     unix.RTN_UNICAST,
	Unreachable: unix.RTN_UNREACHABLE,
	Throw:       unix.RTN_THROW,
}

func routeTypeOf(rtn uint8) (RouteType, bool) {
	switch rtn {
	case unix.RTN_UNICAST:
		return Unicast, true
	case unix.RTN_UNREACHABLE:
		return Unreachable, true
	case unix.RTN_THROW:
		return Throw, true
	}
	return 0, false
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func addRoute(r Route) message { return appendAddRoute(nil, r) }

// appendAddRoute replaces in place: there is no moment without the route. Without
// NLM_F_REPLACE the kernel would add a second next hop to an IPv6 route.
func appendAddRoute(m message, r Route) message {
	scope := uint8(unix.RT_SCOPE_UNIVERSE)
	if r.Dst.Addr().Is4() && r.Type == Unicast && !r.Gateway.IsValid() {
		scope = unix.RT_SCOPE_LINK // fib_create_info refuses a wider scope without a gateway
	}
	m = m.route(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, r, scope, kernelTypes[r.Type])
	if r.Ifindex != 0 {
		m = m.attrUint32(unix.RTA_OIF, uint32(r.Ifindex))
	}
	if r.Gateway.IsValid() {
		m = m.gateway(r)
	}
	if r.PrefSrc.IsValid() {
		m = m.attrAddr(unix.RTA_PREFSRC, r.PrefSrc)
	}
	return m
}

func deleteRoute(r Route) message { return appendDeleteRoute(nil, r) }

// appendDeleteRoute names only the key and our protocol, so that it finds our
// route whatever its next hop has become, and never another program's.
func appendDeleteRoute(m message, r Route) message {
	return m.route(unix.RTM_DELROUTE, 0, r, scopeNowhere, 0)
}

func (m message) route(kind, flags uint16, r Route, scope, rtn uint8) message {
	var fixed [rtmsgLen]byte
	fixed[0] = family(r.Dst.Addr())
	fixed[1] = uint8(r.Dst.Bits())
	if r.Src.IsValid() {
		fixed[2] = uint8(r.Src.Bits())
	}
	fixed[4] = unix.RT_TABLE_UNSPEC
	if r.Table < 256 {
		fixed[4] = uint8(r.Table)
	}
	fixed[5], fixed[6], fixed[7] = r.Protocol, scope, rtn
	m = m.begin(kind, flags, fixed[:]...)
	m = m.attrAddr(unix.RTA_DST, r.Dst.Addr())
	if r.Src.IsValid() {
		m = m.attrAddr(unix.RTA_SRC, r.Src.Addr())
	}
	m = m.attrUint32(unix.RTA_TABLE, r.Table)
	return m.attrUint32(unix.RTA_PRIORITY, r.Priority)
}

// gateway writes RTA_VIA (u16 family, address) where the families differ: RFC
// 9229, an IPv4 destination by an IPv6 next hop.
func (m message) gateway(r Route) message {
	if family(r.Gateway) == family(r.Dst.Addr()) {
		return m.attrAddr(unix.RTA_GATEWAY, r.Gateway)
	}
	m = m.attrHeader(unix.RTA_VIA, 2+r.Gateway.BitLen()/8)
	m = native.AppendUint16(m, uint16(family(r.Gateway)))
	return m.addr(r.Gateway).sized()
}

// foundRoute is an entry as the kernel says it, with what Route leaves out.
type foundRoute struct {
	Route
	rtn    uint8 // the kernel's type, ours or not
	cloned bool  // an exception of the cache, no entry of the table
	many   bool  // several next hops, or a next-hop object: never ours
}

// parseRoute reads the body of RTM_NEWROUTE or RTM_DELROUTE.
func parseRoute(b []byte) (foundRoute, error) {
	if len(b) < rtmsgLen {
		return foundRoute{}, fmt.Errorf("%w: route of %d bytes", errMessage, len(b))
	}
	f := foundRoute{rtn: b[7], cloned: native.Uint32(b[8:])&unix.RTM_F_CLONED != 0}
	f.Type, _ = routeTypeOf(b[7])
	f.Table, f.Protocol = uint32(b[4]), b[5]
	dst, src, err := unspecified(b[0])
	if err != nil {
		return foundRoute{}, err
	}
	err = eachAttr(b[rtmsgLen:], func(kind uint16, v []byte) error {
		return f.read(kind, v, &dst, &src)
	})
	if err != nil {
		return foundRoute{}, err
	}
	if f.Dst, err = dst.Prefix(int(b[1])); err != nil {
		return foundRoute{}, fmt.Errorf("%w: destination: %w", errMessage, err)
	}
	if b[2] != 0 {
		if f.Src, err = src.Prefix(int(b[2])); err != nil {
			return foundRoute{}, fmt.Errorf("%w: source: %w", errMessage, err)
		}
	}
	if f.Type != Unicast {
		// IPv6 says that an unreachable route is on lo.
		f.Gateway, f.Ifindex, f.PrefSrc = netip.Addr{}, 0, netip.Addr{}
	}
	return f, nil
}

func unspecified(fam uint8) (dst, src netip.Addr, err error) {
	switch fam {
	case unix.AF_INET:
		return netip.IPv4Unspecified(), netip.IPv4Unspecified(), nil
	case unix.AF_INET6:
		return netip.IPv6Unspecified(), netip.IPv6Unspecified(), nil
	}
	return dst, src, fmt.Errorf("%w: route of family %d", errMessage, fam)
}

func (f *foundRoute) read(kind uint16, v []byte, dst, src *netip.Addr) (err error) {
	switch kind {
	case unix.RTA_DST:
		*dst, err = addrLike(*dst, v)
	case unix.RTA_SRC:
		*src, err = addrLike(*src, v)
	case unix.RTA_GATEWAY:
		f.Gateway, err = addrLike(*dst, v)
	case unix.RTA_PREFSRC:
		f.PrefSrc, err = addrLike(*dst, v)
	case unix.RTA_VIA:
		if len(v) < 2 {
			return fmt.Errorf("%w: RTA_VIA of %d bytes", errMessage, len(v))
		}
		var ok bool
		if f.Gateway, ok = netip.AddrFromSlice(v[2:]); !ok {
			return fmt.Errorf("%w: RTA_VIA of %d bytes", errMessage, len(v))
		}
	case unix.RTA_TABLE:
		f.Table, err = uint32Of(v)
	case unix.RTA_PRIORITY:
		f.Priority, err = uint32Of(v)
	case unix.RTA_OIF:
		var n uint32
		n, err = uint32Of(v)
		f.Ifindex = int(n)
	case unix.RTA_MULTIPATH, rtaNHID:
		f.many = true
	}
	return err
}

// addrLike reads an address of the same family as a.
func addrLike(a netip.Addr, v []byte) (netip.Addr, error) {
	if len(v)*8 != a.BitLen() {
		return netip.Addr{}, fmt.Errorf("%w: address of %d bytes", errMessage, len(v))
	}
	got, _ := netip.AddrFromSlice(v)
	return got, nil
}
