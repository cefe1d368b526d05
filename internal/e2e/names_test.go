package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// Every node answers for the names of the mesh, to programs that know nothing of
// it, with the registry down; and a port 53 that another has is no reason to end.
func TestNames(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{Nodes: 3, Tunnels: 1, Refresh: 5 * time.Minute, Talk: line, Init: []string{"--ipv4", "10.42.0.0/16", "--domain", "lab.mesh"}})
	first, last := m.Nodes[0], m.Nodes[2]
	first.Host.Serve("[::]:53") // any address: in the way of ours
	m.Start()
	m.AwaitUp()
	l.Await("the first node to say that the port is in use", 20*time.Second, func() error { return hasHealth(first, "dns-unavailable") })
	first.Host.Unserve()
	m.Registry.Kill()
	first.Host.ResolvConf("nameserver "+first.Address.String(), "search lab.mesh")
	for _, n := range m.Nodes {
		l.Await("the name "+n.Name, 60*time.Second, func() error {
			return resolves(first.Host, n.Name, "ahostsv6", n.Address.String())
		})
		// Its pointer, and the name in full.
		if out, err := first.Host.Try("getent", "hosts", n.Address.String()); err != nil || !strings.HasSuffix(strings.TrimSpace(out), " "+n.Name+".lab.mesh") {
			t.Errorf("getent hosts %v: %q, %v", n.Address, out, err)
		}
		// Another node may still be fetching the certificate.
		var out []string
		l.Await("the IPv4 address of "+n.Name+" at "+last.Name, 60*time.Second, func() error {
			said, err := first.Host.Try("dig", "+short", "@"+last.Address.String(), n.Name+".lab.mesh", "A")
			if out = strings.Fields(said); err == nil && len(out) != 1 {
				err = fmt.Errorf("dig A: %q", said)
			}
			return err
		})
		four, err := netip.ParseAddr(out[0])
		if err != nil || !netip.MustParsePrefix("10.42.0.0/16").Contains(four) {
			t.Errorf("dig A %s: %q", n.Name, out)
		}
		if got := first.Host.Run("dig", "+short", "@"+last.Address.String(), "-x", out[0]); strings.TrimSpace(got) != n.Name+".lab.mesh." {
			t.Errorf("dig -x %s: %q", out[0], got)
		}
	}
	for question, want := range map[string]string{
		"nobody.lab.mesh AAAA":       "status: NXDOMAIN",
		last.Name + ".lab.mesh MX":   "status: NOERROR",
		"lab.mesh SOA":               "status: NOERROR",
		"example.org AAAA":           "status: REFUSED",
		"example.org AAAA +tcp":      "status: REFUSED",
		"version.bind TXT CH":        "status: REFUSED",
		"lab.mesh AXFR":              "Transfer failed",
		last.Name + ".lab.mesh +tcp": "status: NOERROR",
	} {
		args := append([]string{"dig", "@" + first.Address.String()}, strings.Fields(question)...)
		l.Await("the answer to "+question, 20*time.Second, func() error {
			out, _ := first.Host.Try(args...) // a refused transfer is an error to dig
			if !strings.Contains(out, want) {
				return fmt.Errorf("dig %s: want %q in\n%s", question, want, out)
			}
			return nil
		})
	}
	lab.Until(t, "the node not to complain of a port that is free", 20*time.Second, func() bool { return hasHealth(first, "dns-unavailable") != nil })
	wantResolved(t, last, m.Nodes[1])
	wantNoPanic(t, m)
	m.WantClean()
}

// wantResolved has systemd-resolved ask the node, as docs/gateway.md says.
func wantResolved(t *testing.T, n, other *lab.Node) {
	t.Helper()
	l := n.Host.Lab
	r := n.Host.Resolved("../../build/resolved", "[Resolve]", "DNS="+n.Address.String(), "Domains=~lab.mesh", "LLMNR=no", "MulticastDNS=no")
	defer r.Stop()
	l.Await("systemd-resolved to answer", 20*time.Second, func() error {
		return resolves(n.Host, other.Name+".lab.mesh", "ahostsv6", other.Address.String())
	})
	if out, err := n.Host.Try("getent", "ahostsv6", "nobody.lab.mesh"); err == nil {
		t.Errorf("a name that does not exist: %q", out)
	}
	// The same for one interface, without a file.
	link := n.Port.Link.A.Name
	for _, args := range [][]string{{"dns", link, n.Address.String()}, {"domain", link, "~lab.mesh"}} {
		if _, err := r.Control(args...); err != nil {
			t.Error(err)
		}
	}
	l.Await("resolvectl to find the name", 20*time.Second, func() error {
		out, err := r.Control("query", "-6", other.Name+".lab.mesh")
		if err == nil && !strings.Contains(out, other.Address.String()) {
			err = fmt.Errorf("resolvectl query: %q", out)
		}
		return err
	})
}

// line lets nodes talk to their neighbours alone.
func line(i, j int) bool { return i-j == 1 || j-i == 1 }

// resolves wants the C library to find the address under the name.
func resolves(h *lab.Host, name, database, want string) error {
	out, err := h.Try("getent", database, name)
	if err != nil {
		return err
	}
	if f := strings.Fields(out); len(f) == 0 || f[0] != want {
		return fmt.Errorf("getent %s %s: %q, want %s", database, name, out, want)
	}
	return nil
}

func hasHealth(n *lab.Node, code string) error {
	out, err := n.Host.Try(n.Binary, "status", "--json", "--state", n.State)
	if err != nil {
		return err
	}
	var s struct{ Health []struct{ Code, Text string } }
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return err
	}
	for _, h := range s.Health {
		if h.Code == code {
			return nil
		}
	}
	return fmt.Errorf("%s: health %v, want %s", n.Name, s.Health, code)
}
