package node

import (
	"fmt"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"re6st/babel"
	"re6st/ebpf"
	"re6st/internal/status"
)

// A family is one metric with the values of its labels open.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) *family {
	return &family{prometheus.NewDesc("re6st_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) *family {
	return &family{prometheus.NewDesc("re6st_"+name, help, labels, nil), prometheus.CounterValue}
}

// The metrics. The number of series is bounded whatever others do (threat T-26):
// peers are those with a tunnel, destinations those that a traffic.Meter tells
// apart, and every other label has its values in our source.
var (
	buildInfo = gauge("build_info", "What runs; always 1.", "version", "revision", "goversion")
	nodeInfo  = gauge("node_info", "Who this node is; always 1.", "name", "prefix", "router_id", "backend")

	networkVersion  = gauge("network_version", "Version of the network document in force.")
	registryUp      = gauge("registry_reachable", "Whether the registry answered when it was asked last.")
	registryContact = gauge("registry_last_contact_timestamp_seconds", "When the registry answered last.")
	certificateEnd  = gauge("certificate_expiry_timestamp_seconds", "When this node's certificate ends.")
	healthProblems  = gauge("health_problems", "What an operator should look at, see re6stnode status.", "code")

	tunnels        = gauge("tunnels", "Tunnels of this node.", "state", "direction", "reason")
	tunnelReceived = counter("tunnel_received_bytes_total", "Bytes that came through the tunnel, with WireGuard's overhead.", "peer", "peer_address")
	tunnelSent     = counter("tunnel_sent_bytes_total", "Bytes that went through the tunnel, with WireGuard's overhead.", "peer", "peer_address")
	tunnelCarried  = counter("tunnel_carried_bytes_total", "Bytes of packets that went through the tunnel for other nodes.", "peer", "peer_address")
	tunnelPackets  = counter("tunnel_packets_total", "Packets inside the tunnel.", "peer", "peer_address", "direction")
	tunnelRTT      = gauge("tunnel_rtt_seconds", "Smoothed round-trip time of the tunnel.", "peer", "peer_address")
	tunnelLoss     = gauge("tunnel_loss_ratio", "Share of Babel's Hellos that were missed lately.", "peer", "peer_address")
	tunnelCost     = gauge("tunnel_cost", "Babel's cost of the tunnel.", "peer", "peer_address")
	tunnelRoutes   = gauge("tunnel_routes", "Destinations whose next hop is the peer.", "peer", "peer_address")

	trafficBytes       = counter("traffic_bytes_total", "Bytes of packets that went into tunnels: this node's own, and those carried for others.", "kind")
	trafficPackets     = counter("traffic_packets_total", "Packets that went into tunnels: this node's own, and those carried for others.", "kind")
	destinationBytes   = counter("destination_bytes_total", "As traffic_bytes_total by destination: those that carry most; other is the rest.", "destination", "owner", "kind")
	destinationPackets = counter("destination_packets_total", "As traffic_packets_total by destination: those that carry most; other is the rest.", "destination", "owner", "kind")
	destinationsKnown  = gauge("destinations_told_apart", "Whether all ways of forwarding count by destination.")

	routes        = gauge("routes_installed", "Routes that are in the kernel.")
	routesRefused = counter("routes_refused_total", "Routes that were not used as nothing proved them.")
	certificates  = gauge("certificates_known", "Certificates of nodes that are at hand.")

	babelPackets   = counter("babel_packets_total", "Babel packets on the tunnel.", "peer", "peer_address", "direction")
	babelBytes     = counter("babel_bytes_total", "Bytes of Babel packets on the tunnel.", "peer", "peer_address", "direction")
	babelUpdates   = counter("babel_updates_total", "Babel Updates on the tunnel.", "peer", "peer_address", "direction")
	babelMalformed = counter("babel_malformed_packets_total", "Babel packets that made no sense.", "peer", "peer_address")
	babelResent    = counter("babel_resent_messages_total", "Babel messages that were sent again for want of an acknowledgment.", "peer", "peer_address")
	babelDropped   = counter("babel_dropped_total", "What a limit or the import filter of Babel left out.", "peer", "peer_address", "what")

	edgeDropped     = counter("edge_dropped_packets_total", "Packets that had no business in the mesh, or on the underlay, by why.", "reason")
	underlayDropped = counter("underlay_dropped_datagrams_total", "Datagrams that reached no tunnel of the userspace WireGuard, by why.", "reason")

	shortcutOn      = gauge("shortcut_on", "Whether packets in transit take the way past the IP stack.")
	shortcutPackets = counter("shortcut_packets_total", "Packets that the shortcut looked at: forwarded, or why they were left to the IP stack.", "result")
	shortcutEntries = gauge("shortcut_entries", "Routes that the shortcut knows.")
	shortcutLost    = gauge("shortcut_entries_lost", "Routes for which the shortcut has no room.")

	relayedPackets = counter("relayed_packets_total", "Packets that went from tunnel to tunnel inside the process.")
	relayedBytes   = counter("relayed_bytes_total", "Bytes of packets that went from tunnel to tunnel inside the process.")
	relayedRefused = counter("relayed_refused_packets_total", "Packets for which there was no room on the way inside the process.")

	gatewayOpen     = gauge("gateway_open", "Whether the way out of this gateway is announced.", "family")
	gatewayUpstream = gauge("gateway_upstream_well", "Whether the upstream of this gateway works.", "family")
	gatewayDropped  = counter("gateway_dropped_packets_total", "Packets that the gateway refused, by why.", "reason")
	nat64Mappings   = gauge("nat64_mappings", "Sources that have an IPv4 address at the translator.")
	nat64Packets    = counter("nat64_packets_total", "Packets at the translator to IPv4, by what became of them.", "result")
	npt66Packets    = counter("prefix_translation_packets_total", "Packets whose prefix was translated (RFC 6296).", "direction")
	npt66Bytes      = counter("prefix_translation_bytes_total", "Bytes of packets whose prefix was translated (RFC 6296).", "direction")
	npt66Dropped    = counter("prefix_translation_dropped_packets_total", "Packets that could not be translated, by why.", "direction", "reason")
)

var families = []*family{
	buildInfo, nodeInfo, networkVersion, registryUp, registryContact, certificateEnd, healthProblems,
	tunnels, tunnelReceived, tunnelSent, tunnelCarried, tunnelPackets, tunnelRTT, tunnelLoss, tunnelCost, tunnelRoutes,
	trafficBytes, trafficPackets, destinationBytes, destinationPackets, destinationsKnown,
	routes, routesRefused, certificates,
	babelPackets, babelBytes, babelUpdates, babelMalformed, babelResent, babelDropped,
	edgeDropped, underlayDropped, shortcutOn, shortcutPackets, shortcutEntries, shortcutLost, relayedPackets, relayedBytes, relayedRefused, gatewayOpen, gatewayUpstream, gatewayDropped, nat64Mappings, nat64Packets,
	npt66Packets, npt66Bytes, npt66Dropped,
}

// measurement is all that the metrics are made of: what the operator's commands
// show as well, and so nothing secret.
type measurement struct {
	node     status.Node
	tunnels  []status.Tunnel
	traffic  status.Traffic
	babel    []babelLink
	underlay map[string]uint64   // datagrams that were dropped, by why
	shortcut *ebpf.ShortcutStats // nil: none
}

// babelLink is Babel on one tunnel.
type babelLink struct {
	iface   string
	state   babel.InterfaceState
	dropped babel.Dropped
}

// nodeCollector reads everything anew for each scrape.
type nodeCollector struct {
	measure func() (measurement, error)
}

// Describe is prometheus.Collector's.
func (c nodeCollector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range families {
		to <- f.desc
	}
}

// Collect is prometheus.Collector's.
func (c nodeCollector) Collect(to chan<- prometheus.Metric) {
	m, err := c.measure()
	if err != nil {
		to <- prometheus.NewInvalidMetric(nodeInfo.desc, fmt.Errorf("reading the node's state: %w", err))
		return
	}
	put := func(f *family, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
	}
	m.putNode(put)
	m.putTunnels(put)
	m.putTraffic(put)
	m.putBabel(put)
	m.putDrops(put)
	m.putGateway(put)
}

type putter func(f *family, value float64, labels ...string)

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *measurement) putNode(put putter) {
	version, revision, goversion := build()
	put(buildInfo, 1, version, revision, goversion)
	n := &m.node
	put(nodeInfo, 1, n.Name, n.Prefix, n.RouterID, n.Backend)
	put(networkVersion, float64(n.NetworkVersion))
	put(registryUp, one(n.Registry.Reachable))
	if at := n.Registry.LastContact; at != nil {
		put(registryContact, float64(at.Unix()))
	}
	put(certificateEnd, float64(n.Certificate.NotAfter.Unix()))
	problems := map[string]int{}
	for _, h := range n.Health {
		problems[h.Code]++
	}
	for code, count := range problems {
		put(healthProblems, float64(count), code)
	}
	put(routes, float64(n.Routes))
	put(routesRefused, float64(n.RefusedRoutes))
	put(certificates, float64(n.Certificates))
}

