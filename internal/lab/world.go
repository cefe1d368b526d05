package lab

import (
	"fmt"
	"net/netip"
	"time"
)

// WorldConfig says what world to make; the zero value of each field has a sense.
type WorldConfig struct {
	Backend string   // "": as RE6ST_WG says, else userspace
	Homes   int      // behind NAT, in turn at the one and the other provider
	Hub     bool     // a node on the registry's host, as in the README's first hour
	Others  int      // nodes with an Internet of both families, at the core
	Late    bool     // homes have not joined yet: see Home.Join
	Init    []string // more flags of re6stregistry init
	Tunnels int
	Refresh time.Duration
	// Gateways and GatewayToken are flags of the gateways' run and of their
	// tokens; nil: gateways that let everything in.
	Gateways, GatewayToken []string
	// Home and HomeToken give those of node i at home; nil: none.
	Home, HomeToken func(i int) []string
	// Family of the underlay of other i; nil: both.
	Family func(i int) Family
	// Delay of the lines between the providers and the core.
	Delay time.Duration
	// Announced are prefixes beside the mesh's own that the gateways, too, tell
	// their providers of as soon as the mesh has them.
	Announced []netip.Prefix
}

// World is an Internet with two providers, servers of one family each, a
// gateway at each provider, and homes that have nothing but IPv4 behind a NAT;
// and a mesh over all that.
//
//	                 web6   web4   registry (hub)
//	                    \    |    /
//	                     \   |   /
//	gate-a ── isp-a ─────── core ─────── isp-b ── gate-b
//	            │                          │
//	box-0 (NAT44, IPv4 only)    box-1 (NAT44, IPv4 only)
//	            │ 192.168.1.0/24           │ the same
//	      ┌─────┴────┐               ┌─────┴────┐
//	   home-0     phone-0         home-1     phone-1
//	      │ eth1                     │ eth1
//	    old-0                      old-1
//
// home-i runs a node, phone-i and old-i run nothing of ours; old-i knows
// only IPv4. Providers, core and gateways speak BGP: a gateway tells its
// provider of the mesh's prefix as long as its node has it in its routing
// table, and who dies is gone after the hold time of 3 s.
type World struct {
	*Mesh
	ISPs     []*Internet // at the core
	Web6     *Port       // has only IPv6
	Web4     *Port       // has only IPv4
	Gateways []*Node     // one at each provider
	Hub      *Node       // nil unless asked for
	Others   []*Node
	Homes    []*Home

	registryPort *Port
}

// The world's own routing.
const (
	worldTable   = 326 // of the nodes, where the gateways' BGP looks
	worldHold    = 3 * time.Second
	asCore       = 64500 // RFC 5398, and so are those of providers and gateways
	asISP        = 64501
	asGateway    = 64510
	worldHomeNet = "192.168.1.0/24"
)

// WorldHold is how long BGP takes to find that a gateway has died.
const WorldHold = worldHold

// World builds the hosts, starts the registry and joins all nodes. None runs
// yet: see Start.
func (l *Lab) World(c WorldConfig) *World {
	l.TB.Helper()
	w := &World{Mesh: &Mesh{Lab: l, Net: l.Internet("core")}}
	if c.Gateways == nil {
		c.Gateways = []string{"--gateway", "--gateway-inbound", "all"}
	}
	if c.GatewayToken == nil {
		c.GatewayToken = []string{"--gateway"}
	}
	tokens := map[int][]string{}
	flags := worldFlags(c)

	place := w.Net.Attach(l.Host("registry"), Dual)
	w.registryPort = place
	w.Web6 = w.Net.Attach(l.Host("web6"), IPv6)
	w.Web4 = w.Net.Attach(l.Host("web4"), IPv4)
	for _, web := range []*Port{w.Web6, w.Web4} {
		web.Host.Web(":80")
	}
	for _, name := range []string{"isp-a", "isp-b"} {
		w.ISPs = append(w.ISPs, w.Net.provider(name, c.Delay))
	}
	for i, isp := range w.ISPs {
		h := l.Host("gate-" + string(rune('a'+i)))
		tokens[len(w.Nodes)] = c.GatewayToken
		w.Gateways = append(w.Gateways, w.node(h, isp.Attach(h, Dual), append(flags, c.Gateways...)))
	}
	if c.Hub {
		w.Hub = w.node(place.Host, place, flags)
		w.Hub.Name = "otter-hub"
	}
	for i := range c.Others {
		h := l.Host(fmt.Sprintf("node-%d", i))
		f := Dual
		if c.Family != nil {
			f = c.Family(i)
		}
		w.Others = append(w.Others, w.node(h, w.Net.Attach(h, f), flags))
	}
	early := len(w.Nodes)
	for i := range c.Homes {
		home := w.home(i, w.ISPs[i%len(w.ISPs)])
		w.Homes = append(w.Homes, home)
		if c.HomeToken != nil {
			home.token = c.HomeToken(i)
			tokens[len(w.Nodes)] = home.token
		}
		more := flags
		if c.Home != nil {
			more = append(flags, c.Home(i)...)
		}
		home.Node = w.node(home.Host, home.port, more)
	}
	if !c.Late {
		early = len(w.Nodes)
	}
	w.route(c.Announced)
	w.Registry = l.RegistryWith(place.Host, Network, c.Init, place.V6, place.V4)
	w.before = l.Census(w.hosts()...)
	w.Started = time.Now()
	w.Registry.Serve()
	w.join(w.Nodes[:early], func(i int) []string { return tokens[i] })
	return w
}

