package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// Introspection is by the local socket alone: another member of the mesh finds
// no port but those of the names and the control API, another user of the host
// may not connect.
func TestN13_IntrospectionIsLocalAndTheOwners(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute})
	m.Start()
	m.AllPairs(30 * time.Second)
	n, remote := m.Nodes[0], m.Nodes[1]

	const dns = 53
	if open := remote.Host.Scan(n.Address); !slices.Equal(open, []uint16{dns, lab.ControlPort}) {
		t.Errorf("TCP ports that a member of the mesh finds open: %v, want %d and %d alone", open, dns, lab.ControlPort)
	}

	socket := strings.Fields(n.Host.Run("find", "/run/re6st", "-name", "*.sock"))
	if len(socket) != 1 {
		t.Fatalf("sockets in /run/re6st: %q, want one", socket)
	}
	if err := n.Host.ConnectUnix(socket[0], 0); err != nil {
		t.Errorf("the owner: %v", err)
	}
	const nobody = 65534
	if err := n.Host.ConnectUnix(socket[0], nobody); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("another user: %v, want permission denied", err)
	}
	// And the scan finds what is there.
	remote.Host.Serve("[::1]:7777")
	if open := remote.Host.Scan(netip.IPv6Loopback()); !slices.Contains(open, 7777) {
		t.Errorf("the scan does not find a port that is open: %v", open)
	}
	remote.Host.Unserve()
	m.WantClean()
}