// build is what the Go toolchain noted in the binary.
func build() (version, revision, goversion string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", "", ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return info.Main.Version, revision, info.GoVersion
}

// peerLabels are those of the tunnels that are up, by interface. A peer has one
// tunnel; of two in a moment of change the first counts.
func (m *measurement) peerLabels() map[string][]string {
	labels := map[string][]string{}
	isTaken := map[string]bool{}
	for _, t := range m.tunnels {
		if t.Interface != "" && !isTaken[t.PeerAddress] {
			isTaken[t.PeerAddress] = true
			labels[t.Interface] = []string{t.Peer, t.PeerAddress}
		}
	}
	return labels
}

func (m *measurement) putTunnels(put putter) {
	numbers := map[[3]string]int{}
	labels := m.peerLabels()
	for _, t := range m.tunnels {
		numbers[[3]string{t.State, t.Direction, t.Reason}]++
		peer, ok := labels[t.Interface]
		if !ok {
			continue
		}
		delete(labels, t.Interface)
		put(tunnelReceived, float64(t.RxBytes), peer...)
		put(tunnelSent, float64(t.TxBytes), peer...)
		put(tunnelLoss, t.Loss, peer...)
		put(tunnelCost, float64(t.Cost), peer...)
		put(tunnelRoutes, float64(t.RoutesVia), peer...)
		if t.RTTms != nil {
			put(tunnelRTT, *t.RTTms/1000, peer...)
		}
	}
	for k, n := range numbers {
		put(tunnels, float64(n), k[:]...)
	}
}

