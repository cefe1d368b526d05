package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

const (
	mtu    = 1420
	device = "wgbench"
	port   = 51820

	innerA, innerC = "fd00:be:c4::1", "fd00:be:c4:1::3"
	behindA        = "fd00:be:c4::/64"
	behindC        = "fd00:be:c4:1::/64"
	outerA         = "192.0.2.1"
	outerC         = "192.0.2.5"
	relayToA       = "192.0.2.2"
	relayToC       = "192.0.2.6"
)

// triple is two stock ends and a relay between them, on hosts of their own.
type triple struct {
	a, r, c       *lab.Host
	under         []lab.Interface
	pA, relay, pC *lab.Proc
}

// key is a pair of which the host has the private one in a file.
type key struct{ path, public string }

func newKey(h *lab.Host, name string) key {
	k := key{path: h.Path(name + ".key")}
	h.Run("sh", "-c", "umask 077; wg genkey > "+k.path)
	k.public = strings.TrimSpace(h.Run("sh", "-c", "wg pubkey < "+k.path))
	return k
}

// newTriple lays cables and starts all three.
func newTriple(l *lab.Lab, c config, kind string, n int) *triple {
	x := &triple{a: l.Host(fmt.Sprintf("a%d", n)), r: l.Host(fmt.Sprintf("r%d", n)), c: l.Host(fmt.Sprintf("c%d", n))}
	left, right := l.Connect(x.a, x.r), l.Connect(x.c, x.r)
	for address, i := range map[string]lab.Interface{outerA: left.A, relayToA: left.B, outerC: right.A, relayToC: right.B} {
		i.Add(netip.MustParsePrefix(address + "/30"))
		x.under = append(x.under, i)
	}
	keyA, keyC, toA, toC := newKey(x.a, "end"), newKey(x.c, "end"), newKey(x.r, "a"), newKey(x.r, "c")
	if kind == stock {
		toC = toA
		x.relay = startStock(x.r, c)
		x.r.Run("wg", "set", device, "private-key", toA.path, "listen-port", strconv.Itoa(port),
			"peer", keyA.public, "endpoint", outerA+":51820", "allowed-ips", behindA,
			"peer", keyC.public, "endpoint", outerC+":51820", "allowed-ips", behindC)
		x.r.IP("link set "+device+" mtu 1420 up", "route add "+behindA+" dev "+device, "route add "+behindC+" dev "+device)
	} else {
		x.relay = startOurs(x.r, c, kind, []tunnel{
			{Name: "re6st-0000000a", Key: toA.path, Peer: keyA.public, Endpoint: outerA + ":51820", Route: behindA},
			{Name: "re6st-0000000c", Key: toC.path, Peer: keyC.public, Endpoint: outerC + ":51820", Route: behindC},
		})
	}
	x.r.Sysctl("net/ipv6/conf/all/forwarding", "1")
	x.pA = startEnd(x.a, c, keyA, toA, relayToA, innerA)
	x.pC = startEnd(x.c, c, keyC, toC, relayToC, innerC)
	l.Await("C to answer A", 20*time.Second, func() error { return x.a.Ping(netip.MustParseAddr(innerC)) })
	return x
}

func startStock(h *lab.Host, c config) *lab.Proc {
	p := h.Start("wireguard-go", "env", "LOG_LEVEL=error", c.wireGuard, "-f", device)
	awaitDevice(h, device)
	return p
}

func awaitDevice(h *lab.Host, name string) {
	h.Lab.Await(name, 10*time.Second, func() error {
		_, err := h.Try("wg", "show", name)
		return err
	})
}

func startEnd(h *lab.Host, c config, own, relay key, at, address string) *lab.Proc {
	p := startStock(h, c)
	h.Run("wg", "set", device, "private-key", own.path, "listen-port", strconv.Itoa(port),
		"peer", relay.public, "endpoint", at+":51820", "allowed-ips", "::/0")
	h.IP(fmt.Sprintf("link set %s mtu %d up", device, mtu), fmt.Sprintf("addr add %s/64 dev %s nodad", address, device),
		"route add fd00:be:c4::/48 dev "+device)
	return p
}

func startOurs(h *lab.Host, c config, kind string, tunnels []tunnel) *lab.Proc {
	config, err := json.Marshal(relayConfig{Tunnels: tunnels, InProcess: kind == process, Profile: c.profile})
	if err != nil {
		panic(err) // strings
	}
	program, err := os.Executable()
	if err != nil {
		h.Lab.TB.Fatalf("finding this program: %v", err)
	}
	p := h.Start("relay", program, relayCommand, string(config))
	for _, t := range tunnels {
		awaitDevice(h, t.Name)
		h.IP("link set "+t.Name+" up", "route add "+t.Route+" dev "+t.Name)
	}
	return p
}

