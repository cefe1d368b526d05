package kernel

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// Written by hand after linux/rtnetlink.h and linux/fib_rules.h, for a
// little-endian host. That the kernel agrees is shown in namespaces.
func TestRouteMessageGolden(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("big-endian host")
	}
	for _, c := range []struct {
		name string
		m    message
		want string
	}{
		{
			"source-specific default",
			addRoute(Route{Dst: prefix("::/0"), Src: prefix("2001:db8:42::/48"), Gateway: addr("fe80::1"), Ifindex: 7, Priority: 1024, Table: 326, Protocol: 42}),
			`70000000 1800 0105 00000000 00000000
			 0a 00 30 00 00 2a 00 01 00000000
			 1400 0100 00000000000000000000000000000000
			 1400 0200 20010db8004200000000000000000000
			 0800 0f00 46010000
			 0800 0600 00040000
			 0800 0400 07000000
			 1400 0500 fe800000000000000000000000000001`,
		},
		{
			"IPv4 by an IPv6 next hop (RFC 9229)",
			addRoute(Route{Dst: prefix("10.42.0.0/16"), Gateway: addr("fe80::1"), Ifindex: 7, Priority: 1024, Table: 326, Protocol: 42}),
			`54000000 1800 0105 00000000 00000000
			 02 10 00 00 00 2a 00 01 00000000
			 0800 0100 0a2a0000
			 0800 0f00 46010000
			 0800 0600 00040000
			 0800 0400 07000000
			 1600 1200 0a00 fe800000000000000000000000000001 0000`,
		},
		{
			"deletion names key and protocol only",
			deleteRoute(Route{Dst: prefix("2001:db8:42::/48"), Type: Unreachable, Priority: 1024, Table: 326, Protocol: 42}),
			`40000000 1900 0100 00000000 00000000
			 0a 30 00 00 00 2a ff 00 00000000
			 1400 0100 20010db8004200000000000000000000
			 0800 0f00 46010000
			 0800 0600 00040000`,
		},
		{
			"rule: not fwmark M lookup T",
			rule{family: unix.AF_INET6, priority: 32800, mark: 0x6e36, invert: true, table: 326, protocol: 42}.message(unix.RTM_NEWRULE),
			`44000000 2000 0506 00000000 00000000
			 0a 00 00 00 00 00 00 01 02000000
			 0800 0600 20800000
			 0800 0a00 366e0000
			 0800 1000 ffffffff
			 0800 0f00 46010000
			 0500 1500 2a000000`,
		},
		{
			"rule: suppress_prefixlength 0 with a table above 255",
			rule{family: unix.AF_INET, priority: 26004, table: 326, suppress: true, protocol: 42}.message(unix.RTM_NEWRULE),
			`3c000000 2000 0506 00000000 00000000
			 02 00 00 00 00 00 00 01 00000000
			 0800 0600 94650000
			 0800 0f00 46010000
			 0800 0e00 00000000
			 0500 1500 2a000000`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := strings.Join(strings.Fields(c.want), "")
			if got := hex.EncodeToString(c.m); got != want {
				t.Errorf("message:\n got %s\nwant %s", got, want)
			}
		})
	}
}

var anyRoute = rapid.Custom(func(t *rapid.T) Route {
	r := Route{
		Type:     RouteType(rapid.IntRange(0, 2).Draw(t, "type")),
		Priority: rapid.Uint32Min(1).Draw(t, "priority"),
		Table:    rapid.Uint32Min(1).Draw(t, "table"),
		Protocol: rapid.Uint8().Draw(t, "protocol"),
	}
	if rapid.Bool().Draw(t, "ipv4") {
		r.Dst = anyPrefix(t, 4, "dst")
	} else {
		r.Dst = anyPrefix(t, 16, "dst")
		if rapid.Bool().Draw(t, "specific") {
			r.Src = anyPrefix(t, 16, "src")
		}
	}
	if r.Type == Unicast {
		r.Ifindex = rapid.IntRange(1, 1<<30).Draw(t, "ifindex")
		if rapid.Bool().Draw(t, "gateway") {
			r.Gateway = anyPrefix(t, 16, "via").Addr()
		}
		if rapid.Bool().Draw(t, "sourced") {
			r.PrefSrc = anyPrefix(t, r.Dst.Addr().BitLen()/8, "prefsrc").Addr()
		}
	}
	return r.normal()
})

