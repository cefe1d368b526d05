package babel

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"re6st/babel/wire"
)

// anyKey is one of few destinations, so that inputs meet.
func anyKey(t *rapid.T) key {
	prefix := rapid.SampledFrom([]string{
		"::/0", "2001:db8::/32", "2001:db8::/33", "2001:db8::/64", "2001:db8::/65", "2001:db8::/127", "2001:db8::/128",
		"2001:db8::1/128", "0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/32", "::a00:0/104",
	})
	from := rapid.SampledFrom([]string{"", "::/0", "2001:db8:1::/48", "2001:db8:2::/48", "2001:db8:2::/49"})
	k := key{prefix: netip.MustParsePrefix(prefix.Draw(t, "prefix"))}
	if s := from.Draw(t, "from"); s != "" {
		k.from = netip.MustParsePrefix(s)
	}
	if rapid.Bool().Draw(t, "another") {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], rapid.Uint64Range(0, 300).Draw(t, "number"))
		k.prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 14: b[6], 15: b[7]}), 128)
	}
	return keyOf(k.prefix, k.from)
}

// The table finds what a map would find, whatever came and went before.
func TestTable_IsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := New(Config{})
		e.entries.seed = rapid.Uint64().Draw(t, "seed")
		model := map[key]*entry{}
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			k := anyKey(t)
			p := e.find(k)
			if p != model[k] {
				t.Fatalf("%v: %p, want %p", k, p, model[k])
			}
			switch {
			case p == nil:
				p = e.entry(k)
				model[k] = p
				if p.key() != k {
					t.Fatalf("%v came back as %v", k, p.key())
				}
			case rapid.Bool().Draw(t, "remove"):
				p.collect()
				delete(model, k)
			}
			if e.entries.count != len(model) {
				t.Fatalf("%d entries, want %d", e.entries.count, len(model))
			}
		}
		checkOrder(t, e, model)
		for k, p := range model {
			p.collect()
			if e.find(k) != nil {
				t.Fatalf("%v is still there", k)
			}
		}
		if n := len(e.entries.slots) + len(e.entries.all) + len(e.froms.numbers); n != 0 {
			t.Fatalf("%d left of what the entries took", n)
		}
		if len(e.sortedEntries()) != 0 {
			t.Fatal("entries that are gone have an order")
		}
	})
}

func checkOrder(t *rapid.T, e *Engine, model map[key]*entry) {
	sorted := e.sortedEntries()
	if len(sorted) != len(model) || !slices.IsSortedFunc(sorted, compareEntries) {
		t.Fatalf("%d entries in order, want %d", len(sorted), len(model))
	}
	walked := slices.SortedFunc(e.entries.each(), func(a, b *entry) int {
		return cmp.Or(comparePrefix(a.prefix(), b.prefix()), comparePrefix(a.from(), b.from()))
	})
	if !slices.Equal(walked, sorted) { // they have one router-id: none
		t.Fatal("the order is not that of prefixes")
	}
}

// The order follows when entries change their router-ids, come and go, and a list
// that was handed out stays as it was.
func TestOrder_IsBroughtUpToDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := New(Config{})
		var old, was []*entry
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			p := e.entry(anyKey(t))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				p.collect()
			case 1:
				old = e.sortedEntries()
				was = slices.Clone(old)
			default:
				p.setAdvertised(advertised{id: RouterID{7: rapid.Byte().Draw(t, "id")}, metric: 1})
			}
		}
		if !slices.Equal(old, was) {
			t.Fatal("a list that was handed out has changed")
		}
		sorted := e.sortedEntries()
		if len(sorted) != e.entries.count || !slices.IsSortedFunc(sorted, compareEntries) {
			t.Fatalf("%d of %d entries, sorted: %v", len(sorted), e.entries.count, slices.IsSortedFunc(sorted, compareEntries))
		}
	})
}

// Alarms ring in order of time, each entry's earliest, however often it moved; and
// the heap stays within twice the entries.
func TestAlarms_RingInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := New(Config{})
		start := rapid.SampledFrom([]instant{1, 1 << 31, ^instant(0) - 50}).Draw(t, "start")
		want := map[*entry]instant{}
		for range rapid.IntRange(0, 500).Draw(t, "steps") {
			p := e.entry(anyKey(t))
			at := (start + instant(rapid.IntRange(0, 100).Draw(t, "at"))).orFirst()
			p.wakeAt(at)
			if was := want[p]; was == 0 || at.isBefore(was) {
				want[p] = at
			}
		}
		if n := len(e.alarms); n > 2*e.entries.count+64 {
			t.Fatalf("%d alarms of %d entries", n, e.entries.count)
		}
		last := start
		for len(e.alarms) > 0 {
			a := e.alarms.pop()
			if a.at.isBefore(last) {
				t.Fatalf("%d after %d", a.at, last)
			}
			last = a.at
			p := e.whose(alarm{a.at, a.number})
			if p == nil {
				continue
			}
			if want[p] != a.at {
				t.Fatalf("rang at %d, want %d", a.at, want[p])
			}
			p.wake = 0
			delete(want, p)
		}
		if len(want) > 0 {
			t.Fatalf("%d entries were never called", len(want))
		}
	})
}

