package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const testTable = 326

// veth makes a link with a second end to go to, up, and gives its index. What the
// kernel adds to a link in the background is there when it returns.
func veth(t *testing.T, h *Host, name string) int {
	t.Helper()
	ip(t, fmt.Sprintf("link add %s type veth peer name %s-p", name, name))
	ip(t, fmt.Sprintf("link set %s up", name))
	ip(t, fmt.Sprintf("link set %s-p up", name))
	index := 0
	for _, end := range []string{name + "-p", name} {
		await(t, end+" is up", 15*time.Second, func() bool {
			l, err := h.LinkByName(end)
			if err != nil || !l.Up {
				return false
			}
			index = l.Index
			_, err = h.LinkLocal(l.Index)
			local := ip(t, "-6 route show table local dev "+end)
			return err == nil && strings.Contains(local, "local fe80") && strings.Contains(local, "ff00::/8")
		})
	}
	return index
}

func apply(t *testing.T, h *Host, changes ...RouteChange) {
	t.Helper()
	must(t, errors.Join(h.Apply(changes)...))
}

func routes(t *testing.T, h *Host) []Route {
	t.Helper()
	all, err := h.Routes(testTable)
	must(t, err)
	SortRoutes(all)
	return all
}

func TestApplyReplacesInPlace(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	dev := veth(t, h, "v0")
	for _, dst := range []string{"2001:db8:42:1::/64", "10.42.1.0/24"} {
		base := Route{Dst: prefix(dst), Priority: 1024, Table: testTable, Protocol: Protocol}
		for n, change := range []func(*Route){
			func(r *Route) { r.Gateway, r.Ifindex = addr("fe80::1"), dev },
			func(r *Route) { r.Gateway, r.Ifindex = addr("fe80::2"), dev },
			func(r *Route) { r.Type = Unreachable },
			func(r *Route) { r.Gateway, r.Ifindex = addr("fe80::3"), dev },
			func(r *Route) { r.Ifindex = dev },
			func(r *Route) { r.Type = Throw },
		} {
			r := base
			change(&r)
			apply(t, h, RouteChange{Route: r})
			if diff := cmp.Diff([]Route{r}, routes(t, h), cmp.Comparer(samePrefix), cmp.Comparer(sameAddr)); diff != "" {
				t.Fatalf("step %d of %s (-want +got):\n%s", n, dst, diff)
			}
		}
		apply(t, h, RouteChange{Route: base, Delete: true})
		apply(t, h, RouteChange{Route: base, Delete: true}) // no error: it is not there
		if left := routes(t, h); len(left) != 0 {
			t.Fatalf("left after deletion: %v", left)
		}
	}
}

func samePrefix(a, b netip.Prefix) bool { return a == b }
func sameAddr(a, b netip.Addr) bool     { return a == b }

func TestApplyKeepsSourcesApart(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	dev := veth(t, h, "v0")
	def := func(src, via string) Route {
		r := Route{Dst: prefix("::/0"), Gateway: addr(via), Ifindex: dev, Priority: 1024, Table: testTable, Protocol: Protocol}
		if src != "" {
			r.Src = prefix(src)
		}
		return r
	}
	a, b := def("2001:db8:1::/48", "fe80::1"), def("2001:db8:2::/48", "fe80::2")
	apply(t, h, RouteChange{Route: a}, RouteChange{Route: b})
	got := ip(t, "-6 route show table 326")
	want := "default from 2001:db8:1::/48 via fe80::1 dev v0 proto babel metric 1024 pref medium\n" +
		"default from 2001:db8:2::/48 via fe80::2 dev v0 proto babel metric 1024 pref medium"
	if got != want {
		t.Fatalf("ip says\n%s\nwant\n%s", got, want)
	}
	apply(t, h, RouteChange{Route: a, Delete: true})
	if diff := cmp.Diff([]Route{b}, routes(t, h), cmp.Comparer(samePrefix), cmp.Comparer(sameAddr)); diff != "" {
		t.Fatalf("after deleting the first (-want +got):\n%s", diff)
	}
}

func TestApplyAnswersEachChange(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	dev := veth(t, h, "v0")
	var changes []RouteChange
	for i := range 500 {
		r := Route{Dst: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)}), 48), Gateway: addr("fe80::1"), Ifindex: dev, Table: testTable}
		if i%10 == 3 {
			r.Ifindex = 9999
		}
		changes = append(changes, RouteChange{Route: r})
	}
	changes = append(changes, RouteChange{Route: Route{Table: testTable}})
	answers := h.Apply(changes)
	for i, err := range answers {
		switch {
		case i == 500:
			if err == nil || !strings.Contains(err.Error(), "without destination") {
				t.Errorf("change without destination: %v", err)
			}
		case i%10 == 3:
			if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "dev 9999") {
				t.Errorf("change %d: error %v, want ENODEV and the route", i, err)
			}
		case err != nil:
			t.Errorf("change %d: %v", i, err)
		}
	}
	if got := len(routes(t, h)); got != 450 {
		t.Errorf("%d routes, want 450", got)
	}
	if got := len(h.Wanted(testTable)); got != 450 {
		t.Errorf("%d wanted, want 450", got)
	}
}

// ipRoute is what ip -j says of a route.
type ipRoute struct {
	Type     string
	Dst      string
	From     string
	Gateway  string
	Via      struct{ Family, Host string }
	Dev      string
	Protocol string
	Metric   uint32
}

