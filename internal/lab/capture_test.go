package lab

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The captures of scenarios pass by finding nothing: here they must find.
func TestCaptureFindsWhatIsPlanted(t *testing.T) {
	l, a, b, _ := pair(t)
	mesh := netip.MustParsePrefix(Network)
	inner := netip.MustParseAddr("2001:db8:42:1::1")
	tunnel := l.Connect(a, b, "re6st-1", "re6st-1")
	tunnel.A.Add(netip.MustParsePrefix("203.0.113.1/24"), netip.PrefixFrom(inner, 64))
	tunnel.B.Add(netip.MustParsePrefix("203.0.113.2/24"), netip.MustParsePrefix("2001:db8:42:1::2/64"))
	prefix := mesh.Addr().As16()
	start := func() *Capture {
		return l.Capture([]netip.Prefix{mesh}, map[string][]byte{"address of the mesh": prefix[:6]}, b)
	}
	send := func(network, to, payload string) {
		t.Helper()
		c, err := a.Conn(network, netip.MustParseAddrPort(to), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, to, payload, want string
	}{
		{"canary on the underlay", "192.0.2.2:9", "x" + Canary, "payload of a stream in clear"},
		{"mesh address on the underlay", "[2001:db8:1::2]:9", "x" + string(prefix[:6]), "address of the mesh in clear"},
		{"Babel on the underlay", "192.0.2.2:6696", "x", "Babel in clear"},
		{"outer packet inside the mesh", "203.0.113.2:9", "x", "outer packet inside the mesh"},
	}
	for _, tt := range tests {
		c := start()
		send("udp", tt.to, tt.payload)
		wantPing(t, a, netip.MustParseAddrPort(tt.to).Addr()) // it came after
		r := c.Stop()
		if r.Offences == 0 || !strings.Contains(strings.Join(r.Examples, "\n"), tt.want) {
			t.Errorf("%s: found %d offences: %q", tt.name, r.Offences, r.Examples)
		}
	}
	c := start()
	for _, to := range []netip.Addr{addr4b.Addr(), addr6b.Addr(), netip.MustParseAddr("2001:db8:42:1::2")} {
		wantPing(t, a, to)
	}
	r := c.Stop()
	if err := r.Err(); err != nil || r.Underlay == 0 || r.Inner == 0 {
		t.Errorf("lawful traffic: %+v", r)
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 20, 19: 0})
	f.Add([]byte{0x60, 6: 17, 47: 0})
	f.Add([]byte{0x4f, 9: 17, 19: 0}) // header longer than the packet
	args := CaptureArgs{OuterPorts: [2]uint16{1, 65535}, Secrets: map[string][]byte{"s": []byte("s")}}
	f.Fuzz(func(_ *testing.T, b []byte) {
		p, _ := parsePacket(b)
		_ = p.String()
		args.judgeInner(b)
		args.judgeOuter(b)
	})
}

// Behind a gateway, packets of the outside may be in tunnels, but not those of
// the nodes' own underlay.
func TestCaptureJudgesTunnelsOfAMeshWithGateways(t *testing.T) {
	args := captureArgs([]netip.Prefix{netip.MustParsePrefix(Network), netip.MustParsePrefix("10.42.0.0/16")})
	args.addUnderlay(&Port{V4: netip.MustParseAddr("198.18.1.2"), V6: netip.MustParseAddr("2001:db8:f000:1::2")})
	for _, c := range []struct {
		src, dst string
		protocol byte
		kind     byte // of ICMP
		bad      bool
	}{
		{"2001:db8:42:1::1", "2001:db8:42:2::1", 17, 0, false},
		{"2001:db8:42:1::1", "2001:db8:f000:9::2", 6, 0, false},
		{"2001:db8:f000:9::2", "2001:db8:42:1::1", 6, 0, false},
		{"10.42.1.2", "198.18.9.2", 17, 0, false},
		{"fe80::1", "ff02::1:6", 17, 0, false},
		{"2001:db8:f000:1::2", "2001:db8:42:1::1", 58, 3, false},  // a gateway's own answer to a hop limit
		{"198.18.1.2", "198.18.2.2", 1, 3, false},                 // what a kernel says of an outer packet
		{"2001:db8:f000:1::2", "2001:db8:42:1::1", 58, 128, true}, // but no echo
		{"198.18.1.2", "198.18.2.2", 1, 8, true},
		{"2001:db8:f000:1::2", "2001:db8:42:1::1", 17, 0, true},
		{"2001:db8:42:1::1", "2001:db8:f000:1::2", 6, 0, true},
		{"10.42.1.2", "198.18.1.2", 17, 0, true},
		{"2001:db8:f000:9::2", "2001:db8:f000:8::2", 17, 0, true}, // neither end is of the mesh
	} {
		p := packet{src: netip.MustParseAddr(c.src), dst: netip.MustParseAddr(c.dst), protocol: c.protocol, isError: isICMPError(c.protocol, c.kind)}
		if got := !args.mayBeInside(p); got != c.bad {
			t.Errorf("%v: bad %t, want %t", p, got, c.bad)
		}
	}
}