func (m *measurement) putTraffic(put putter) {
	t := &m.traffic
	kinds := func(bytes, packets *family, own, carried status.Stream, labels ...string) {
		for kind, s := range map[string]status.Stream{"own": own, "carried": carried} {
			all := append(labels[:len(labels):len(labels)], kind)
			put(bytes, float64(s.Bytes), all...)
			put(packets, float64(s.Packets), all...)
		}
	}
	kinds(trafficBytes, trafficPackets, t.Own, t.Carried)
	for _, d := range t.Destinations {
		kinds(destinationBytes, destinationPackets, d.Own, d.Carried, d.Prefix, d.Owner)
	}
	kinds(destinationBytes, destinationPackets, t.Other.Own, t.Other.Carried, "other", "")
	put(destinationsKnown, one(t.Unknown == ""))
	labels := m.peerLabels()
	for _, x := range t.Tunnels {
		if peer, ok := labels[x.Interface]; ok {
			delete(labels, x.Interface)
			put(tunnelCarried, float64(x.Carried.Bytes), peer...)
			put(tunnelPackets, float64(x.Received.Packets), append(peer[:2:2], "received")...)
			put(tunnelPackets, float64(x.Sent.Packets), append(peer[:2:2], "sent")...)
		}
	}
}

func (m *measurement) putBabel(put putter) {
	labels := m.peerLabels()
	for _, l := range m.babel {
		peer, ok := labels[l.iface]
		if !ok {
			continue
		}
		delete(labels, l.iface)
		with := func(more string) []string { return append(peer[:2:2], more) }
		put(babelPackets, float64(l.state.PacketsIn), with("received")...)
		put(babelPackets, float64(l.state.PacketsOut), with("sent")...)
		put(babelBytes, float64(l.state.BytesIn), with("received")...)
		put(babelBytes, float64(l.state.BytesOut), with("sent")...)
		put(babelUpdates, float64(l.state.UpdatesIn), with("received")...)
		put(babelUpdates, float64(l.state.UpdatesOut), with("sent")...)
		put(babelMalformed, float64(l.state.Malformed), peer...)
		put(babelResent, float64(l.state.Resent), peer...)
		for what, n := range map[string]uint64{
			"routes": l.dropped.Routes, "filtered": l.dropped.Filtered, "attachments": l.dropped.Attachments, "requests": l.dropped.Requests,
			"dumps": l.dropped.Dumps, "news": l.dropped.News, "ups": l.dropped.Ups, "complaints": l.dropped.Complaints,
		} {
			put(babelDropped, float64(n), with(what)...)
		}
	}
}

