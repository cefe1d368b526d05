package lease

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"re6st/internal/lan/advert"
)

var (
	start   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	network = Network{Interface: "eth0", Subnet: netip.MustParsePrefix("10.42.5.0/29")}
	us      = netip.MustParseAddr("10.42.5.1")
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// join gets an address for the machine as it would: discover, then request.
func join(t *testing.T, table *Table, now time.Time, key string) netip.Addr {
	t.Helper()
	offer := table.Handle(now, Message{Kind: Discover, Key: key})
	if offer.Kind != Offer {
		return netip.Addr{}
	}
	ack := table.Handle(now, Message{Kind: Request, Key: key, Requested: offer.Address, Server: us})
	if ack.Kind != Ack || ack.Address != offer.Address || !ack.Store {
		t.Fatalf("%s was offered %v and then answered %+v", key, offer.Address, ack)
	}
	return ack.Address
}

// RFC 2131, section 4.3.1: a machine gets the address that it has or had.
func TestSection4_3_1_SameAddressAgain(t *testing.T) {
	table := New(network)
	a := join(t, table, start, "a")
	b := join(t, table, start, "b")
	if a == b || a == us || !network.Subnet.Contains(a) {
		t.Fatalf("a got %v, b %v", a, b)
	}
	late := start.Add(10 * Time)
	if got := join(t, table, late, "a"); got != a {
		t.Errorf("long after, a got %v instead of %v", got, a)
	}
	// A restart: the leases come from disk.
	again := New(network)
	again.Load(late, table.Leases())
	if got := join(t, again, late, "b"); got != b {
		t.Errorf("after a restart b got %v instead of %v", got, b)
	}
	// Without the file too, by the name alone.
	if got := join(t, New(network), start, "a"); got != a {
		t.Errorf("with the leases lost, a got %v instead of %v", got, a)
	}
}

func TestFullPool(t *testing.T) {
	table := New(network)
	for i := range 5 { // 8 less the subnet's, ours, the broadcast address
		if !join(t, table, start, fmt.Sprint(i)).IsValid() {
			t.Fatalf("no address for machine %d", i)
		}
	}
	if got := join(t, table, start, "late"); got.IsValid() {
		t.Errorf("a sixth machine got %v", got)
	}
	// The first to end is the first to be given to another.
	table.Handle(start.Add(time.Minute), Message{Kind: Release, Key: "3", Client: table.byKey["3"], Server: us})
	freed := table.byKey["3"]
	if got := join(t, table, start.Add(2*time.Minute), "late"); got != freed {
		t.Errorf("a sixth machine got %v, want the released %v", got, freed)
	}
}

// RFC 2131, section 4.3.2: what each kind of request is answered.
func TestSection4_3_2_Requests(t *testing.T) {
	table := New(network)
	a := join(t, table, start, "a")
	for _, c := range []struct {
		name string
		m    Message
		want Kind
	}{
		{"renewing", Message{Key: "a", Client: a}, Ack},
		{"rebooted, with its own", Message{Key: "a", Requested: a}, Ack},
		{"rebooted, with another's", Message{Key: "b", Requested: a}, Nak},
		{"rebooted, with one that is free here", Message{Key: "c", Requested: addr("10.42.5.6")}, Ack},
		{"rebooted, from another network", Message{Key: "d", Requested: addr("192.168.1.5")}, Ignore},
		{"renewing, from another network", Message{Key: "d", Client: addr("192.168.1.5")}, Ignore},
		{"selecting ours, out of the pool", Message{Key: "d", Requested: addr("10.42.5.1"), Server: us}, Nak},
		{"selecting the broadcast address", Message{Key: "d", Requested: addr("10.42.5.7"), Server: us}, Nak},
		{"selecting another server", Message{Key: "d", Requested: addr("192.168.1.5"), Server: addr("192.168.1.1")}, Ignore},
		{"selecting without an address", Message{Key: "d", Server: us}, Nak},
		{"from nobody", Message{Requested: a, Server: us}, Ignore},
		{"with a name too long", Message{Key: strings.Repeat("x", MaxKey+1), Requested: a, Server: us}, Ignore},
	} {
		c.m.Kind = Request
		if got := table.Handle(start.Add(time.Minute), c.m); got.Kind != c.want {
			t.Errorf("%s: answered %v, want %v", c.name, got.Kind, c.want)
		}
	}
	if got := table.Handle(start, Message{Kind: Request, Key: "e", Requested: addr("192.168.1.5"), Server: addr("192.168.1.1")}); got.Foreign != addr("192.168.1.1") {
		t.Errorf("another server was not noticed: %+v", got)
	}
}

// RFC 2131, section 4.3.3: an address that is in use rests, and only its machine
// can say so.
func TestSection4_3_3_Decline(t *testing.T) {
	table := New(network)
	a := join(t, table, start, "a")
	if got := table.Handle(start, Message{Kind: Decline, Key: "b", Requested: a, Server: us}); got.Store {
		t.Error("a stranger declined an address")
	}
	table.Handle(start, Message{Kind: Decline, Key: "a", Requested: a, Server: us})
	if got := join(t, table, start.Add(time.Minute), "a"); got == a || !got.IsValid() {
		t.Errorf("after declining %v it got %v", a, got)
	}
	if got := table.Handle(start.Add(2*declineTime), Message{Kind: Request, Key: "c", Requested: a, Server: us}); got.Kind != Ack {
		t.Errorf("the declined address never comes back: %+v", got)
	}
}

// Two machines never have one address, no machine has ours or one of no host,
// and the table never grows beyond its pool, whatever they say.
func TestNoAddressTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := New(network)
		now := start
		held := map[netip.Addr]string{}
		until := map[netip.Addr]time.Time{}
		addresses := rapid.SampledFrom([]netip.Addr{
			{}, us, addr("10.42.5.0"), addr("10.42.5.2"), addr("10.42.5.3"), addr("10.42.5.6"), addr("10.42.5.7"), addr("10.42.5.8"), addr("192.168.1.1"), addr("::1"),
		})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "seconds")) * time.Second)
			m := Message{
				Kind: Kind(rapid.IntRange(0, 6).Draw(t, "kind")), Key: rapid.StringMatching("[a-g]?").Draw(t, "key"),
				Requested: addresses.Draw(t, "requested"), Server: addresses.Draw(t, "server"), Client: addresses.Draw(t, "client"),
			}
			got := table.Handle(now, m)
			if m.Kind == Release || m.Kind == Decline {
				for a, k := range held {
					if k == m.Key && (a == m.Client || a == m.Requested) {
						delete(held, a)
					}
				}
			}
			if got.Kind == Ack && m.Kind == Request {
				if owner, isHeld := held[got.Address]; isHeld && owner != m.Key && now.Before(until[got.Address]) {
					t.Fatalf("%v belongs to %s and was given to %s", got.Address, owner, m.Key)
				}
				held[got.Address], until[got.Address] = m.Key, now.Add(Time)
			}
			if got.Address.IsValid() && (!network.Subnet.Contains(got.Address) || got.Address == us || got.Address == addr("10.42.5.0") || got.Address == addr("10.42.5.7")) {
				t.Fatalf("%v was given to %s", got.Address, m.Key)
			}
			if len(table.byAddr) > 5 || len(table.byKey) > 5 {
				t.Fatalf("the table has %d addresses of %d machines", len(table.byAddr), len(table.byKey))
			}
		}
	})
}

