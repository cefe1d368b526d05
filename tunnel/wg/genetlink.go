package wg

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// wireguardFamily is the generic netlink family of kernel WireGuard.
//
// The peer is set by a message of our own: wgctrl leaves the zone of a
// link-local endpoint out, and such a one is not reachable without.
type wireguardFamily struct{ id int }

func findWireguardFamily() (wireguardFamily, error) {
	f, err := netlink.GenlFamilyGet(unix.WG_GENL_NAME)
	if err != nil {
		return wireguardFamily{}, fmt.Errorf("looking for WireGuard's control: %w", err)
	}
	return wireguardFamily{id: int(f.ID)}, nil
}

func (f wireguardFamily) setPeer(index int, p Peer, replace bool) error {
	attrs, err := peerAttributes(index, p, replace)
	if err != nil {
		return err
	}
	request := nl.NewNetlinkRequest(f.id, unix.NLM_F_ACK)
	request.AddData(&nl.Genlmsg{Command: unix.WG_CMD_SET_DEVICE, Version: unix.WG_GENL_VERSION})
	for _, a := range attrs {
		request.AddData(a)
	}
	_, err = request.Execute(unix.NETLINK_GENERIC, 0)
	return err
}

// peerAttributes are those of WG_CMD_SET_DEVICE (linux/wireguard.h): the device
// by index and a list of one peer. Arrays are nested attributes whose types do
// not matter.
func peerAttributes(index int, p Peer, replace bool) ([]*nl.RtAttr, error) {
	native := binary.NativeEndian
	attrs := []*nl.RtAttr{nl.NewRtAttr(unix.WGDEVICE_A_IFINDEX, native.AppendUint32(nil, uint32(index)))}
	if replace {
		attrs = append(attrs, nl.NewRtAttr(unix.WGDEVICE_A_FLAGS, nl.Uint32Attr(unix.WGDEVICE_F_REPLACE_PEERS)))
	}
	peers := nl.NewRtAttr(unix.WGDEVICE_A_PEERS|unix.NLA_F_NESTED, nil)
	peer := peers.AddRtAttr(unix.NLA_F_NESTED, nil)
	peer.AddRtAttr(unix.WGPEER_A_PUBLIC_KEY, p.PublicKey[:])
	peer.AddRtAttr(unix.WGPEER_A_FLAGS, nl.Uint32Attr(unix.WGPEER_F_REPLACE_ALLOWEDIPS))
	peer.AddRtAttr(unix.WGPEER_A_PRESHARED_KEY, p.PresharedKey[:])
	if p.Endpoint.IsValid() {
		sockaddr, err := sockaddrOf(p.Endpoint)
		if err != nil {
			return nil, err
		}
		peer.AddRtAttr(unix.WGPEER_A_ENDPOINT, sockaddr)
	}
	peer.AddRtAttr(unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, nl.Uint16Attr(uint16(p.Keepalive/time.Second)))
	allowed := peer.AddRtAttr(unix.WGPEER_A_ALLOWEDIPS|unix.NLA_F_NESTED, nil)
	for _, all := range []struct {
		family uint16
		any    netip.Addr
	}{{unix.AF_INET6, netip.IPv6Unspecified()}, {unix.AF_INET, netip.IPv4Unspecified()}} {
		one := allowed.AddRtAttr(unix.NLA_F_NESTED, nil)
		one.AddRtAttr(unix.WGALLOWEDIP_A_FAMILY, nl.Uint16Attr(all.family))
		one.AddRtAttr(unix.WGALLOWEDIP_A_IPADDR, all.any.AsSlice())
		one.AddRtAttr(unix.WGALLOWEDIP_A_CIDR_MASK, nl.Uint8Attr(0))
	}
	return append(attrs, peers), nil
}

// sockaddrOf is struct sockaddr_in or sockaddr_in6: family in host byte order,
// port in network byte order, for IPv6 u32 flow, address, u32 scope.
func sockaddrOf(e netip.AddrPort) ([]byte, error) {
	native := binary.NativeEndian
	addr := e.Addr().Unmap()
	if addr.Is4() {
		b := native.AppendUint16(nil, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, e.Port())
		b = append(b, addr.AsSlice()...)
		return append(b, make([]byte, 8)...), nil
	}
	scope, err := scopeOf(addr.Zone())
	if err != nil {
		return nil, err
	}
	b := native.AppendUint16(nil, unix.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, e.Port())
	b = native.AppendUint32(b, 0)
	b = append(b, addr.WithZone("").AsSlice()...)
	return native.AppendUint32(b, scope), nil
}

// scopeOf takes a zone that is the name or the index of an interface.
func scopeOf(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 31); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("zone %q of the endpoint: %w", zone, err)
	}
	return uint32(i.Index), nil
}