// Times survive the way through an instant: never early, at most 10 ms late, and
// also where instants wrap.
func TestInstant_IsNeverEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := New(Config{})
		e.begin(epoch)
		day := time.Duration(rapid.IntRange(0, 1200).Draw(t, "day")) * 24 * time.Hour
		now := epoch.Add(day + time.Duration(rapid.Int64Range(-int64(time.Minute), int64(24*time.Hour)).Draw(t, "time")))
		e.begin(now)
		d := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "wait"))
		at := e.after(now, d)
		got := e.timeOf(at).Sub(now)
		if got < d || got > d+tickLen {
			t.Fatalf("at %v: %v became %v", now.Sub(epoch), d, got)
		}
		if at.isDue(e.tick(now.Add(d-1-tickLen))) || !at.isDue(e.tick(e.timeOf(at))) {
			t.Fatal("due too early, or not when it should be")
		}
		if isLater := sooner(at, e.after(now, d+2*tickLen)) == at && sooner(0, at) == at && sooner(at, 0) == at; !isLater {
			t.Fatal("the sooner one is not the sooner one")
		}
	})
}

// A route that is told for two years, over the wrap of instants, neither flaps nor
// outlives its neighbour's word.
func TestInstant_RoutesLiveOverTheWrap(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.announce(prefixA, originA, 1, 10)
	s.pass(time.Second)
	for _, day := range []int{1, 247, 249, 496, 497, 498, 700} {
		// The host sleeps; the clock goes on.
		s.now = epoch.Add(time.Duration(day)*24*time.Hour + 100*time.Second)
		for range 3 {
			a.greet()
			a.announce(prefixA, originA, 1, 10)
			s.pass(100 * time.Millisecond)
		}
		s.wantRoute("told again", prefixA, a)
		s.idle(205*time.Second, a)
		s.wantRoute("told 205 s ago", prefixA, a)
		s.idle(10*time.Second, a)
		s.wantRoute("told 215 s ago", prefixA, nil)
		a.announce(prefixA, originA, 2, 10)
	}
}

// The marks, the verdict and the flags of a route do not disturb each other.
func TestRoute_Flags(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r route
		want, verdict := map[flags]bool{}, Accept
		for range 50 {
			f := rapid.SampledFrom([]flags{stale, asked, blocked, smooth, costly}).Draw(t, "flag")
			is := rapid.Bool().Draw(t, "is")
			r.set(f, is)
			want[f] = is
			if rapid.Bool().Draw(t, "judge") {
				verdict = rapid.SampledFrom([]Verdict{Accept, Refuse, Hold}).Draw(t, "verdict")
				r.setVerdict(verdict)
			}
			for f, is := range want {
				if r.is(f) != is {
					t.Fatalf("flag %x: %v", f, r.is(f))
				}
			}
			if r.verdict() != verdict {
				t.Fatalf("verdict %v, want %v", r.verdict(), verdict)
			}
		}
	})
}

// Neighbours tell next hops of others; each is known while a route goes by it, and
// one more than there is room for is refused.
func TestHops_AreCounted(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	hop := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: byte(i >> 8), 15: byte(i)})
	}
	say := func(i int) {
		a.say(&wire.Update{Prefix: nodePrefix(i), Interval: 6000, Seqno: 1, Metric: 10, RouterID: originA, NextHop: hop(i + 1)})
	}
	for i := range hopsMax + 10 {
		say(i)
	}
	for i := range hopsMax + 10 {
		r, ok := s.fib[keyOf(nodePrefix(i), nowhere)]
		if ok != (i < hopsMax) || ok && r.NextHop != hop(i+1) {
			t.Fatalf("next hop %d: %+v, %v", i, r, ok)
		}
	}
	// When one is retracted and forgotten, there is room again.
	a.say(&wire.Update{Prefix: nodePrefix(7), Interval: 6000, Metric: Infinity})
	s.idle(4*time.Minute, a)
	for i := range hopsMax {
		if i != 7 {
			say(i)
		}
	}
	say(hopsMax)
	if r := s.fib[keyOf(nodePrefix(hopsMax), nowhere)]; r.NextHop != hop(hopsMax+1) {
		t.Errorf("no room for another next hop: %+v", r)
	}
	s.e.InterfaceDown(s.now, 1)
	s.drain()
	s.pass(30 * time.Minute)
	if n := len(s.e.gateways.numbers); n != 1 {
		t.Errorf("%d gateways left, want the unreachable one", n)
	}
}
