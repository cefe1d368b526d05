package gateway

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is how a packet's addresses and ICMP errors are found.
type family struct {
	proto    byte
	suffix   string // of the sets
	src, dst uint32 // offsets in the header
	size     uint32
	l4       byte
	errors   []byte // ICMP types that say something of a packet of ours
}

var bothFamilies = []family{
	{proto: unix.NFPROTO_IPV6, suffix: "6", src: 8, dst: 24, size: 16, l4: unix.IPPROTO_ICMPV6, errors: []byte{1, 2, 3, 4}}, // RFC 4443, section 2.1
	{proto: unix.NFPROTO_IPV4, suffix: "4", src: 12, dst: 16, size: 4, l4: unix.IPPROTO_ICMP, errors: []byte{3, 11, 12}},    // RFC 792
}

func (b *builder) eachFamily(do func(family)) {
	for _, f := range bothFamilies {
		do(f)
	}
}

const register = 1

// nameSize is IFNAMSIZ.
const nameSize = 16

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: register} }

func equals(data ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

func namesOf(names []string) []nftables.SetElement {
	var all []nftables.SetElement
	for _, n := range names {
		key := make([]byte, nameSize)
		copy(key[:nameSize-1], n)
		all = append(all, nftables.SetElement{Key: key})
	}
	return all
}

func (b *builder) lookup(set string, isInverted bool) expr.Any {
	s := b.sets[set]
	return &expr.Lookup{SourceRegister: register, SetName: s.Name, SetID: s.ID, Invert: isInverted}
}

func (b *builder) in(set string) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyIIFNAME), b.lookup(set, false)}
}

func (b *builder) out(set string) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyOIFNAME), b.lookup(set, false)}
}

// A comparison with the beginning of a name is iproute2's "re6st-*".
func tunnelIn() []expr.Any {
	return []expr.Any{meta(expr.MetaKeyIIFNAME), equals([]byte(TunnelPrefix)...)}
}

func tunnelOut() []expr.Any {
	return []expr.Any{meta(expr.MetaKeyOIFNAME), equals([]byte(TunnelPrefix)...)}
}

func (f family) address(offset uint32) []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyNFPROTO), equals(f.proto),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.size},
	}
}

// address: the source or destination is in the set.
func (b *builder) address(f family, offset uint32, set string) []expr.Any {
	return append(f.address(offset), b.lookup(set+f.suffix, false))
}

func (f family) icmp(kind byte) []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyNFPROTO), equals(f.proto), meta(expr.MetaKeyL4PROTO), equals(f.l4),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1}, equals(kind),
	}
}

func isAnswer() []expr.Any {
	states := expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: register},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(states), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: make([]byte, 4)},
	}
}

// isSYN: SYN without RST, of which the option is read.
func isSYN() []expr.Any {
	const syn, rst = 0x02, 0x04
	return []expr.Any{
		meta(expr.MetaKeyL4PROTO), equals(unix.IPPROTO_TCP),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		equals(syn),
	}
}

// clamp sets the maximum segment size to what the way there and the way back
// carry, if it is larger.
func clamp() []expr.Any {
	const kind, offset, size = 2, 2, 2
	return []expr.Any{
		&expr.Rt{Register: register, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: size, Size: size},
		&expr.Exthdr{SourceRegister: register, Type: kind, Offset: offset, Len: size, Op: expr.ExthdrOpTcpopt},
	}
}

func count() []expr.Any  { return []expr.Any{&expr.Counter{}} }
func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() []expr.Any   { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }
func jump(c *nftables.Chain) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: c.Name}}
}

// reject says that it is policy (NFT_REJECT_ICMPX_ADMIN_PROHIBITED), for either family.
func reject() []expr.Any {
	const adminProhibited = 3
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: adminProhibited}}
}
