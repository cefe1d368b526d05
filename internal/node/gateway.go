package node

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"re6st/internal/gateway"
	"re6st/internal/kernel"
	"re6st/internal/status"
	"re6st/registry/network"
)

// GatewayOptions say whether and how the node is a way out of the mesh.
type GatewayOptions struct {
	On       bool
	IPv6     string            // auto, routed, translate, masquerade, off
	IPv4     string            // masquerade, off
	Prefix   netip.Prefix      // routed here, for translate
	Maps     [][2]netip.Prefix // announced prefixes, and what they are translated to
	Uplink   string            // empty: where the default route goes
	Inbound  string            // established, all
	Checks   []netip.Addr
	Admit    []netip.Prefix // announced prefixes from which packets may leave
	AdmitAll bool
}

func gatewayDefaults() GatewayOptions {
	return GatewayOptions{IPv6: "auto", IPv4: string(gateway.Masquerade), Inbound: "established", AdmitAll: true}
}

// check finds what is wrong with the options alone, whatever the certificate.
func (o GatewayOptions) check() error {
	wrong := func(format string, args ...any) error {
		return fail(Usage, "see: re6stnode run --help", format, args...)
	}
	switch o.IPv6 {
	case "auto", "routed", "translate", "masquerade", "off":
	default:
		return wrong("--gateway-ipv6 %q: want auto, routed, translate, masquerade or off", o.IPv6)
	}
	switch {
	case o.IPv4 != "masquerade" && o.IPv4 != "off":
		return wrong("--gateway-ipv4 %q: want masquerade or off", o.IPv4)
	case o.Inbound != "established" && o.Inbound != "all":
		return wrong("--gateway-inbound %q: want established or all", o.Inbound)
	case o.IPv6 == "translate" && !o.Prefix.IsValid():
		return wrong("--gateway-ipv6 translate needs the prefix that is routed here: --gateway-prefix")
	case o.IPv6 != "translate" && len(o.Maps) > 0:
		return wrong("--gateway-map: only with --gateway-ipv6 translate")
	case o.Prefix.IsValid() && (!o.Prefix.Addr().Is6() || o.Prefix != o.Prefix.Masked()):
		return wrong("--gateway-prefix %v: want an IPv6 prefix without host bits", o.Prefix)
	}
	return nil
}

// way6 resolves auto: what is not routed on the Internet has to borrow the
// uplink's address. Documentation prefixes count as public: they stand for some.
func (o GatewayOptions) way6(networks []netip.Prefix) gateway.Way {
	if o.IPv6 != "auto" {
		return gateway.Way(o.IPv6)
	}
	if slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Addr().Is6() && n.Addr().IsPrivate() }) {
		return gateway.Masquerade
	}
	return gateway.Routed
}

// nat64 reads --nat64.
func (o Options) nat64() (netip.Prefix, error) {
	switch o.NAT64 {
	case "", "off":
		return netip.Prefix{}, nil
	case "on":
		return netip.MustParsePrefix("64:ff9b::/96"), nil // RFC 6052, section 2.1
	}
	p, err := network.ParseNAT64(o.NAT64)
	if err != nil {
		err = fail(Usage, "see: re6stnode run --help", "--nat64: %w", err)
	}
	return p, err
}

// nat64Prefix is that of a gateway that translates; checkGateway has read it.
func (d *daemon) nat64Prefix() netip.Prefix {
	if d.nat64 != nil {
		return d.nat64.now()
	}
	p, err := d.options.nat64()
	if err != nil || !d.options.Gateway.On {
		return netip.Prefix{}
	}
	if own := d.member.document.Parameters.NAT64; d.options.NAT64 == "on" && own.IsValid() {
		return own
	}
	return p
}

// checkGateway refuses what cannot work, before anything is changed.
func (d *daemon) checkGateway() error {
	o := d.options.Gateway
	if err := o.check(); err != nil {
		return err
	}
	nat64, err := d.options.nat64()
	switch {
	case err != nil:
		return err
	case !o.On && nat64.IsValid():
		return fail(Usage, "add --gateway", "--nat64 %s: only a gateway can translate", d.options.NAT64)
	case !o.On:
		return nil
	}
	if !d.member.self.Rights.Gateway {
		return stateError("leave out --gateway, or join again with a token of: re6stregistry token create --gateway",
			"the certificate of %q does not hold the right to be a gateway", d.member.self.Name)
	}
	if d.options.NoTransit {
		return fail(Usage, "leave out one of the two", "--gateway and --no-transit contradict each other")
	}
	return d.checkTranslated()
}

func (d *daemon) openGateway() (func(), error) { return func() {}, d.checkGateway() }

