package identity

import "testing"

// BenchmarkNode verifies a node's certificate.
func BenchmarkNode(b *testing.B) {
	w := newWorld(b)
	raw := w.node("node-3", "2001:db8:42:8::/61").Certificate[0]
	for b.Loop() {
		if _, err := w.authority.Node(raw, epoch); err != nil {
			b.Fatal(err)
		}
	}
}
