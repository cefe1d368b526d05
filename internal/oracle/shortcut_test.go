package oracle

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"re6st/ebpf"
	"re6st/internal/fib"
	"re6st/internal/lab"
)

// withShortcut attaches the eBPF programs to the relay's tunnels and its LAN.
func (w *world) withShortcut() *ebpf.Shortcut {
	w.t.Helper()
	s, err := ebpf.NewShortcut(ebpf.ShortcutConfig{})
	lab.Must(w.t, err)
	w.t.Cleanup(func() { lab.Must(w.t, s.Close()) })
	for _, k := range tunnels {
		lab.Must(w.t, s.Attach(ebpf.Port{Index: indexOf(w.t, k.name()), Kind: fib.Raw}))
	}
	lab.Must(w.t, s.Attach(ebpf.Port{Index: indexOf(w.t, lanName), Kind: fib.Ethernet, Sources: []netip.Prefix{
		netip.MustParsePrefix("2001:db8:42:1::/64"), netip.MustParsePrefix("10.42.0.0/20"),
	}}))
	f := fib.New()
	f.Apply(snapshot(w.t))
	_, add, remove := f.Compile()
	lab.Must(w.t, s.Update(add, remove))
	w.shortcut = s.SetOn
	return s
}

func indexOf(t *testing.T, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	lab.Must(t, err)
	return i.Index
}

func snapshot(t *testing.T) fib.Snapshot {
	var s fib.Snapshot
	for _, line := range append(append([]string{}, routes6...), routes4...) {
		var r fib.Route
		words := strings.Fields(line)
		r.Ordinary = true
		switch words[0] {
		case "unreachable", "throw", "blackhole", "prohibit":
			r.Ordinary, r.Throw = false, words[0] == "throw"
			words = words[1:]
		}
		if words[0] == "default" {
			words[0] = "::/0"
		}
		r.Dst = netip.MustParsePrefix(words[0])
		r.Priority = 1024
		for i := 1; i+1 < len(words); i++ {
			switch words[i] {
			case "from":
				r.Src = netip.MustParsePrefix(words[i+1])
			case "metric":
				if len(words[i+1]) > 5 {
					r.Priority = 1 << 31
				} else if words[i+1] == "100" {
					r.Priority = 100
				}
			case "via":
				if a, err := netip.ParseAddr(words[i+1]); err == nil {
					r.Gateway = a
				}
			case "dev":
				r.Interface = indexOf(t, words[i+1])
			case "nexthop", "mtu":
				r.Ordinary = false
			}
		}
		s.Routes = append(s.Routes, r)
	}
	for _, a := range []string{
		"2001:db8:42:1::1/128", "2001:db8:42:1::/128", "2001:db8:ffff::2/128", "2001:db8:ffff::/128", "ff00::/8", "fe80::/10",
		"10.42.1.1/32", "10.42.0.0/32", "10.42.15.255/32", "192.0.2.2/32", "192.0.2.0/32", "192.0.2.255/32", "127.0.0.0/8",
	} {
		s.Locals = append(s.Locals, fib.Local{Prefix: netip.MustParsePrefix(a)})
	}
	for _, k := range tunnels {
		s.Links = append(s.Links, fib.Link{Index: indexOf(t, k.name()), Kind: fib.Raw, Up: true, MTU: k.mtu})
	}
	s.Links = append(s.Links, fib.Link{Index: indexOf(t, lanName), Kind: fib.Ethernet, Up: true, MTU: 1500})
	for _, n := range []string{network6, network4} {
		p := netip.MustParsePrefix(n)
		s.Rules = append(s.Rules, fib.Rule{IPv4: p.Addr().Is4(), To: p, Lookup: true}, fib.Rule{IPv4: p.Addr().Is4(), From: p, Lookup: true})
	}
	return s
}

// What comes out, and what comes back, is the same with the shortcut as without.
func TestA14_ShortcutIsNeverDifferent(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := tunRelay(t)
	s := w.withShortcut()
	w.rounds(1, count(10000, 1_000_000))
	st, err := s.Stats()
	lab.Must(t, err)
	t.Logf("%+v", st)
}
