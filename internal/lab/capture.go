package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Capture looks at all packets of some hosts for what must not be there.
type Capture struct {
	lab   *Lab
	hosts []*Host
}

// Capture begins to look, on the hosts, for packets of the underlay inside
// tunnels, tunnels inside tunnels, and secrets, Babel or the canary of streams
// in clear on the underlay.
func (l *Lab) Capture(mesh []netip.Prefix, secrets map[string][]byte, hosts ...*Host) *Capture {
	l.TB.Helper()
	args := captureArgs(mesh)
	args.Secrets["payload of a stream"] = []byte(Canary)
	for label, secret := range secrets {
		args.Secrets[label] = secret
	}
	return l.capture(args, hosts)
}

func captureArgs(mesh []netip.Prefix) CaptureArgs {
	return CaptureArgs{
		Tunnel: "re6st-", Mesh: mesh,
		OuterPorts: [2]uint16{FirstTunnelPort, LastTunnelPort},
		Secrets:    map[string][]byte{},
	}
}

func (l *Lab) capture(args CaptureArgs, hosts []*Host) *Capture {
	l.TB.Helper()
	for _, h := range hosts {
		if err := h.call("CaptureStart", args, &struct{}{}); err != nil {
			l.TB.Fatalf("%v", err)
		}
	}
	return &Capture{l, hosts}
}

// Stop ends it and sums up; each example begins with its host.
func (c *Capture) Stop() CaptureReply {
	c.lab.TB.Helper()
	var sum CaptureReply
	for _, h := range c.hosts {
		var r CaptureReply
		if err := h.call("CaptureStop", struct{}{}, &r); err != nil {
			c.lab.TB.Errorf("%v", err)
		}
		sum.Underlay += r.Underlay
		sum.Inner += r.Inner
		sum.Dropped += r.Dropped
		sum.Offences += r.Offences
		for _, e := range r.Examples {
			sum.Examples = append(sum.Examples, h.Name+" "+e)
		}
	}
	return sum
}

// Err tells the offences, if there are any.
func (r CaptureReply) Err() error {
	if r.Offences == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d packets on the underlay and %d in tunnels are not as they must be:\n\t%s",
		r.Offences, r.Underlay, r.Inner, strings.Join(r.Examples[:min(len(r.Examples), examplesMax)], "\n\t"))
}

// Capture looks at all nodes: names and addresses of the mesh are secrets on
// the underlay.
func (m *Mesh) Capture() *Capture {
	m.Lab.TB.Helper()
	network := netip.MustParsePrefix(Network)
	prefix := network.Addr().As16()
	secrets := map[string][]byte{"address of the mesh": prefix[:network.Bits()/8]}
	for _, n := range m.Nodes {
		secrets["name "+n.Name] = []byte(n.Name)
	}
	return m.Lab.Capture([]netip.Prefix{network}, secrets, m.hosts()...)
}

// Capture looks at all nodes: outside packets may run in tunnels, on their way
// to a gateway or from one, but nothing from or to the underlay's addresses of
// the nodes and the registry. Names of nodes are secrets on the underlay, which
// the LANs of homes are not; behind a gateway the rest is in clear, as on any
// Internet.
func (w *World) Capture(mesh ...netip.Prefix) *Capture {
	w.Lab.TB.Helper()
	args := captureArgs(append(mesh, netip.MustParsePrefix(Network)))
	for _, n := range w.Nodes {
		args.addUnderlay(n.Port)
	}
	for _, h := range w.Homes {
		args.addUnderlay(h.WAN)
	}
	args.addUnderlay(w.registryPort)
	var homes, others []*Host
	for _, h := range w.hosts() {
		if slices.ContainsFunc(w.Homes, func(home *Home) bool { return home.Host == h }) {
			homes = append(homes, h)
		} else {
			others = append(others, h)
		}
	}
	c := w.Lab.capture(args, homes)
	args.Secrets = map[string][]byte{}
	for _, n := range w.Nodes {
		args.Secrets["name "+n.Name] = []byte(n.Name)
	}
	c.hosts = append(c.hosts, w.Lab.capture(args, others).hosts...)
	return c
}

func (c *CaptureArgs) addUnderlay(p *Port) {
	for _, a := range []netip.Addr{p.V4, p.V6} {
		if a.IsValid() {
			c.Underlay = append(c.Underlay, netip.PrefixFrom(a, a.BitLen()))
		}
	}
}
