package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"re6st/internal/kernel"
	"re6st/internal/nat64"
	"re6st/internal/nat64/tun"
	"re6st/internal/status"
)

// nat64Link begins the name of the device; the instance's hash follows.
const nat64Link = tunnelPrefix + "n"

// nat64Service is a gateway's translation to IPv4.
type nat64Service struct {
	name       string // of the device
	pool       netip.Prefix
	translator *nat64.Translator

	mu     sync.Mutex // guards the fields below
	device *tun.Device
	index  int
	prefix netip.Prefix
}

func (s *nat64Service) open() *tun.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.device
}

func (s *nat64Service) now() netip.Prefix {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prefix
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
	s.name, s.translator = nat64Link+d.instance, translator
	if err := d.leadToNAT64(s); err != nil {
		return nil, fail(Failed, "leave out --nat64 if this host cannot have TUN devices", "--nat64: %w", err)
	}
	d.nat64 = s
	return func() { d.closeNAT64() }, nil
}

// leadToNAT64 makes the device and what leads to it. It may be called again where
// the device is gone.
func (d *daemon) leadToNAT64(s *nat64Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	device, err := tun.Open(s.name, s.translator)
	if err != nil {
		return err
	}
	own := netip.PrefixFrom(nat64.Own(s.pool), s.pool.Bits())
	if s.index, err = d.host.SetUpTUN(s.name, kernel.Alias(d.instance, "IPv4 by NAT64"), own); err == nil {
		err = d.host.Apply([]kernel.RouteChange{{Route: d.nat64Route(s, s.prefix)}})[0]
	}
	if err != nil {
		_ = device.Close()
		return err
	}
	s.device = device
	return nil
}

// followNAT64 goes over to another prefix, where the operator leaves it to the
// network which one it is. First packets for the new one find the device, then
// others are told of it.
func (d *daemon) followNAT64(to netip.Prefix) {
	s := d.nat64
	if s == nil || d.options.NAT64 != "on" || !to.IsValid() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if to == s.prefix {
		return
	}
	s.device.SetPrefix(to)
	err := errors.Join(d.host.Apply([]kernel.RouteChange{{Route: d.nat64Route(s, to)}, {Route: d.nat64Route(s, s.prefix), Delete: true}})...)
	if err != nil {
		d.log.Error("leading another NAT64 prefix to its translator", "prefix", to, "err", err)
		return
	}
	s.prefix = to
	d.gateway.Translate(to)
}

// nat64Route is preferred to another gateway's.
func (d *daemon) nat64Route(s *nat64Service, prefix netip.Prefix) kernel.Route {
	return kernel.Route{
		Dst: prefix, Ifindex: s.index, Table: d.options.Table, Priority: nat64Priority, Protocol: kernel.Protocol,
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
	_ = d.host.Apply([]kernel.RouteChange{{Route: d.nat64Route(d.nat64, d.nat64.now()), Delete: true}})
	_ = d.nat64.open().Close()
}

// nat64PoolInUse is invalid where nothing is translated.
func (d *daemon) nat64PoolInUse() netip.Prefix {
	if d.nat64 == nil {
		return netip.Prefix{}
	}
	return d.nat64.pool
}

// nat64Pause lies between two attempts to make the device again.
const nat64Pause = time.Second

// runNAT64 translates until ctx ends, which is after Babel has led others away. A
// device that somebody deletes is made again.
func (d *daemon) runNAT64(ctx context.Context) error {
	if d.nat64 == nil {
		<-ctx.Done()
		return nil
	}
	for {
		err := d.nat64.open().Run(ctx)
		for err != nil && ctx.Err() == nil {
			d.log.Warn("the NAT64 device is gone; making it again", "interface", d.nat64.name, "err", err)
			wait(ctx, nat64Pause)
			err = d.leadToNAT64(d.nat64)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// viewNAT64 is nil where the node translates nothing.
func (d *daemon) viewNAT64() *status.NAT64 {
	if d.nat64 == nil {
		return nil
	}
	device := d.nat64.open()
	return &status.NAT64{
		Prefix: d.nat64.now().String(), Pool: d.nat64.pool.String(), Mappings: device.Mappings(), Packets: device.Counts(),
	}
}

// nat64Health: others use a gateway's prefix only if it is the network's.
func (d *daemon) nat64Health() []status.Health {
	if d.nat64 == nil {
		return nil
	}
	doc, _ := d.documents.current()
	own := d.nat64.now()
	if doc.Parameters.NAT64 == own {
		return nil
	}
	have := "has no NAT64 prefix"
	if doc.Parameters.NAT64.IsValid() {
		have = "has " + doc.Parameters.NAT64.String()
	}
	return []status.Health{{Code: "nat64-prefix", Text: fmt.Sprintf(
		"this gateway translates %v, but the network %s, so that no one uses it (re6stregistry network set nat64=%v, or start with --nat64 on)", own, have, own)}}
}
