package agent

import (
	"testing"

	"re6st/tunnel/control"
)

// benchLimits take away what would be measured otherwise.
func benchLimits(c *transportConfig) {
	c.Limits = transportLimits{
		PeerRequests: 1e9, PeerBurst: 1e9, Handshakes: 1e9, KnownHandshakes: 1e9, SourceHandshakes: 1e9,
		SourceConnections: 1e6, Connections: 1e6, Dials: 1e9, DialBurst: 1e9,
	}
}

// BenchmarkHandshake makes a connection and one exchange, both ends in one process.
func BenchmarkHandshake(b *testing.B) {
	for _, p := range protocols {
		b.Run(string(p), func(b *testing.B) {
			m := newMesh(b)
			server, caller := m.start(m.node("a", 1), benchLimits), m.start(m.node("b", 2), benchLimits)
			caller.only(p)
			ctx := b.Context()
			for b.Loop() {
				if _, _, _, err := caller.Node(ctx, server.at()); err != nil {
					b.Fatal(err)
				}
				caller.client.forget(prefixOf(1))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
		})
	}
}

// BenchmarkExchange offers tunnels over one warm connection, with the pre-shared key at both ends.
func BenchmarkExchange(b *testing.B) {
	for _, p := range protocols {
		b.Run(string(p), func(b *testing.B) {
			m := newMesh(b)
			server, caller := m.start(m.node("a", 1), benchLimits), m.start(m.node("b", 2), benchLimits)
			caller.only(p)
			ctx := b.Context()
			id := control.TunnelID{1}
			for b.Loop() {
				if _, _, _, err := caller.PutTunnel(ctx, server.at(), id, offer()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exchanges/s")
		})
	}
}
