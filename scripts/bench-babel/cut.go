package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"re6st/internal/lab"
)

// outage is how long the end of a link is felt.
type outage struct {
	Daemon   string  `json:"daemon"`
	Topology string  `json:"topology"`
	Manner   string  `json:"manner"`
	Hello    float64 `json:"hello_seconds"`
	// Seconds without packets, worse direction, one for each cut, ascending.
	Gaps []float64 `json:"gaps"`
	// Of the cuts, those after which nothing had come within the patience.
	Never int `json:"never"`
	// Packets lost while the link came back, and the seconds until its other
	// end was reached over it again.
	HealLost []uint64  `json:"heal_lost"`
	Heal     []float64 `json:"heal_seconds"`
}

// network is a few routers, the first and the last of which talk, and the link on
// their way that is going to be cut.
type network struct {
	l        *lab.Lab
	topology string
	hosts    []*lab.Host
	links    []*lab.Link
	ends     [2]int
	cut      *lab.Link
	// near is an end of the cut link, far the host behind it: when near reaches
	// far over the link again, it is healed.
	near, far int
}

func address(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x0c, 15: byte(i + 1)})
}

const perSecond = 50

func newNetwork(t lab.TB, d daemon, tm timers, topology string) *network {
	n := &network{l: lab.New(t), topology: topology}
	size := map[string]int{"diamond": 4, "ring": 6}[topology]
	for i := range size {
		h := n.l.Host(fmt.Sprintf("h%d", i))
		h.IP(fmt.Sprintf("addr add %v/128 dev lo", address(i)))
		n.hosts = append(n.hosts, h)
	}
	links := map[string][][2]int{
		"diamond": {{1, 0}, {2, 0}, {1, 3}, {2, 3}},
		"ring":    {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 0}},
	}[topology]
	ifaces := make([][]string, size)
	for _, k := range links {
		link := n.l.Connect(n.hosts[k[0]], n.hosts[k[1]])
		ifaces[k[0]] = append(ifaces[k[0]], link.A.Name)
		ifaces[k[1]] = append(ifaces[k[1]], link.B.Name)
		n.links = append(n.links, link)
	}
	for i, h := range n.hosts {
		d.start(h, tm, []netip.Prefix{netip.PrefixFrom(address(i), 128)}, ifaces[i]...)
	}
	n.ends = [2]int{0, 3}
	if topology == "ring" {
		n.ends = [2]int{0, 2}
	}
	if err := n.awaitPing(60 * time.Second); err != nil {
		t.Fatalf("%s: %s does not come up: %v", d.name, topology, err)
	}
	return n
}

func (n *network) ping() error {
	for _, k := range [][2]int{{0, 1}, {1, 0}} {
		if err := n.hosts[n.ends[k[0]]].Ping(address(n.ends[k[1]])); err != nil {
			return err
		}
	}
	return nil
}

func (n *network) awaitPing(timeout time.Duration) error {
	_, err := lab.Await(timeout, n.ping)
	return err
}

// choose finds the link to cut: in the diamond the first on the way, wherever
// hysteresis has left it; in the ring the second, so that news must travel, as
// soon as the packets use it.
func (n *network) choose() {
	if n.topology == "ring" {
		n.cut, n.near, n.far = n.links[1], 2, 1
		// A daemon that does not come back to the short way is measured all the same.
		_, _ = lab.Await(60*time.Second, func() error {
			if n.device(n.near, address(0)) != n.nearDevice() {
				return errors.New("another way")
			}
			return nil
		})
		return
	}
	n.near, n.cut, n.far = 0, n.links[0], 1
	if n.device(0, address(3)) == n.links[1].B.Name {
		n.cut, n.far = n.links[1], 2
	}
}

// device is where a host sends packets for an address.
func (n *network) device(host int, to netip.Addr) string {
	out, err := n.hosts[host].Try("ip", "-6", "route", "get", to.String())
	f := strings.Fields(out)
	if i := slices.Index(f, "dev"); err == nil && i >= 0 && i+1 < len(f) {
		return f[i+1]
	}
	return ""
}

func (n *network) nearDevice() string {
	if n.cut.A.Host == n.hosts[n.near] {
		return n.cut.A.Name
	}
	return n.cut.B.Name
}