// makeGateway removes what a dead predecessor left, whether or not this life is
// a gateway's, and prepares the new one.
func (d *daemon) makeGateway() error {
	removed, err := gateway.RemoveLeftovers(d.instance)
	if err != nil {
		return err
	}
	if removed {
		d.log.Info("removed the nftables table that an earlier daemon left")
	}
	o := d.options.Gateway
	if !o.On {
		return nil
	}
	d.gateway, err = gateway.New(gateway.Config{
		Instance: d.instance, Networks: d.networks,
		IPv6: o.way6(d.networks), IPv4: gateway.Way(o.IPv4), NAT64: d.nat64Prefix(), Pool: d.nat64PoolInUse(),
		Uplink: o.Uplink, LetIn: o.Inbound == "all", Checks: o.Checks, Mark: kernel.DefaultMark,
		Originate: d.originateDefault, Open: d.installed.SetGateway, Uplinks: d.uplinksChanged, Log: d.log,
		Facing: func(uplinks []string) { d.lanPorts.outsideChanged(d, uplinks) }, Outside: d.translatedOutside(), Holes: d.translationHoles(),
	})
	return err
}

func (d *daemon) originateDefault(prefix, from netip.Prefix, on bool) {
	d.ways.set(way{prefix, from}, on)
	if on {
		d.speaker.Originate(prefix, from, 0)
		return
	}
	d.speaker.Withdraw(prefix, from)
}

// admitInterval is how often the announced prefixes in use are compared: each is
// one more source from which packets may leave.
const admitInterval = 2 * time.Second

// runGateway ends after Babel: until it has led the others away, this node goes
// on as a way out.
func (d *daemon) runGateway(ctx context.Context) error {
	if d.gateway == nil {
		<-ctx.Done()
		return nil
	}
	own, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.admitAnnounced(own)
	}()
	err := d.gateway.Run(ctx)
	stop()
	<-done
	return errors.Join(err, d.endTranslation())
}

func (d *daemon) admitAnnounced(ctx context.Context) {
	tick := time.NewTicker(admitInterval)
	defer tick.Stop()
	var last []netip.Prefix
	for {
		if now := d.admitted(); !slices.Equal(now, last) {
			d.gateway.Admit(now)
			last = now
		}
		if d.checkTranslation() != nil {
			d.gateway.Reopen()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// admitted are the prefixes beyond the network's that are announced, by this node
// or another, and that the operator lets out. NAT64's is no one's source.
func (d *daemon) admitted() []netip.Prefix {
	o := d.options.Gateway
	doc, _ := d.documents.current()
	var all []netip.Prefix
	for _, p := range slices.Concat(d.origins, d.announced()) {
		isSource := p.Bits() > 0 && p != d.nat64Prefix() && p != doc.Parameters.NAT64
		if isSource && (o.AdmitAll || slices.Contains(o.Admit, p)) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// viewGateway is nil where the node is none.
func (d *daemon) viewGateway() *status.Gateway {
	if d.gateway == nil {
		return nil
	}
	s := d.gateway.Status()
	doc := &status.Gateway{Inbound: d.options.Gateway.Inbound, Families: []status.GatewayFamily{}, Dropped: s.Dropped}
	for _, f := range s.Families {
		if !f.Offered {
			continue
		}
		one := status.GatewayFamily{
			Family: f.Family.String(), Way: string(f.Way), Uplink: f.Uplink, Well: f.Well, Originated: f.Originated,
			Why: f.Why, Failures: f.Flaps,
		}
		if f.NextHop.IsValid() {
			one.NextHop = f.NextHop.String()
		}
		if !f.Since.IsZero() {
			since := f.Since.UTC()
			one.Since = &since
		}
		if !f.Until.IsZero() {
			until := f.Until.UTC()
			one.Until = &until
		}
		doc.Families = append(doc.Families, one)
	}
	var err error
	if doc.Translated, err = d.viewTranslation(); err != nil {
		doc.Translation = err.Error()
	}
	doc.OnLink, doc.NAT64 = s.Wide, d.viewNAT64()
	return doc
}

// gatewayHealth says what an operator of a gateway should look at.
func gatewayHealth(g *status.Gateway, add func(code, text string)) {
	if g == nil {
		return
	}
	for _, f := range g.Families {
		if !f.Originated {
			add("gateway-"+strings.ToLower(f.Family)+"-closed", "this gateway offers no way out for "+f.Family+": "+f.Why)
		}
		if f.Originated && f.Way == string(gateway.Routed) && g.OnLink != "" {
			add("gateway-on-link", "the upstream takes the mesh for neighbours ("+g.OnLink+"), and answers do not come back here: have it route the prefix to this host, or use --gateway-ipv6 masquerade")
		}
	}
	if g.Translation != "" {
		add("gateway-translation", "the prefix translation is not in place: "+g.Translation)
	}
}
