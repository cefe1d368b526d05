package agent

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"sync"
	"testing"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/tunnel/control"
)

func idOf(number byte) addressing.RouterID { return addressing.RouterIDOf(prefixOf(number)) }

// folder is what a node has of others' certificates.
type folder struct {
	mu    sync.Mutex
	certs map[addressing.RouterID][]byte
	met   map[string]int
}

func newFolder(certs ...tls.Certificate) *folder {
	f := &folder{certs: map[addressing.RouterID][]byte{}, met: map[string]int{}}
	for i, c := range certs {
		f.certs[idOf(byte(i+1))] = c.Certificate[0]
	}
	return f
}

func (f *folder) Certificate(id addressing.RouterID) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	der, ok := f.certs[id]
	return der, ok
}

func (f *folder) Met(n identity.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.met[n.Name]++
}

func TestCertificatesAndNextHopsAreCarried(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			papers := [2]*folder{newFolder(), newFolder()}
			server := m.start(m.node("a", 1), func(c *transportConfig) { c.Met = papers[0].Met })
			caller := m.start(m.node("b", 2), func(c *transportConfig) { c.Met = papers[1].Met })
			caller.only(p)
			ctx, to := deadline(t), server.at().wanting(1)
			three, four := []byte{3, 3}, []byte{4}
			server.desk.set(func(d *desk) { d.certs = map[addressing.RouterID][]byte{idOf(3): three, idOf(4): four} })

			got, err := caller.Certificates(ctx, to, []addressing.RouterID{idOf(3)})
			if err != nil || len(got) != 1 || !bytes.Equal(got[0], three) {
				t.Errorf("one: %v, %v", got, err)
			}
			_, err = caller.Certificates(ctx, to, []addressing.RouterID{idOf(5)})
			wantRefusal(t, err, control.Unknown)
			got, err = caller.Certificates(ctx, to, []addressing.RouterID{idOf(3), idOf(4), idOf(5)})
			if err != nil || len(got) != 2 {
				t.Errorf("two of three: %v, %v", got, err)
			}
			got, err = caller.Certificates(ctx, to, []addressing.RouterID{idOf(5), idOf(6)})
			if err != nil || len(got) != 0 {
				t.Errorf("none of two: %v, %v", got, err)
			}
			_, err = caller.Certificates(ctx, to, make([]addressing.RouterID, control.MaxCertificates+1))
			wantRefusal(t, err, control.Invalid)

			server.desk.set(func(d *desk) {
				d.hop = control.NextHop{Kind: control.HopTunnel, Peer: "c", PeerAddress: netip.MustParseAddr("2001:db8:42:3::1")}
			})
			dst, src := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:42:2::1")
			hop, err := caller.NextHop(ctx, to, dst, src)
			server.desk.set(func(d *desk) {
				if err != nil || hop != d.hop || d.asked != [2]netip.Addr{dst, src} {
					t.Errorf("next hop %+v, %v, asked for %v", hop, err, d.asked)
				}
			})
			_, err = caller.NextHop(ctx, to, netip.MustParseAddr("ff02::1"), src)
			wantRefusal(t, err, control.Invalid)

			papers[0].mu.Lock()
			defer papers[0].mu.Unlock()
			if papers[0].met["b"] == 0 || papers[1].met["a"] == 0 {
				t.Errorf("met: %v, %v", papers[0].met, papers[1].met)
			}
		})
	}
}

// Only what proves itself and was asked for is taken, whatever a peer sends.
func TestT13_OnlyWantedAndValidCertificatesAreTaken(t *testing.T) {
	m := newMesh(t)
	good, other := m.node("c", 3), m.node("d", 4)
	sent := [][]byte{other.Certificate[0], good.Certificate[0], good.Certificate[0], {0x30, 0}, nil}
	for _, c := range m.spoiled() {
		sent = append(sent, c.Certificate[0])
	}
	a := New(Config{Authority: m.authority, Certificate: good, Self: identity.Node{Prefix: prefixOf(1)}})
	got := a.wanted(sent, []addressing.RouterID{idOf(3), idOf(2)})
	if len(got) != 1 || got[0].Name != "c" {
		t.Errorf("taken: %v", got)
	}
}