func anyPrefix(t *rapid.T, size int, label string) netip.Prefix {
	b := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, label)
	a, _ := netip.AddrFromSlice(b)
	p, _ := a.Prefix(rapid.IntRange(0, size*8).Draw(t, label+" length"))
	return p
}

func TestRouteMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRoute.Draw(t, "route")
		if r.Protocol == 0 {
			r.Protocol = Protocol
		}
		f, err := parseRoute(addRoute(r)[headerLen:])
		if err != nil {
			t.Fatalf("parsing %v: %v", r, err)
		}
		if got := f.normal(); got != r {
			t.Fatalf("got %v, want %v", got, r)
		}
	})
}

func TestRuleMessageRoundTrip(t *testing.T) {
	p := Plan{Networks: []netip.Prefix{prefix("2001:db8:42::/48"), prefix("10.42.0.0/16")}}.withDefaults()
	for _, r := range p.rules(beside{announced: p.Networks, origins: []netip.Prefix{prefix("192.168.7.0/24")}}) {
		got, foreign, err := parseRule(r.message(unix.RTM_NEWRULE)[headerLen:])
		if err != nil || foreign || got != r {
			t.Errorf("rule %v: got %v, foreign %v, err %v", r, got, foreign, err)
		}
	}
}

// Truncated at every byte, a message is refused or read short, and never more.
func TestT13_TruncatedRoute(t *testing.T) {
	whole := addRoute(Route{Dst: prefix("::/0"), Src: prefix("2001:db8::/32"), Gateway: addr("fe80::1"), Ifindex: 7, Priority: 1, Table: 326, Protocol: 42})[headerLen:]
	for n := range whole {
		f, err := parseRoute(whole[:n])
		if err != nil && !errors.Is(err, errMessage) {
			t.Errorf("%d bytes: error %v is not of its class", n, err)
		}
		if err == nil && n < rtmsgLen {
			t.Errorf("%d bytes: read as %v", n, f)
		}
	}
}

func FuzzT13_ParseRoute(f *testing.F) {
	f.Add([]byte(addRoute(Route{Dst: prefix("::/0"), Src: prefix("2001:db8::/32"), Gateway: addr("fe80::1"), Ifindex: 7, Table: 326, Protocol: 42})[headerLen:]))
	f.Add([]byte(addRoute(Route{Dst: prefix("10.0.0.0/8"), Gateway: addr("fe80::1"), Ifindex: 7, Table: 326, Protocol: 42})[headerLen:]))
	f.Add([]byte(addRoute(Route{Dst: prefix("2001:db8::/32"), Type: Throw, Table: 326})[headerLen:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := parseRoute(b)
		if err != nil {
			return
		}
		if !found.Dst.IsValid() {
			t.Errorf("route without destination: %v", found.Route)
		}
		// What was read can be written and read again.
		again, err := parseRoute(addRoute(found.Route)[headerLen:])
		if err == nil && again.Route.key() != found.Route.key() {
			t.Errorf("got %v, then %v", found.Route, again.Route)
		}
	})
}

func FuzzT13_ParseEvent(f *testing.F) {
	f.Add([]byte(addRoute(Route{Dst: prefix("::/0"), Ifindex: 7, Table: 326})))
	f.Add([]byte(rule{family: unix.AF_INET6, priority: 26000, jump: 32766, protocol: 42}.message(unix.RTM_NEWRULE)))
	f.Add([]byte(newMessage(unix.RTM_NEWLINK, 0, make([]byte, ifinfomsgLen)...).attr(unix.IFLA_IFNAME, []byte("eth0\x00")...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &Host{wanted: newWantedRoutes(), socket: &socket{port: 1}}
		_ = eachMessage(b, func(hd header, body []byte) error {
			_, _, _ = parseRule(body)
			_, _ = parseLink(body)
			_, _ = parseAddress(body)
			_ = errnoOf(hd, body)
			return h.heed(&dirt{}, hd, body)
		})
	})
}

func TestErrnoOfExplains(t *testing.T) {
	body := native.AppendUint32(nil, ^uint32(unix.EINVAL)+1)
	body = append(body, make([]byte, headerLen)...)
	body = native.AppendUint16(body, attrLen+6)
	body = native.AppendUint16(body, nlmsgerrAttrMsg)
	body = append(body, "no so\x00"...)
	err := errnoOf(header{kind: unix.NLMSG_ERROR, flags: flagCapped | flagAckTLVs}, body)
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "no so") {
		t.Errorf("error %v, want EINVAL with the kernel's sentence", err)
	}
}