// secondOpinion is the table as ip(8) sees it, in the words of Route.String.
func secondOpinion(t *testing.T, h *Host) []string {
	t.Helper()
	links, err := h.Links()
	must(t, err)
	index := make(map[string]int)
	for _, l := range links {
		index[l.Name] = l.Index
	}
	var all []string
	for _, fam := range []string{"-4", "-6"} {
		out, err := tryIP("-j " + fam + " route show table 326")
		if err != nil && strings.Contains(out, "does not exist") {
			continue
		}
		must(t, err)
		var found []ipRoute
		if out != "" {
			must(t, json.Unmarshal([]byte(out), &found))
		}
		for _, f := range found {
			all = append(all, f.String(fam, index))
		}
	}
	return all
}

func (f ipRoute) String(fam string, index map[string]int) string {
	full := map[string]string{"-4": "0.0.0.0/0", "-6": "::/0"}
	host := map[string]string{"-4": "/32", "-6": "/128"}
	complete := func(s string) string {
		switch {
		case s == "default":
			return full[fam]
		case !strings.Contains(s, "/"):
			return s + host[fam]
		}
		return s
	}
	s := ""
	if f.Type != "" && f.Type != "unicast" {
		s = f.Type + " "
	}
	s += complete(f.Dst)
	if f.From != "" {
		s += " from " + complete(f.From)
	}
	if via := f.Gateway + f.Via.Host; via != "" {
		s += " via " + via
	}
	if s[0] != 'u' && s[0] != 't' {
		s += fmt.Sprintf(" dev %d", index[f.Dev])
	}
	return s + fmt.Sprintf(" table 326 metric %d proto 42", f.Metric)
}

func TestA13_DumpEqualsWanted(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	devices := []int{veth(t, h, "v0"), veth(t, h, "v1")}
	r := rand.New(rand.NewPCG(3, 13))
	for state := range 20 {
		var changes []RouteChange
		for range 50 {
			changes = append(changes, RouteChange{Route: randomRoute(r, devices), Delete: r.IntN(3) == 0})
		}
		apply(t, h, changes...)
		var found, wanted []string
		for _, r := range routes(t, h) {
			found = append(found, r.String())
		}
		for _, r := range h.Wanted(testTable) {
			wanted = append(wanted, r.String())
		}
		if diff := cmp.Diff(wanted, found); diff != "" {
			t.Fatalf("state %d: dump and wanted differ (-want +got):\n%s", state, diff)
		}
		ours := make(map[string]bool)
		for _, s := range found {
			ours[s] = true
		}
		other := secondOpinion(t, h)
		for _, s := range other {
			if !ours[s] {
				t.Errorf("state %d: ip shows %q, we do not", state, s)
			}
		}
		if len(other) != len(found) || len(found) < 10 {
			t.Fatalf("state %d: %d routes, ip shows %d", state, len(found), len(other))
		}
	}
}

func randomRoute(r *rand.Rand, devices []int) Route {
	route := Route{Priority: uint32(1 + r.IntN(2)), Table: testTable, Protocol: Protocol, Type: RouteType(r.IntN(3))}
	length := []int{0, 48, 56, 64, 128}[r.IntN(5)]
	route.Dst, _ = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0x42, 0, byte(r.IntN(8)), 15: byte(r.IntN(4))}).Prefix(length)
	if r.IntN(3) == 0 {
		route.Src, _ = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(r.IntN(4))}).Prefix(48)
	}
	if r.IntN(4) == 0 {
		route.Dst, _ = netip.AddrFrom4([4]byte{10, 42, byte(r.IntN(8)), 0}).Prefix([]int{0, 16, 24}[r.IntN(3)])
		route.Src = netip.Prefix{}
	}
	if route.Type == Unicast {
		route.Gateway = netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(1 + r.IntN(5))})
		route.Ifindex = devices[r.IntN(len(devices))]
	}
	return route
}

func TestLinkEvents(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	watch(t, h)
	s, err := h.SubscribeLinks()
	must(t, err)
	defer s.Close()
	idle, err := h.SubscribeLinks() // one who never reads does not disturb
	must(t, err)
	defer idle.Close()
	if got := s.Take(); len(got) != 1 || !got[0].Link.Loopback {
		t.Fatalf("at first %v, want lo", got)
	}
	seen := make(map[string]LinkEvent)
	wait := func(what string, holds func() bool) {
		await(t, what, 15*time.Second, func() bool {
			for _, e := range s.Take() {
				seen[e.Link.Name] = e
			}
			return holds()
		})
	}
	index := veth(t, h, "v0")
	wait("v0 is told as up", func() bool { return seen["v0"].Link.Up && seen["v0"].Link.Index == index })
	ip(t, "link set v0 down")
	wait("v0 is told as down", func() bool { return !seen["v0"].Link.Up && !seen["v0"].Removed })
	ip(t, "link set v0 up")
	ip(t, "link set v0 mtu 1300 alias our") // of a link that is down the kernel would not tell
	wait("its MTU and alias are told", func() bool { return seen["v0"].Link.MTU == 1300 && seen["v0"].Link.Alias == "our" })
	ip(t, "link del v0")
	wait("v0 is told as removed", func() bool { return seen["v0"].Removed && seen["v0-p"].Removed })
	if n := len(idle.Take()); n > 4 {
		t.Errorf("%d events are kept for 3 links", n)
	}
}
