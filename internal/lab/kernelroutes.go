package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// KernelRoute is a route of a host's main table.
type KernelRoute struct {
	Prefix, From netip.Prefix // From is the zero value for any source
	Via          netip.Addr   // of any family; invalid for none
	Interface    string
	Protocol     int
	Unreachable  bool
}

// KernelRoutes reads the main tables of both families. It starts no program:
// tests poll it.
func (h *Host) KernelRoutes() ([]KernelRoute, error) {
	var all []KernelRoute
	var err error
	joining := h.ns.do(func() { all, err = kernelRoutes() })
	if joining != nil {
		err = joining
	}
	if err != nil {
		return nil, fmt.Errorf("reading the routes of %s: %w", h.Name, err)
	}
	return all, nil
}

func kernelRoutes() ([]KernelRoute, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var all []KernelRoute
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		dump, err := syscall.NetlinkRIB(unix.RTM_GETROUTE, family)
		if err != nil {
			return nil, os.NewSyscallError("netlink", err)
		}
		messages, err := syscall.ParseNetlinkMessage(dump)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg || m.Data[4] != unix.RT_TABLE_MAIN {
				continue
			}
			r, err := kernelRoute(m, family, names)
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
	}
	return all, nil
}

// kernelRoute reads a struct rtmsg and what follows it.
func kernelRoute(m syscall.NetlinkMessage, family int, names map[int]string) (KernelRoute, error) {
	attributes, err := syscall.ParseNetlinkRouteAttr(&m)
	if err != nil {
		return KernelRoute{}, err
	}
	zero := netip.IPv6Unspecified()
	if family == unix.AF_INET {
		zero = netip.IPv4Unspecified()
	}
	to, from := zero, zero
	toBits, fromBits := int(m.Data[1]), int(m.Data[2])
	r := KernelRoute{Protocol: int(m.Data[5]), Unreachable: m.Data[7] == unix.RTN_UNREACHABLE}
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.RTA_DST:
			to, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_SRC:
			from, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_GATEWAY:
			r.Via, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_VIA: // a family in two octets, and an address
			r.Via, _ = netip.AddrFromSlice(a.Value[2:])
		case unix.RTA_OIF:
			r.Interface = names[int(binary.NativeEndian.Uint32(a.Value))]
		}
	}
	r.Prefix = netip.PrefixFrom(to, toBits)
	if fromBits > 0 {
		r.From = netip.PrefixFrom(from, fromBits)
	}
	return r, nil
}
