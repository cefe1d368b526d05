package lan

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"re6st/internal/lan/lease"
)

// Kinds of names before the bytes of a machine's key.
const (
	namedByItself    = 1 // client identifier, option 61
	namedByLinkLayer = 0 // hardware type and address
)

// dhcpOffer is what machines are told beside their address.
type dhcpOffer struct {
	gateway netip.Prefix
	dns     []netip.Addr
	domain  string
	mtu     int
}

// decodeDHCP reads a message of a machine (RFC 2131, section 2).
func decodeDHCP(b []byte) (*dhcpv4.DHCPv4, lease.Message, error) {
	p, err := dhcpv4.FromBytes(b)
	if err != nil {
		return nil, lease.Message{}, fmt.Errorf("reading a DHCP message: %w", err)
	}
	m := lease.Message{Requested: addrOf(p.RequestedIPAddress()), Server: addrOf(p.ServerIdentifier()), Client: addrOf(p.ClientIPAddr)}
	if p.OpCode != dhcpv4.OpcodeBootRequest || addrOf(p.GatewayIPAddr).IsValid() {
		return nil, m, fmt.Errorf("reading a DHCP message: not of a machine on this link")
	}
	if id := p.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 {
		m.Key = string(append([]byte{namedByItself}, id...))
	} else if len(p.ClientHWAddr) > 0 {
		m.Key = string(append([]byte{namedByLinkLayer, byte(p.HWType)}, p.ClientHWAddr...))
	}
	m.Kind = kinds[p.MessageType()]
	return p, m, nil
}

var kinds = map[dhcpv4.MessageType]lease.Kind{
	dhcpv4.MessageTypeDiscover: lease.Discover,
	dhcpv4.MessageTypeRequest:  lease.Request,
	dhcpv4.MessageTypeDecline:  lease.Decline,
	dhcpv4.MessageTypeRelease:  lease.Release,
	dhcpv4.MessageTypeInform:   lease.Inform,
}

var answers = map[lease.Kind]dhcpv4.MessageType{
	lease.Offer: dhcpv4.MessageTypeOffer,
	lease.Ack:   dhcpv4.MessageTypeAck,
	lease.Nak:   dhcpv4.MessageTypeNak,
}

// addrOf gives no address for the unspecified one.
func addrOf(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// encodeDHCP writes an answer (RFC 2131, section 4.3.1, table 3).
func encodeDHCP(request *dhcpv4.DHCPv4, a lease.Answer, o dhcpOffer) ([]byte, error) {
	gateway := net.IP(o.gateway.Addr().AsSlice())
	modifiers := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(answers[a.Kind]),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway)),
	}
	if id := request.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 { // RFC 6842
		modifiers = append(modifiers, dhcpv4.WithOption(dhcpv4.OptClientIdentifier(id)))
	}
	if a.Kind != lease.Nak {
		modifiers = append(modifiers, o.options(request, gateway)...)
	}
	if a.Address.IsValid() {
		modifiers = append(modifiers,
			dhcpv4.WithYourIP(a.Address.AsSlice()),
			dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(lease.Time)))
	}
	p, err := dhcpv4.NewReplyFromRequest(request, modifiers...)
	if err != nil {
		return nil, fmt.Errorf("composing a DHCP message: %w", err)
	}
	if a.Kind == lease.Ack {
		p.ClientIPAddr = request.ClientIPAddr
	}
	return p.ToBytes(), nil
}

func (o dhcpOffer) options(request *dhcpv4.DHCPv4, gateway net.IP) []dhcpv4.Modifier {
	all := []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(o.gateway.Bits(), 32))),
		dhcpv4.WithOption(dhcpv4.OptRouter(gateway)),
	}
	if len(o.dns) > 0 {
		var servers []net.IP
		for _, a := range o.dns {
			servers = append(servers, a.AsSlice())
		}
		all = append(all, dhcpv4.WithOption(dhcpv4.OptDNS(servers...)))
		if o.domain != "" {
			all = append(all, dhcpv4.WithOption(dhcpv4.OptDomainName(o.domain)))
		}
	}
	if o.mtu > 0 && request.IsOptionRequested(dhcpv4.OptionInterfaceMTU) {
		all = append(all, dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(o.mtu >> 8), byte(o.mtu)}))
	}
	return all
}
