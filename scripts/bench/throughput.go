package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// way is a transfer with all that is needed to run it.
type way struct {
	*transfer
	from, to *lab.Host
	address  netip.Addr  // of to
	daemons  []*lab.Proc // those that carry it
}

// mtu is that of our tunnels, for the comparison as well.
const mtu = 1420

// throughput runs all ways in turn, on three hosts of each kind in one underlay:
//
//	n00 ── n01 ── n02     re6stnode; the underlay lets only neighbours talk
//	w00 ── w01 ── w02     wireguard-go; it knows only neighbours
//
// Not on the same hosts: to our nodes another tunnel is one more network to run
// tunnels over. The daemons run all the time; those not in use are idle.
func throughput(t lab.TB, c config, r *report) {
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{
		Nodes: 3, Refresh: time.Hour,
		Family: func(int) lab.Family { return lab.IPv6 },
		Talk:   func(i, j int) bool { return i-j == 1 || j-i == 1 },
	})
	m.Start()
	m.AllPairs(60 * time.Second)
	a, b, z := m.Nodes[0], m.Nodes[1], m.Nodes[2]
	wg := wireGuardChain(l, c.WG, m.Net)

	bare := &way{transfer: &transfer{Name: "bare link"}, from: a.Host, to: b.Host, address: b.Port.V6}
	wgDirect := &way{transfer: &transfer{Name: "wireguard-go, one hop"}, from: wg[0].at.Host, to: wg[1].at.Host, address: wg[1].address, daemons: procs(wg[:2])}
	direct := &way{transfer: &transfer{Name: "re6st, one hop", via: wgDirect.transfer}, from: a.Host, to: b.Host, address: b.Address, daemons: []*lab.Proc{a.Proc, b.Proc}}
	wgRelay := &way{transfer: &transfer{Name: "wireguard-go, one relay"}, from: wg[0].at.Host, to: wg[2].at.Host, address: wg[2].address, daemons: procs(wg)}
	relay := &way{transfer: &transfer{Name: "re6st, one relay", via: wgRelay.transfer}, from: a.Host, to: z.Host, address: z.Address, daemons: []*lab.Proc{a.Proc, b.Proc, z.Proc}}

	ways := []*way{bare, wgDirect, direct, wgRelay, relay}
	for _, w := range ways {
		r.Transfers = append(r.Transfers, w.transfer)
	}
	for round := range c.Rounds {
		// Every second round backwards: what grows warm or tired does so for all.
		for i := range ways {
			w := ways[i]
			if round%2 == 1 {
				w = ways[len(ways)-1-i]
			}
			w.measure(t, c.Seconds)
		}
	}
	for _, w := range ways {
		if len(w.Mbit) != c.Rounds {
			t.Errorf("%s: %d of %d rounds", w.Name, len(w.Mbit), c.Rounds)
		}
	}
	r.finish(bare.transfer)
}

// measure is one round of one way.
func (w *way) measure(t lab.TB, seconds int) {
	t.Helper()
	rtt, err := w.ping()
	if err != nil {
		t.Fatalf("%s: %v", w.Name, err)
	}
	if w.RTTus == 0 || rtt < w.RTTus {
		w.RTTus = rtt
	}
	const port = "5201"
	server := w.to.Start("iperf3", "iperf3", "-s", "-1", "-p", port)
	defer server.Kill()
	w.from.Lab.Await("iperf3 to listen", 10*time.Second, func() error {
		out, err := w.to.Try("ss", "-Hltn", "sport = :"+port)
		if err == nil && strings.TrimSpace(out) == "" {
			err = fmt.Errorf("nothing listens on port %s", port)
		}
		return err
	})
	before := w.cpu(t)
	out, err := w.from.Try("iperf3", "-c", w.address.String(), "-p", port, "-t", strconv.Itoa(seconds), "-O", "1", "-J")
	if err != nil {
		t.Errorf("%s: %v\n%s", w.Name, err, out)
		return
	}
	used := w.cpu(t) - before
	mbit, bytes, err := parseIperf([]byte(out))
	if err != nil {
		t.Errorf("%s: %v", w.Name, err)
		return
	}
	w.Mbit = append(w.Mbit, mbit)
	// The CPU time is that of the whole transfer, the omitted second included.
	w.cpuSeconds += used.Seconds()
	w.gigabytes += bytes / 1e9 * float64(seconds+1) / float64(seconds)
}