func (x *triple) offload(on bool) {
	word := map[bool]string{true: "on", false: "off"}[on]
	for _, i := range x.under {
		i.Host.Run("ethtool", "-K", i.Name, "tso", word, "gso", word, "gro", word, "tx-udp-segmentation", word)
	}
}

// figures of one relay under one load, a number for each round.
type figures struct {
	Mbit   []float64
	Share  []float64 // R/(A+C)
	CPU    []float64 // of the relay, s/GB
	Packet []float64 // the same, µs
	Memory float64   // of the relay, MB
}

type report map[string]map[string]*figures // by load, relay

func run(t lab.TB, c config) report {
	l := lab.New(t)
	all := map[string]*triple{}
	for i, kind := range c.relays {
		all[kind] = newTriple(l, c, kind, i)
	}
	out := report{}
	for _, load := range c.loads {
		out[load.name] = map[string]*figures{}
		for _, kind := range c.relays {
			out[load.name][kind] = &figures{}
			all[kind].offload(!load.plain)
		}
		for round := range c.rounds {
			for i := range c.relays {
				kind := c.relays[i]
				if round%2 == 1 { // what grows warm or tired does so for all
					kind = c.relays[len(c.relays)-1-i]
				}
				all[kind].measure(t, c, load, out[load.name][kind])
			}
		}
	}
	for _, x := range all {
		if _, err := x.relay.Stop(unix.SIGTERM); err != nil {
			t.Errorf("ending the relay: %v", err)
		}
		fmt.Fprint(os.Stderr, x.relay.Output())
	}
	return out
}

// measure is one round.
func (x *triple) measure(t lab.TB, c config, w load, f *figures) {
	server := x.c.Start("iperf3", "iperf3", "-s", "-1")
	defer server.Kill()
	x.a.Lab.Await("iperf3 to listen", 10*time.Second, func() error {
		out, err := x.c.Try("ss", "-Hltn", "sport = :5201")
		if err == nil && strings.TrimSpace(out) == "" {
			err = fmt.Errorf("nothing listens")
		}
		return err
	})
	before := x.cpu(t)
	args := append([]string{"iperf3", "-c", innerC, "-t", strconv.Itoa(c.seconds), "-J"}, w.args...)
	out, err := x.a.Try(args...)
	if err != nil {
		t.Errorf("iperf3: %v\n%s", err, out)
		return
	}
	after := x.cpu(t)
	bytes, packets, seconds, err := parse([]byte(out))
	if err != nil {
		t.Errorf("%v", err)
		return
	}
	used := [3]float64{after[0] - before[0], after[1] - before[1], after[2] - before[2]}
	f.Mbit = append(f.Mbit, bytes*8/1e6/seconds)
	f.Share = append(f.Share, used[1]/(used[0]+used[2]))
	f.CPU = append(f.CPU, used[1]/bytes*1e9)
	f.Packet = append(f.Packet, measure.Ratio(used[1]*1e6, packets))
	if f.Memory, err = measure.Memory(x.relay.PID, "VmRSS"); err != nil {
		t.Errorf("%v", err)
	}
}

func (x *triple) cpu(t lab.TB) (used [3]float64) {
	for i, p := range []*lab.Proc{x.pA, x.relay, x.pC} {
		d, err := measure.CPUTime(p.PID)
		if err != nil {
			t.Errorf("%v", err)
		}
		used[i] = d.Seconds()
	}
	return used
}

// parse reads what arrived. Packets are iperf3's, 0 of TCP.
func parse(out []byte) (bytes, packets, seconds float64, err error) {
	type sum struct {
		Bytes, Seconds, Packets float64
		Lost                    float64 `json:"lost_packets"`
	}
	var result struct {
		Error string
		End   struct {
			Sum      sum
			Received sum `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return 0, 0, 0, fmt.Errorf("reading iperf3's answer: %w", err)
	}
	r := result.End.Received
	if s := result.End.Sum; s.Packets > 0 {
		arrived := s.Packets - s.Lost
		return s.Bytes / s.Packets * arrived, arrived, s.Seconds, nil
	}
	if result.Error != "" || r.Bytes == 0 {
		return 0, 0, 0, fmt.Errorf("iperf3 measured nothing: %q", result.Error)
	}
	return r.Bytes, 0, r.Seconds, nil
}
