package kernel

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func nthPrefix(i int) netip.Prefix {
	var a [16]byte
	copy(a[:], []byte{0x20, 1, 0xd, 0xb8, 0, 1})
	binary.BigEndian.PutUint16(a[6:], uint16(i>>8))
	a[8] = byte(i)
	return netip.PrefixFrom(netip.AddrFrom16(a), 72)
}

// In a batch of which each third is refused every change has its own answer, and
// what was there before a refused replacement is still wanted.
func TestApplyAnswersEach(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	dev := veth(t, h, "v0")
	var changes []RouteChange
	for i := range 500 {
		r := Route{Dst: nthPrefix(i), Gateway: addr("fe80::9"), Ifindex: dev, Table: testTable}
		if i%3 == 1 {
			r.Ifindex = 9999
		}
		changes = append(changes, RouteChange{Route: r})
	}
	for i, err := range h.Apply(changes) {
		if (err != nil) != (i%3 == 1) {
			t.Fatalf("change %d: %v", i, err)
		}
		if err != nil && !strings.Contains(err.Error(), changes[i].Route.Dst.String()) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if n, m := len(h.Wanted(testTable)), len(routes(t, h)); n != 333 || m != 333 {
		t.Fatalf("%d wanted, %d in the kernel", n, m)
	}
	// A replacement that is refused, then the same key again in one batch.
	kept := changes[0].Route
	bad, good := kept, kept
	bad.Ifindex, good.Gateway = 9999, addr("fe80::a")
	if answers := h.Apply([]RouteChange{{Route: bad}}); answers[0] == nil {
		t.Fatal("a route by an interface that is not there was taken")
	}
	if got, _ := h.wanted.get(kept.normal().key()); got != kept.normal() {
		t.Errorf("wanted %v, want %v", got, kept)
	}
	if answers := h.Apply([]RouteChange{{Route: bad}, {Route: good}}); answers[0] == nil || answers[1] != nil {
		t.Errorf("answers %v", answers)
	}
	if got, _ := h.wanted.get(kept.normal().key()); got != good.normal() {
		t.Errorf("wanted %v, want %v", got, good)
	}
}

func TestWantedRoutesForgetWhatNobodyHolds(t *testing.T) {
	w := newWantedRoutes()
	for i := range 1000 {
		w.put(Route{Dst: nthPrefix(i), Gateway: addr("fe80::9"), Ifindex: i, Table: 7, Protocol: 42}.normal())
		w.put(Route{Dst: nthPrefix(i), Type: Unreachable, Table: 7, Protocol: 42}.normal())
	}
	if w.usesLink(5) || len(w.tails.numbers) != 1 || len(w.tails.values) > 2 {
		t.Errorf("%d next hops in %d places", len(w.tails.numbers), len(w.tails.values))
	}
	four := Route{Dst: prefix("10.0.0.0/8"), Gateway: addr("fe80::1"), Ifindex: 3, Table: 8}.normal()
	w.put(four)
	if got, ok := w.get(four.key()); !ok || got != four || !w.usesLink(3) || !w.tables()[8] {
		t.Errorf("got %v, want %v", got, four)
	}
	w.delete(four.key())
	for i := range 1000 {
		w.delete(Route{Dst: nthPrefix(i), Table: 7}.normal().key())
	}
	if len(w.routes)+len(w.heads.numbers)+len(w.tails.numbers) != 0 {
		t.Errorf("left: %d routes, %d heads, %d tails", len(w.routes), len(w.heads.numbers), len(w.tails.numbers))
	}
}

// The cost of 10,000 routes, with a Watch that sees its own changes, beside that
// of a bare sender of the same messages. Reported, not asserted.
func TestApplyCost(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const n = 10000
	h := open(t)
	dev := veth(t, h, "v0")
	watch(t, h)
	pass := func(gateway string, isDelete bool) []RouteChange {
		var all []RouteChange
		for i := range n {
			r := Route{Dst: nthPrefix(i), Gateway: addr(gateway), Ifindex: dev, Table: testTable}
			all = append(all, RouteChange{Route: r, Delete: isDelete})
		}
		return all
	}
	for _, c := range []struct {
		name    string
		changes []RouteChange
	}{{"add", pass("fe80::9", false)}, {"replace", pass("fe80::a", false)}, {"delete", pass("fe80::a", true)}} {
		report(t, c.name, n, func() {
			for start := 0; start < n; start += 1000 {
				for _, err := range h.Apply(c.changes[start : start+1000]) {
					must(t, err)
				}
			}
		})
	}
	bare := func(c RouteChange) message {
		if c.Delete {
			return deleteRoute(c.Route.normal())
		}
		return addRoute(c.Route.normal())
	}
	for _, changes := range [][]RouteChange{pass("fe80::9", false), pass("fe80::9", true)} {
		var all []message
		for _, c := range changes {
			all = append(all, bare(c))
		}
		report(t, "bare "+changes[0].String()[:3], n, func() {
			for _, err := range h.socket.exchange(all) {
				must(t, err)
			}
		})
	}
}

func report(t *testing.T, name string, n int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	var u, v unix.Rusage
	runtime.ReadMemStats(&before)
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	begin := time.Now()
	f()
	took := time.Since(begin)
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &v))
	runtime.ReadMemStats(&after)
	cpu := time.Duration(v.Utime.Nano() + v.Stime.Nano() - u.Utime.Nano() - u.Stime.Nano())
	user := time.Duration(v.Utime.Nano() - u.Utime.Nano())
	per := float64(n) / 1000
	t.Logf("%-8s 1,000 routes: %.2f ms, CPU %.2f ms (user %.2f), %.0f allocations of %.0f bytes in sum", name,
		took.Seconds()*1000/per, cpu.Seconds()*1000/per, user.Seconds()*1000/per,
		float64(after.Mallocs-before.Mallocs)/per, float64(after.TotalAlloc-before.TotalAlloc)/per)
}
