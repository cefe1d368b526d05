package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

const (
	siteV6    = "2001:db8:cafe::/48"
	siteV4    = "192.168.77.0/24"
	siteNode6 = "2001:db8:cafe::7"
	siteNode4 = "192.168.77.7"
	unlisted  = "2001:db8:bad::/48"
	unused    = "2001:db8:d00d::/48"
)

// site puts a machine on a LAN of the node, numbered from the announced prefixes.
func site(m *lab.Mesh, n *lab.Node) (inside, router lab.Interface) {
	machine := m.Lab.Host("site-" + n.Host.Name)
	link := m.Lab.Connect(machine, n.Host, "eth0", "site0")
	link.B.Add(netip.MustParsePrefix("2001:db8:cafe::1/64"), netip.MustParsePrefix("192.168.77.1/24"))
	link.A.Add(netip.MustParsePrefix(siteNode6+"/64"), netip.MustParsePrefix(siteNode4+"/24"))
	machine.IP("route add 0.0.0.0/0 via 192.168.77.1", "route add ::/0 via 2001:db8:cafe::1")
	return link.A, link.B
}

// wantReached pings until all answer.
func wantReached(m *lab.Mesh, from *lab.Node, to ...string) {
	var addrs []netip.Addr
	for _, text := range to {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	m.Lab.Await(fmt.Sprintf("%v to answer %s", to, from.Name), 20*time.Second, func() error {
		results, err := from.Host.PingAll(addrs, 2*time.Second)
		for _, r := range results {
			if err == nil && !r.OK {
				err = fmt.Errorf("%v: %s", r.To, r.Err)
			}
		}
		return err
	})
}

func owners(n *lab.Node, prefix string) (names []string, err error) {
	routes, err := n.Routes()
	for _, r := range routes {
		if r.Prefix == prefix && r.Installed {
			names = append(names, r.Owner)
		}
	}
	return names, err
}

// A prefix that the certificate lists is reached from everywhere; two nodes that
// announce the same share it, the nearest answers, and the death of one moves the
// traffic. What the certificate does not list, the node refuses to announce; and
// one that does so all the same is ignored by all others.
func TestP18_AnnouncedPrefixes(t *testing.T) {
	t.Parallel()
	allowed := []string{"--announce", siteV6, "--announce", siteV4}
	m := lab.New(t).Mesh(lab.MeshConfig{
		Nodes: 4, Tunnels: 2, Refresh: 5 * time.Minute, Talk: ring(4), Init: []string{"--ipv4", "10.42.0.0/16"},
		Token: func(i int) []string {
			return [][]string{allowed, nil, allowed, {"--announce", unused}}[i]
		},
	})
	// The LANs are there before the mesh: their hosts get their routes back.
	_, first := site(m, m.Nodes[0])
	_, second := site(m, m.Nodes[2])
	far, evil := m.Nodes[1], m.Nodes[3]
	evil.Flags = append(evil.Flags, "--announce", "none")
	m.Start()
	settle(m, 60*time.Second)

	wantReached(m, far, siteNode6, siteNode4)
	if s, err := far.Status(); err != nil || !slices.Contains(s.Announced, siteV6) || !slices.Contains(s.Announced, siteV4) {
		t.Errorf("%s says of others' prefixes %v, %v", far.Name, s.Announced, err)
	}
	// What its owner has no route for is answered, and goes round in no circle.
	out, err := far.Host.Try("ping", "-c", "1", "-W", "3", "2001:db8:cafe:99::1")
	if text := fmt.Sprint(out, err); !strings.Contains(text, "nreachable") && !strings.Contains(text, "No route") {
		t.Errorf("an unused part of the prefix: %s, want to be told", text)
	}
	got, err := owners(far, siteV6)
	if err != nil || len(got) != 1 {
		t.Fatalf("%s reaches %s by %v, %v, want one way", far.Name, siteV6, got, err)
	}
	other := m.Nodes[2]
	dead := m.Nodes[0]
	if got[0] == other.Name {
		other, dead = dead, other
	}
	awaitOwner := func(what string, n *lab.Node) {
		start := time.Now()
		m.Lab.Await(what, 30*time.Second, func() error {
			got, err := owners(far, siteV6)
			if err == nil && !slices.Equal(got, []string{n.Name}) {
				err = fmt.Errorf("%s reaches %s by %v", far.Name, siteV6, got)
			}
			return err
		})
		measured(t, "anycast: %v until %s", time.Since(start).Round(time.Millisecond), what)
	}
	dead.Kill()
	awaitOwner("the other owner answers after the death of the nearest one", other)
	wantReached(m, far, siteNode6, siteNode4)

	wantIgnored(t, m, evil)
	wantRefusedAtStart(t, m, evil)
	dead.Run()
	m.AwaitUp()
	for _, i := range []lab.Interface{first, second} {
		if i.Host == other.Host {
			i.Host.IP("link set " + i.Name + " down")
		}
	}
	awaitOwner("the first one answers again, as the other's LAN is down", dead)
	wantReached(m, far, siteNode6, siteNode4)
	m.Stop()
	for _, i := range []lab.Interface{first, second} {
		i.Host.IP("link del " + i.Name)
	}
	m.WantClean()
}

// wantIgnored has the node say more than its own daemon would: the prefix that its
// certificate lists is used, which shows that the packet arrives; the other is not.
func wantIgnored(t *testing.T, m *lab.Mesh, evil *lab.Node) {
	t.Helper()
	s, err := evil.Status()
	if err != nil {
		t.Fatal(err)
	}
	up, err := evil.Up()
	if err != nil {
		t.Fatal(err)
	}
	packet := announcement(s.RouterID, unused, unlisted)
	var others []*lab.Node
	for _, n := range m.Running() {
		if n != evil {
			others = append(others, n)
		}
	}
	m.Lab.Await("what the certificate lists to be used", 20*time.Second, func() error {
		for _, tunnel := range up {
			if err := evil.Host.Inject(tunnel.Interface, packet); err != nil {
				return err
			}
		}
		for _, n := range others {
			got, err := owners(n, unused)
			if err == nil && len(got) == 0 {
				err = fmt.Errorf("%s has no route to %s", n.Name, unused)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, n := range others {
		if got, err := owners(n, unlisted); err != nil || len(got) != 0 {
			t.Errorf("%s has a route to %s by %v, %v", n.Name, unlisted, got, err)
		}
		if got := n.Host.Run("ip", "-6", "route", "show", "table", "326"); strings.Contains(got, strings.TrimSuffix(unlisted, "/48")) {
			t.Errorf("the kernel of %s has a route to %s", n.Name, unlisted)
		}
	}
	// Nor what a node announces that nobody knows; and it is told whose doing it is.
	packet = announcement("2001:0db8:0042:fffe", unlisted)
	m.Lab.Await("a neighbour to blame "+evil.Name, 20*time.Second, func() error {
		var said []string
		for _, tunnel := range up {
			if err := evil.Host.Inject(tunnel.Interface, packet); err != nil {
				return err
			}
		}
		for _, n := range others {
			s, err := n.Status()
			if err != nil {
				return err
			}
			for _, h := range s.Health {
				said = append(said, h.Code+": "+h.Text)
				if h.Code == "unproved-route" && strings.HasPrefix(h.Text, evil.Name+" announces "+unlisted) {
					return nil
				}
			}
		}
		return fmt.Errorf("they say %q", said)
	})
	for _, n := range others {
		if got, err := owners(n, unlisted); err != nil || len(got) != 0 {
			t.Errorf("%s has a route to %s by %v, %v", n.Name, unlisted, got, err)
		}
	}
}

// announcement is a Babel packet of the router for some /48 (RFC 8966, sections 4.2,
// 4.6.7 and 4.6.9).
func announcement(routerID string, prefixes ...string) []byte {
	id, _ := hex.DecodeString(strings.NewReplacer(":", "", "-", "").Replace(routerID))
	body := append([]byte{6, 10, 0, 0}, id...)
	for _, text := range prefixes {
		a := netip.MustParsePrefix(text).Addr().As16()
		update := []byte{2, 0, 48, 0}                         // AE IPv6, no flags, length, nothing omitted
		update = binary.BigEndian.AppendUint16(update, 30000) // interval: 300 s
		update = binary.BigEndian.AppendUint16(update, 7)     // seqno
		update = binary.BigEndian.AppendUint16(update, 0)     // metric
		update = append(update, a[:6]...)
		body = append(append(body, 8, byte(len(update))), update...)
	}
	return append(binary.BigEndian.AppendUint16([]byte{42, 2}, uint16(len(body))), body...)
}

// wantRefusedAtStart: the node itself says what it may not.
func wantRefusedAtStart(t *testing.T, m *lab.Mesh, n *lab.Node) {
	t.Helper()
	if _, err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	out, err := n.Host.Try(n.Binary, "run", "--state", n.State, "--announce", unlisted)
	if text := fmt.Sprint(out, err); err == nil || !strings.Contains(text, "the certificate of this node does not list it (it lists "+unused+")") {
		t.Errorf("a prefix that the certificate does not list: %s", text)
	}
}