func (m *measurement) putDrops(put putter) {
	for reason, n := range m.node.EdgeDropped {
		put(edgeDropped, float64(n), reason)
	}
	for reason, n := range m.underlay {
		put(underlayDropped, float64(n), reason)
	}
	if s := m.node.Shortcut; s != nil {
		put(shortcutOn, one(s.On)) // in the kernel, or inside the process
	}
	if s := m.shortcut; s != nil {
		put(shortcutEntries, float64(s.Entries))
		put(shortcutLost, float64(s.Lost))
		for result, n := range s.Packets {
			put(shortcutPackets, float64(n), result)
		}
	}
	if r := m.node.Relayed; r != nil {
		put(relayedPackets, float64(r.Packets))
		put(relayedBytes, float64(r.Bytes))
		put(relayedRefused, float64(r.Refused))
	}
}

func (m *measurement) putGateway(put putter) {
	g := m.node.Gateway
	if g == nil {
		return
	}
	for _, f := range g.Families {
		put(gatewayOpen, one(f.Originated), f.Family)
		put(gatewayUpstream, one(f.Well), f.Family)
	}
	for reason, n := range g.Dropped {
		put(gatewayDropped, float64(n), reason)
	}
	if n := g.NAT64; n != nil {
		put(nat64Mappings, float64(n.Mappings))
		for result, count := range n.Packets {
			put(nat64Packets, float64(count), result)
		}
	}
	if x := g.Translated; x != nil {
		for direction, c := range map[string]status.TranslationCounters{"out": x.Out, "in": x.In} {
			put(npt66Packets, float64(c.Packets), direction)
			put(npt66Bytes, float64(c.Bytes), direction)
			put(npt66Dropped, float64(c.Unmapped), direction, "unmapped")
			put(npt66Dropped, float64(c.Failed), direction, "failed")
		}
	}
}

// measure asks all parts.
func (d *daemon) measure() (m measurement, err error) {
	if m.node, err = d.viewStatus(); err != nil {
		return m, err
	}
	all, err := d.viewTunnels()
	if err != nil {
		return m, err
	}
	m.tunnels = all.Tunnels
	if m.traffic, err = d.viewTraffic(); err != nil {
		return m, err
	}
	links := map[int]*babelLink{}
	for _, i := range d.speaker.Interfaces() {
		links[i.Index] = &babelLink{iface: i.Name, state: i}
	}
	for _, n := range d.speaker.Neighbours() {
		if l := links[n.Interface]; l != nil {
			l.dropped = n.Dropped
		}
	}
	for _, l := range links {
		m.babel = append(m.babel, *l)
	}
	m.underlay = d.underlayDropped()
	if p := d.counting.programs; p != nil {
		if s, err := p.Stats(); err == nil {
			m.shortcut = &s
		}
	}
	return m, nil
}
