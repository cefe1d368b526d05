package node

import (
	"log/slog"
	"net/netip"
	"time"
)

// Options are what an operator may choose for one node. Zero Tunnels or Refresh
// mean the network's parameter; a value of the operator's wins over it.
type Options struct {
	StateDir         string
	WireGuard        string // auto, kernel, userspace
	Tunnels          int
	Refresh          time.Duration
	DemandTunnels    int    // negative: the network's
	MaxIncoming      int    // negative: as many as the selection wants
	Port             uint16 // UDP and TCP port of the control API
	FirstPort        uint16 // range of UDP ports for tunnels, both ends included
	LastPort         uint16
	Endpoints        []netip.AddrPort // of the control API, to tell others
	Peers            []netip.AddrPort // to begin with
	Table            uint32
	RulePriority     uint32
	AddressInterface string
	Announce         []string // prefixes of the certificate, or all or none; empty: all
	LANs             []string // IFACE or IFACE=PREFIX
	Gateway          GatewayOptions
	NAT64            string // off, on or a prefix
	NAT64Pool        netip.Prefix
	Names            NamesOptions
	NoTransit        bool           // carry no packets of others
	LANsIPv4         []string       // IFACE or IFACE=SUBNET
	Shortcut         string         // auto, on, off
	Metrics          netip.AddrPort // of the server for Prometheus; invalid: none
	Log              *slog.Logger
}

// Defaults are the options of an operator who chooses nothing.
func Defaults() Options {
	return Options{
		WireGuard: "auto", Port: 6326, FirstPort: 6327, LastPort: 6582,
		DemandTunnels: -1, MaxIncoming: -1,
		Table: 326, RulePriority: 26000, AddressInterface: "lo",
		Gateway: gatewayDefaults(), NAT64: "off", Shortcut: bypassAuto,
	}
}
