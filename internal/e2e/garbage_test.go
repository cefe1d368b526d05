package e2e

import (
	"crypto/tls"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"re6st/internal/lab"
)

// Garbage at the control port and at the tunnels' ports, from a stranger and
// from a member, ends nothing and opens nothing.
//
//re6st:reduced 100 of 100000000 packets; full in make soak, by the fuzz targets of the parsers
func TestT13_GarbageAtTheControlPort(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute})
	m.Start()
	settle(m, 30*time.Second)
	target, from := m.Nodes[0], m.Nodes[1]
	const seed = 13
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for _, addr := range []netip.Addr{target.Port.V4, target.Port.V6, target.Address} {
		port := netip.AddrPortFrom(addr, lab.ControlPort)
		for i := range 30 {
			c, err := from.Host.Conn("tcp", port, 3*time.Second)
			if err != nil {
				t.Errorf("TCP %v: %v", port, err)
				break
			}
			// A record header that promises a handshake, then nonsense; every
			// third goes away in the middle.
			b := noise(r.IntN(2000) + 5)
			copy(b, []byte{22, 3, 1, 1, 0})
			c.SetDeadline(time.Now().Add(time.Second))
			c.Write(b[:r.IntN(len(b))+1])
			if i%3 != 0 {
				c.Read(make([]byte, 512))
			}
			c.Close()
		}
		for p := uint16(lab.ControlPort); p < lab.FirstTunnelPort+10; p++ {
			c, err := from.Host.Conn("udp", netip.AddrPortFrom(addr, p), time.Second)
			if err != nil {
				t.Errorf("UDP %v port %d: %v", addr, p, err)
				continue
			}
			for range 20 {
				b := noise(r.IntN(1400) + 1)
				b[0] = byte(r.IntN(6)) // WireGuard's types among them
				c.Write(b)
			}
			c.Close()
		}
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(from.State, "cert.pem"), filepath.Join(from.State, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	control := netip.AddrPortFrom(target.Port.V6, lab.ControlPort)
	bodies := [][]byte{{}, []byte("{"), []byte(`{"a":`), []byte(`[[[[[[[[`), []byte("null"), noise(1000), make([]byte, 4<<20)}
	for _, body := range bodies {
		status, err := request(from.Host, control, "h2", &own, body)
		if err == nil && (status < 400 || status >= 500) {
			t.Errorf("a body of %d bytes of garbage: answer %d, want 4xx", len(body), status)
		}
	}
	if target.Proc.Exited() {
		t.Fatalf("the node has ended: %s", target.Proc.Status())
	}
	m.AllPairs(10 * time.Second)
	wantNoPanic(t, m)
	m.WantClean()
}
