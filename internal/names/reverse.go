package names

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

const (
	suffix6     = "ip6.arpa."
	suffix4     = "in-addr.arpa."
	nibbleBits  = 4
	octetBits   = 8
	nibblesMax  = 32
	octetsMax   = 4
	hexadecimal = 16
)

// parseReverse gives the prefix that a name under ip6.arpa (RFC 3596, section
// 2.5) or in-addr.arpa (RFC 1035, section 3.5) stands for. exact is false where
// there are labels in front that are no part of an address.
func parseReverse(name string) (p netip.Prefix, exact, ok bool) {
	rest, is6 := strings.CutSuffix(name, suffix6)
	if is6 {
		return parseNibbles(rest)
	}
	if rest, ok = strings.CutSuffix(name, suffix4); ok {
		return parseOctets(rest)
	}
	return netip.Prefix{}, false, false
}

func parseNibbles(rest string) (p netip.Prefix, exact, ok bool) {
	var a [16]byte
	labels := dns.SplitDomainName(rest)
	n := 0
	for ; n < len(labels) && n < nibblesMax; n++ {
		label := labels[len(labels)-1-n]
		v, err := strconv.ParseUint(label, hexadecimal, nibbleBits)
		if len(label) != 1 || err != nil {
			break
		}
		a[n/2] |= byte(v) << (nibbleBits * (1 - n%2))
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), n*nibbleBits), n == len(labels), true
}

func parseOctets(rest string) (p netip.Prefix, exact, ok bool) {
	var a [4]byte
	labels := dns.SplitDomainName(rest)
	n := 0
	for ; n < len(labels) && n < octetsMax; n++ {
		label := labels[len(labels)-1-n]
		v, err := strconv.ParseUint(label, 10, octetBits)
		if err != nil || strconv.FormatUint(v, 10) != label {
			break
		}
		a[n] = byte(v)
	}
	return netip.PrefixFrom(netip.AddrFrom4(a), n*octetBits), n == len(labels), true
}

// reverseName is the name of a prefix whose length is a whole number of labels.
func reverseName(p netip.Prefix) string {
	var b strings.Builder
	raw := p.Addr().AsSlice()
	if p.Addr().Is4() {
		for i := p.Bits()/octetBits - 1; i >= 0; i-- {
			b.WriteString(strconv.Itoa(int(raw[i])) + ".")
		}
		return b.String() + suffix4
	}
	for i := p.Bits()/nibbleBits - 1; i >= 0; i-- {
		nibble := raw[i/2] >> (nibbleBits * (1 - i%2)) & 0xf
		b.WriteString(strconv.FormatUint(uint64(nibble), hexadecimal) + ".")
	}
	return b.String() + suffix6
}

// apexOf finds the reverse zone of ours that a prefix is in. A network whose
// length is not a whole number of labels has several.
func apexOf(networks []netip.Prefix, p netip.Prefix) (apex netip.Prefix, ok bool) {
	for _, n := range networks {
		label := nibbleBits
		if n.Addr().Is4() {
			label = octetBits
		}
		cut := (n.Bits() + label - 1) / label * label
		if p.Addr().BitLen() == n.Addr().BitLen() && p.Bits() >= cut && n.Contains(p.Addr()) {
			return netip.PrefixFrom(p.Addr(), cut).Masked(), true
		}
	}
	return netip.Prefix{}, false
}
