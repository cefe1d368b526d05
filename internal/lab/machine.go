package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
)

// What a machine on somebody's LAN does with nothing installed: it takes
// addresses from router advertisements, which is the kernel's work, and from
// DHCP, for which busybox has a client.

// Addresses lists those of the interface that are valid beyond the link.
func (i Interface) Addresses() ([]netip.Prefix, error) {
	out, err := i.Host.Try("ip", "-o", "addr", "show", "dev", i.Name, "scope", "global")
	if err != nil {
		return nil, err
	}
	var all []netip.Prefix
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		p, err := netip.ParsePrefix(f[3])
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", line, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// AwaitAddress waits until the interface has an address in the prefix, and
// returns it and how long it took.
func (i Interface) AwaitAddress(in netip.Prefix, timeout time.Duration) (netip.Addr, time.Duration) {
	i.Host.Lab.TB.Helper()
	var found netip.Addr
	took := i.Host.Lab.Await(fmt.Sprintf("an address of %v on %s of %s", in, i.Name, i.Host.Name), timeout, func() error {
		all, err := i.Addresses()
		if err != nil {
			return err
		}
		for _, p := range all {
			if in.Contains(p.Addr()) {
				found = p.Addr()
				return nil
			}
		}
		return fmt.Errorf("it has %v", all)
	})
	return found, took
}

// Lease is what DHCP gave.
type Lease struct {
	Address netip.Prefix
	Routers []netip.Addr
	DNS     []netip.Addr
}

// dhcpScript is what the client calls: it does what a distribution's would, but
// leaves the resolver's file alone, which all hosts share.
const dhcpScript = `#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip -4 address replace "$ip/$mask" dev "$interface"
for r in $router; do ip -4 route replace 0.0.0.0/0 via "$r" dev "$interface"; break; done
{ echo "address $ip/$mask"; for r in $router; do echo "router $r"; done; for d in $dns; do echo "dns $d"; done; } >"$0.lease"
`

// DHCP asks once for an address and configures the interface with it.
func (i Interface) DHCP(timeout time.Duration) (Lease, error) {
	script := i.Host.Path("dhcp-" + i.Name)
	if err := os.WriteFile(script, []byte(dhcpScript), 0o755); err != nil {
		return Lease{}, err
	}
	tries := max(1, int(timeout/time.Second))
	_, err := i.Host.Try("busybox", "udhcpc", "-i", i.Name, "-f", "-q", "-n", "-t", fmt.Sprint(tries), "-T", "1", "-s", script)
	if err != nil {
		return Lease{}, err
	}
	b, err := os.ReadFile(script + ".lease")
	if err != nil {
		return Lease{}, fmt.Errorf("%s: the DHCP client ended well, but was given nothing: %w", i.Host.Name, err)
	}
	return parseLease(b)
}

func parseLease(b []byte) (Lease, error) {
	var l Lease
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), " ")
		if key == "address" {
			p, err := netip.ParsePrefix(value)
			if err != nil {
				return l, err
			}
			l.Address = p
			continue
		}
		a, err := netip.ParseAddr(value)
		if err != nil {
			return l, err
		}
		if key == "router" {
			l.Routers = append(l.Routers, a)
		} else {
			l.DNS = append(l.DNS, a)
		}
	}
	return l, nil
}
