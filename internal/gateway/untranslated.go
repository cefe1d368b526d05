package gateway

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Hole is addresses that the prefix translation leaves out: those in Inside whose
// bits under Mask are those of Value. Of several the first whose Inside holds an
// address is about it.
type Hole struct {
	Inside      netip.Prefix
	Mask, Value netip.Addr
}

// ICMPv6's codes of Destination Unreachable (RFC 4443, section 3.1).
const (
	codeAddress = 3 // "any other reason"
	codeSource  = 5 // "source address failed ingress/egress policy"
)

// refuse answers with Destination Unreachable, as often as the kernel lets it; where
// the kernel has no such expression, it drops.
func (c content) refuse(code uint8) []expr.Any {
	if !c.reject {
		return drop()
	}
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}}
}

// leavesWithout answers those whose source has no counterpart outside. The
// translation behind the filter would drop it in silence.
func (b *builder) leavesWithout(c content, forward *nftables.Chain) {
	if len(c.holes) == 0 {
		return
	}
	f := bothFamilies[0]
	holes := b.chain("holes")
	for _, h := range c.holes {
		b.rule(holes, countHole, f.masked(f.src, h.Mask, h.Value), count(), c.refuse(codeSource))
		b.rule(holes, "", f.sourceIn(h.Inside), []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}})
	}
	b.rule(forward, "", b.out("uplinks"), f.address(f.dst), []expr.Any{b.lookup("mesh"+f.suffix, true)}, jump(holes))
}

// comesWithout answers those who look for an address outside that stands for none:
// the translation before the filter leaves it as it was. By the default route it
// would go back to where it came from, and come again.
func (b *builder) comesWithout(c content, in *nftables.Chain, who ...expr.Any) {
	if len(c.holes) == 0 {
		return
	}
	f := bothFamilies[0]
	b.rule(in, countNobody, who, b.address(f, f.dst, "outside"), count(), c.refuse(codeAddress))
}

// masked: under the mask the address is that value.
func (f family) masked(offset uint32, mask, value netip.Addr) []expr.Any {
	return append(f.address(offset),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: f.size, Mask: mask.AsSlice(), Xor: make([]byte, f.size)},
		equals(value.AsSlice()...))
}