func TestLoadRefusesWhatItCouldNotHaveGiven(t *testing.T) {
	table := New(network)
	good := Lease{"a", addr("10.42.5.2"), start.Add(time.Minute)}
	table.Load(start, []Lease{
		good,
		{"b", addr("10.42.5.2"), start},
		{"a", addr("10.42.5.3"), start},
		{"c", us, start},
		{"d", addr("192.168.1.1"), start},
		{"", addr("10.42.5.4"), start},
		{"e", netip.Addr{}, start},
		{strings.Repeat("x", MaxKey+1), addr("10.42.5.5"), start},
		{"f", addr("10.42.5.6"), start.AddDate(100, 0, 0)},
	})
	got := table.Leases()
	want := []Lease{good, {"f", addr("10.42.5.6"), start.Add(Time)}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("loaded %v, want %v", got, want)
	}
}

func TestPlan(t *testing.T) {
	own := netip.MustParsePrefix("10.42.5.0/24")
	for _, c := range []struct {
		wishes []string
		want   string
	}{
		{[]string{"eth0"}, "eth0 10.42.5.0/24 10.42.5.1/24"},
		{[]string{"eth0=10.42.5.0/25", "eth1=10.42.5.128/25"}, "eth0 10.42.5.0/25 10.42.5.1/25 eth1 10.42.5.128/25 10.42.5.129/25"},
		{[]string{"eth0", "eth1"}, "say which part"},
		{[]string{"eth0=10.42.6.0/24"}, "not of this node's"},
		{[]string{"eth0=10.42.0.0/16"}, "not of this node's"},
		{[]string{"eth0=10.42.5.1/24"}, "behind its length"},
		{[]string{"eth0=10.42.5.0/31"}, "too small"},
		{[]string{"eth0=2001:db8::/64"}, "not of this node's"},
		{[]string{"eth0=10.42.5.0/25", "eth1=10.42.5.64/26"}, "overlap"},
		{[]string{"eth0=10.42.5.0/25", "eth0=10.42.5.128/25"}, "named twice"},
	} {
		wishes, err := advert.ParseWishes(c.wishes)
		if err != nil {
			t.Fatal(err)
		}
		all, err := Plan(own, wishes)
		got := fmt.Sprint(err)
		if err == nil {
			got = ""
			for _, n := range all {
				got += fmt.Sprintf("%s %v %v ", n.Interface, n.Subnet, n.Gateway())
			}
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%v: %s, want %s", c.wishes, got, c.want)
		}
	}
	if _, err := Plan(netip.Prefix{}, []advert.Wish{{Interface: "eth0"}}); err == nil {
		t.Error("a node without IPv4 got a network")
	}
}