func (n *network) stream() *lab.Stream {
	a, b := n.hosts[n.ends[0]], n.hosts[n.ends[1]]
	return n.l.Stream(perSecond, []lab.End{{Host: a, Addr: address(n.ends[0])}, {Host: b, Addr: address(n.ends[1])}}, nil)
}

func worst(flows []lab.Flow) float64 {
	var gap time.Duration
	for _, f := range flows {
		gap = max(gap, f.Gap)
	}
	return gap.Seconds()
}

// manners are the ways in which a link ends. silent: packets are dropped and
// nobody is told. carrier: the other side of the cable goes down.
var manners = []struct {
	name      string
	cut, heal func(*lab.Link)
}{
	{"silent", (*lab.Link).Cut, (*lab.Link).Restore},
	{"carrier", (*lab.Link).Unplug, (*lab.Link).Plug},
}

// measureCuts cuts the same link again and again.
func measureCuts(t lab.TB, d daemon, tm timers, topology string, manner, cuts int) outage {
	m := manners[manner]
	o := outage{Daemon: d.name, Topology: topology, Manner: m.name, Hello: tm.hello().Seconds()}
	n := newNetwork(t, d, tm, topology)
	for i := range cuts {
		<-time.After(settle + time.Duration(i)*tm.hello()*3/time.Duration(4*cuts)) // another phase each time
		n.choose()
		stream := n.stream()
		<-time.After(time.Second)
		m.cut(n.cut)
		<-time.After(300 * time.Millisecond)
		if err := n.awaitPing(60 * time.Second); err != nil {
			o.Never++
		}
		<-time.After(time.Second)
		o.Gaps = append(o.Gaps, worst(stream.Stop()))

		stream = n.stream()
		<-time.After(500 * time.Millisecond)
		healed := time.Now()
		m.heal(n.cut)
		_, err := lab.Await(60*time.Second, func() error {
			if n.device(n.near, address(n.far)) != n.nearDevice() {
				return errors.New("not over the link")
			}
			return n.hosts[n.near].Ping(address(n.far))
		})
		if err == nil {
			o.Heal = append(o.Heal, time.Since(healed).Seconds())
		}
		<-time.After(time.Second)
		flows := stream.Stop()
		lost, _ := lab.Lost(flows)
		o.HealLost = append(o.HealLost, lost)
		if lost > 0 {
			tellHeal(t, o, i, healed, flows)
		}
	}
	slices.Sort(o.Gaps)
	slices.Sort(o.Heal)
	return o
}

// tellHeal says what a heal has lost, and when: there may have been a cause.
func tellHeal(t lab.TB, o outage, round int, healed time.Time, flows []lab.Flow) {
	for _, f := range flows {
		t.Logf("%s, %s, %s, Hello %g s, heal %d: %v, from %v after it, %d refused by the sender's kernel",
			o.Daemon, o.Topology, o.Manner, o.Hello, round, f, f.GapStart.Sub(healed).Round(time.Millisecond), f.Refused)
	}
}

// lossy is what a link that loses every tenth packet costs those who use it.
type lossy struct {
	Daemon string  `json:"daemon"`
	Lost   float64 `json:"lost_percent"` // of 90 s
	Left   float64 `json:"left_seconds"` // when the last packet took the link; 90: never
}

// measureLoss makes the link in use lossy, for 90 s.
func measureLoss(t lab.TB, d daemon) lossy {
	const percent, span = 10, 90 * time.Second
	n := newNetwork(t, d, timers{Hello: time.Second}, "diamond")
	<-time.After(15 * time.Second)
	n.choose()
	out := lossy{Daemon: d.name}
	stream := n.stream()
	begun := time.Now()
	n.cut.Lose(percent)
	for time.Since(begun) < span {
		if n.uses() {
			out.Left = time.Since(begun).Seconds()
		}
		<-time.After(200 * time.Millisecond)
	}
	lost, sent := lab.Lost(stream.Stop())
	out.Lost = 100 * float64(lost) / float64(sent)
	return out
}

// uses says whether the packets of either end go over the link.
func (n *network) uses() bool {
	return n.device(0, address(3)) == n.cut.B.Name || n.device(n.far, address(0)) == n.cut.A.Name && n.device(3, address(0)) == n.link3().B.Name
}

// link3 is the other half of the way over the link.
func (n *network) link3() *lab.Link { return n.links[n.far+1] }
