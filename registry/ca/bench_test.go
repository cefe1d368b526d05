package ca

import "testing"

// BenchmarkIssue prepares and signs a node's certificate.
func BenchmarkIssue(b *testing.B) {
	c, _ := newCA(b)
	n := exampleNode(b)
	for b.Loop() {
		issue(b, c, n)
	}
}
