package ebpf

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv6"
)

// asSender makes the test program send packets; its value is a senderConfig.
const asSender = "RE6ST_TEST_SENDER"

type senderConfig struct {
	To      netip.AddrPort // the first of the ports
	Flows   int
	Packets int
}

// beSender sends small UDP packets as fast as it can, to so many ports in turn.
func beSender(text string) error {
	var c senderConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	runtime.LockOSThread()
	conn, err := net.ListenUDP("udp6", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	p := ipv6.NewPacketConn(conn)
	batch := make([]ipv6.Message, 64)
	payload := make([]byte, 16)
	for i := range batch {
		batch[i].Buffers = [][]byte{payload}
	}
	start := time.Now()
	flow := 0
	for sent := 0; sent < c.Packets; {
		for i := range batch {
			batch[i].Addr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.To.Addr(), c.To.Port()+uint16(flow)))
			flow = (flow + 1) % c.Flows
		}
		n, err := p.WriteBatch(batch, 0)
		if err != nil {
			return err
		}
		sent += n
	}
	fmt.Printf("%d\n", time.Since(start).Nanoseconds()/int64(c.Packets))
	return nil
}

// BenchmarkForwarding compares, in one run, what a packet costs that the gateway
// forwards: plain, with the translator, with a stateful filter, and with
// nftables' prefix NAT. Packets are sent, forwarded and dropped after the uplink
// on one processor, so that the time is that processor's: the figures hold all of
// it, and what counts is their difference from the plain one. The variants take
// turns, and the best turn of each counts. Run with -benchtime=1x.
func BenchmarkForwarding(b *testing.B) {
	const filter = "add table inet bench; add chain inet bench f { type filter hook forward priority 0; }; add rule inet bench f ct state established,related accept"
	const nat = "add table ip6 bench; add chain ip6 bench n { type nat hook postrouting priority 100; }; " +
		"add rule ip6 bench n snat ip6 prefix to ip6 saddr map { fd00:1::/48 : 2001:db8:1::/48 }"
	variants := []struct {
		name  string
		setUp func(s *site)
	}{
		{"plain", func(*site) {}},
		{"translated", func(s *site) { s.translate(!haveTCX()) }},
		{"translated-clsact", func(s *site) { s.translate(true) }},
		{"conntrack", func(s *site) { s.gw.NFT(filter) }},
		{"conntrack+translated", func(s *site) { s.gw.NFT(filter); s.translate(!haveTCX()) }},
		{"nftables-prefix", func(s *site) { s.gw.NFT(nat) }},
	}
	to := netip.AddrPortFrom(addr("2001:db8:dead::1"), 10000)
	var sites []*site
	for _, v := range variants {
		s := newSite(b)
		s.isp.IP("route add blackhole 2001:db8:dead::/64")
		v.setUp(s)
		sites = append(sites, s)
	}
	for _, flows := range []int{1, 4096} {
		best := make([]float64, len(sites))
		for turn := range 12 {
			for i, s := range sites {
				if ns := s.blast(b, to, flows, 100_000); turn == 1 || turn > 1 && ns < best[i] {
					best[i] = ns // the first turn warms up
				}
			}
		}
		for i, v := range variants {
			b.Run(fmt.Sprintf("%d-flows/%s", flows, v.name), func(b *testing.B) {
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(best[i], "ns/packet")
				b.ReportMetric(1e9/best[i], "packets/s")
				b.ReportMetric(best[i]-best[0], "ns-more")
				b.ReportMetric(best[i]/best[0], "times-plain")
			})
		}
	}
}

// blast gives nanoseconds a packet.
func (s *site) blast(b *testing.B, to netip.AddrPort, flows, packets int) float64 {
	b.Helper()
	c, _ := json.Marshal(senderConfig{to, flows, packets})
	out := s.in.Run("env", asSender+"="+string(c), executable(b))
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		b.Fatal(err)
	}
	return float64(n)
}
