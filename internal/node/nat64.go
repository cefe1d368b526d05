package node

import (
	"context"
	"fmt"
	"net/netip"

	"re6st/internal/kernel"
	"re6st/internal/nat64"
	"re6st/internal/nat64/tun"
	"re6st/internal/status"
)

// nat64Link begins the name of the device; the instance's hash follows.
const nat64Link = tunnelPrefix + "n"

// nat64Service is a gateway's translation to IPv4.
type nat64Service struct {
	prefix netip.Prefix
	pool   netip.Prefix
	device *tun.Device
	index  int
}

// nat64Pool is where translated sources get their IPv4 addresses.
func (o Options) nat64Pool() netip.Prefix {
	if o.NAT64Pool.IsValid() {
		return o.NAT64Pool
	}
	return netip.MustParsePrefix(nat64.DefaultPool)
}

// openNAT64 makes the device, its address and its routes. The gateway's firewall
// lets nothing through it before there is an upstream; what comes earlier is
// answered by the kernel.
func (d *daemon) openNAT64() (func(), error) {
	prefix := d.nat64Prefix()
	if !prefix.IsValid() {
		return func() {}, nil
	}
	s := &nat64Service{prefix: prefix, pool: d.options.nat64Pool()}
	var six, four []netip.Prefix
	for _, n := range d.networks {
		if n.Addr().Is6() {
			six = append(six, n)
		} else {
			four = append(four, n)
		}
	}
	translator, err := nat64.New(nat64.Config{Prefix: prefix, Pool: s.pool, Sources: six, Refused: four, Self: d.member.self.Address})
	if err != nil {
		return nil, fail(Usage, "see: re6stnode run --help", "--nat64: %w", err)
	}
	name := nat64Link + d.instance
	if s.device, err = tun.Open(name, translator); err != nil {
		return nil, fail(Failed, "leave out --nat64 if this host cannot have TUN devices", "--nat64: %w", err)
	}
	if err := d.leadToNAT64(s, name); err != nil {
		_ = s.device.Close()
		return nil, fmt.Errorf("preparing NAT64: %w", err)
	}
	d.nat64 = s
	return func() { d.closeNAT64() }, nil
}

func (d *daemon) leadToNAT64(s *nat64Service, name string) error {
	own := netip.PrefixFrom(nat64.Own(s.pool), s.pool.Bits())
	index, err := d.host.SetUpTUN(name, kernel.Alias(d.instance, "IPv4 by NAT64"), own)
	if err != nil {
		return err
	}
	s.index = index
	// What comes for the pool goes by the host's own routes, which lead to the
	// device, and never by its default.
	if err := d.installed.SetOrigins(append(d.origins[:len(d.origins):len(d.origins)], s.pool)); err != nil {
		return err
	}
	return d.host.Apply([]kernel.RouteChange{{Route: d.nat64Route(s)}})[0]
}

// nat64Route is preferred to another gateway's.
func (d *daemon) nat64Route(s *nat64Service) kernel.Route {
	return kernel.Route{
		Dst: s.prefix, Ifindex: s.index, Table: d.options.Table, Priority: nat64Priority, Protocol: kernel.Protocol,
		PrefSrc: d.member.self.Address,
	}
}

// nat64Priority is smaller than that of Babel's routes.
const nat64Priority = 512

func (d *daemon) closeNAT64() {
	if d.nat64 == nil {
		return
	}
	// The device may be gone already, and the route with it.
	_ = d.host.Apply([]kernel.RouteChange{{Route: d.nat64Route(d.nat64), Delete: true}})
	_ = d.nat64.device.Close()
}

// nat64PoolInUse is invalid where nothing is translated.
func (d *daemon) nat64PoolInUse() netip.Prefix {
	if d.nat64 == nil {
		return netip.Prefix{}
	}
	return d.nat64.pool
}

// runNAT64 translates until ctx ends, which is after Babel has led others away.
func (d *daemon) runNAT64(ctx context.Context) error {
	if d.nat64 == nil {
		<-ctx.Done()
		return nil
	}
	return d.nat64.device.Run(ctx)
}

// viewNAT64 is nil where the node translates nothing.
func (d *daemon) viewNAT64() *status.NAT64 {
	if d.nat64 == nil {
		return nil
	}
	return &status.NAT64{
		Prefix: d.nat64.prefix.String(), Pool: d.nat64.pool.String(), Mappings: d.nat64.device.Mappings(), Packets: d.nat64.device.Counts(),
	}
}

// nat64Health: others use a gateway's prefix only if it is the network's.
func (d *daemon) nat64Health() []status.Health {
	if d.nat64 == nil {
		return nil
	}
	doc, _ := d.documents.current()
	if doc.Parameters.NAT64 == d.nat64.prefix {
		return nil
	}
	have := "has no NAT64 prefix"
	if doc.Parameters.NAT64.IsValid() {
		have = "has " + doc.Parameters.NAT64.String()
	}
	return []status.Health{{Code: "nat64-prefix", Text: fmt.Sprintf(
		"this gateway translates %v, but the network %s, so that no one uses it (re6stregistry network set nat64=%v, or start with --nat64 on)", d.nat64.prefix, have, d.nat64.prefix)}}
}