func (w *way) cpu(t lab.TB) time.Duration {
	var sum time.Duration
	for _, p := range w.daemons {
		d, err := measure.CPUTime(p.PID)
		if err != nil {
			t.Errorf("%s: %v", w.Name, err)
		}
		sum += d
	}
	return sum
}

// parseIperf reads what arrived.
func parseIperf(out []byte) (mbit, bytes float64, err error) {
	var result struct {
		Error string
		End   struct {
			Sum struct {
				Bytes float64 `json:"bytes"`
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return 0, 0, fmt.Errorf("reading iperf3's answer: %w", err)
	}
	if result.Error != "" || result.End.Sum.Rate == 0 {
		return 0, 0, fmt.Errorf("iperf3 measured nothing: %q", result.Error)
	}
	return result.End.Sum.Rate / 1e6, result.End.Sum.Bytes, nil
}

// ping is the mean round trip in µs of packets that do not wait for each other.
func (w *way) ping() (float64, error) {
	out, err := w.from.Try("ping", "-6", "-q", "-n", "-c", "200", "-i", "0.005", w.address.String())
	if err != nil {
		return 0, err
	}
	return measure.PingMean(out)
}

// wgEnd is a stock wireguard-go on a host.
type wgEnd struct {
	*lab.Proc
	at      *lab.Port
	address netip.Addr
	public  string
	private string // path
}

func procs(ends []*wgEnd) []*lab.Proc {
	var out []*lab.Proc
	for _, e := range ends {
		out = append(out, e.Proc)
	}
	return out
}

const (
	wgDevice = "wgbench"
	wgPort   = "51820"
)

// wireGuardChain runs stock wireguard-go on hosts of its own, each peered with its neighbours; the kernel forwards in the
// middle.
func wireGuardChain(l *lab.Lab, program string, in *lab.Internet) []*wgEnd {
	var ends []*wgEnd
	for i := range 3 {
		h := l.Host(fmt.Sprintf("w%02d", i))
		e := &wgEnd{at: in.Attach(h, lab.IPv6), address: netip.MustParseAddr(fmt.Sprintf("fd00:be:c4::%d", i+1)), private: h.Path("wg.key")}
		h.Run("sh", "-c", "umask 077; wg genkey > "+e.private)
		e.public = strings.TrimSpace(h.Run("sh", "-c", "wg pubkey < "+e.private))
		e.Proc = h.Start("wireguard-go", "env", "LOG_LEVEL=error", program, "-f", wgDevice)
		l.Await("wireguard-go to run", 10*time.Second, func() error {
			_, err := h.Try("wg", "show", wgDevice)
			return err
		})
		h.Run("wg", "set", wgDevice, "private-key", e.private, "listen-port", wgPort)
		ends = append(ends, e)
	}
	for i, e := range ends {
		for j, other := range ends {
			if i-j != 1 && j-i != 1 {
				continue
			}
			e.at.Host.Run("wg", "set", wgDevice, "peer", other.public,
				"allowed-ips", strings.Join(behind(ends, i, j), ","),
				"endpoint", netip.AddrPortFrom(other.at.V6, 51820).String())
		}
		e.at.Host.IP(
			fmt.Sprintf("link set %s mtu %d up", wgDevice, mtu),
			fmt.Sprintf("addr add %v/64 dev %s nodad", e.address, wgDevice),
		)
		e.at.Host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	}
	return ends
}

// behind are the addresses that host i reaches by way of its neighbour j.
func behind(ends []*wgEnd, i, j int) []string {
	var out []string
	for k, e := range ends {
		if (j > i && k >= j) || (j < i && k <= j) {
			out = append(out, e.address.String()+"/128")
		}
	}
	return out
}