func worldFlags(c WorldConfig) []string {
	if c.Backend == "" {
		c.Backend = Backend()
	}
	flags := []string{"--wireguard", c.Backend, "--log-level", "debug"}
	if c.Tunnels > 0 {
		flags = append(flags, "--tunnels", fmt.Sprint(c.Tunnels))
	}
	if c.Refresh > 0 {
		flags = append(flags, "--refresh", c.Refresh.String())
	}
	return flags[:len(flags):len(flags)]
}

func (w *World) node(h *Host, p *Port, flags []string) *Node {
	n := w.Lab.Node(h, p, "otter-"+h.Name, flags...)
	w.Nodes = append(w.Nodes, n)
	return n
}

// provider makes an Internet that reaches the others through this one.
func (in *Internet) provider(name string, delay time.Duration) *Internet {
	l := in.Router.Lab
	isp := l.Internet(name)
	up := in.attach(isp.Router, Dual, func() *Link {
		if delay == 0 {
			return l.lay(isp.Router, in.Router, "uplink", "to-"+name)
		}
		r := l.Relay(isp.Router, in.Router, Weather{Delay: delay}, 1, "uplink", "to-"+name)
		return &Link{A: r.A, B: r.B}
	})
	isp.up = up
	in.Router.IP(
		fmt.Sprintf("route add %v via %v", isp.prefix4(), up.V4),
		fmt.Sprintf("route add %v via %v", isp.prefix6(), up.V6))
	return isp
}

// Home is a house with a router that knows only IPv4 and hides all behind its
// one address.
type Home struct {
	Host *Host // of the node, on the LAN of the router
	Node *Node
	Box  *Host // the router
	WAN  *Port // its place at the provider
	LAN  *Switch
	// Phone is a machine on the LAN, Old one behind the node alone, that has
	// neither IPv6 nor an address. Both run nothing of ours.
	Phone, Old Interface
	// Front and Back are the node's interfaces, to the LAN and to Old.
	Front, Back Interface

	world *World
	port  *Port
	token []string // more flags of its token
}

// Join enrols the node of a home that is late, and starts it.
func (h *Home) Join() error {
	h.Host.Lab.TB.Helper()
	if err := h.Node.Join(h.world.Registry.NewToken(1, h.token...)); err != nil {
		return err
	}
	h.Node.Run()
	return nil
}

// Block stops all packets of the underlay between the home and the nodes: it
// has to go through others.
func (h *Home) Block(nodes ...*Node) {
	h.Host.Lab.TB.Helper()
	router := h.WAN.Link.B
	for _, n := range nodes {
		router.Host.NFT(
			fmt.Sprintf("add rule inet lab forward iifname %q ip daddr %v counter drop", router.Name, n.Port.V4),
			fmt.Sprintf("add rule inet lab forward oifname %q ip saddr %v counter drop", router.Name, n.Port.V4))
	}
}

// home builds it. All homes have the same private addresses, as in life.
func (w *World) home(i int, isp *Internet) *Home {
	l := w.Lab
	at := func(host int) netip.Prefix {
		net := netip.MustParsePrefix(worldHomeNet)
		a := net.Addr().As4()
		a[3] = byte(host)
		return netip.PrefixFrom(netip.AddrFrom4(a), net.Bits())
	}
	name := func(s string) string { return fmt.Sprintf("%s-%d", s, i) }
	h := &Home{world: w, Host: l.Host(name("home")), Box: l.Host(name("box")), LAN: l.Switch(name("lan"))}
	for _, which := range []string{"all", "default"} {
		h.Box.Sysctl("net/ipv6/conf/"+which+"/disable_ipv6", "1")
	}
	h.Box.Sysctl("net/ipv4/ip_forward", "1")
	h.WAN = isp.Attach(h.Box, IPv4)
	isp.Router.Sysctl("net/ipv6/conf/"+h.WAN.Link.B.Name+"/disable_ipv6", "1")
	wan := h.WAN.Link.A.Name
	h.Box.NFT("table ip nat {",
		"chain postrouting { type nat hook postrouting priority 100; oifname "+wan+" masquerade; }",
		"chain forward { type filter hook forward priority 10; iifname "+wan+" ct state != { established, related } counter drop; }",
		"}")
	h.LAN.Attach(h.Box, at(1))
	link := h.LAN.Attach(h.Host, at(2))
	h.Front = link.A
	h.port = &Port{Host: h.Host, Link: link, V4: at(2).Addr()}
	phone := l.Host(name("phone"))
	h.Phone = h.LAN.Attach(phone, at(3)).A
	for _, m := range []*Host{h.Host, phone} {
		m.IP(fmt.Sprintf("route add 0.0.0.0/0 via %v", at(1).Addr()))
	}
	old := l.Host(name("old"))
	for _, which := range []string{"all", "default"} {
		old.Sysctl("net/ipv6/conf/"+which+"/disable_ipv6", "1")
	}
	cable := l.Connect(h.Host, old)
	h.Back, h.Old = cable.A, cable.B
	return h
}

// DieWithHost ends the node as if its host had lost its power: nothing more
// comes from it, and nobody is told.
func (n *Node) DieWithHost() {
	n.Port.Link.Cut()
	n.Kill()
}
