package gateway

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// addressRange is the addresses from first up to but not including end; an
// invalid end is that of the family.
type addressRange struct{ first, end netip.Addr }

// rangesOf covers the prefixes of one family by ranges that are in order and
// neither overlap nor touch: the kernel refuses a set in which they do.
func rangesOf(prefixes []netip.Prefix, is4 bool) []addressRange {
	var sorted []netip.Prefix
	for _, p := range prefixes {
		if p.IsValid() && p.Addr().Is4() == is4 {
			sorted = append(sorted, p.Masked())
		}
	}
	slices.SortFunc(sorted, netip.Prefix.Compare)
	var all []addressRange
	for _, p := range sorted {
		r := addressRange{p.Addr(), after(p)}
		if n := len(all); n > 0 && (!all[n-1].end.IsValid() || !all[n-1].end.Less(r.first)) {
			if last := &all[n-1]; last.end.IsValid() && (!r.end.IsValid() || last.end.Less(r.end)) {
				last.end = r.end
			}
			continue
		}
		all = append(all, r)
	}
	return all
}

// after is the address behind the prefix; invalid: there is none.
func after(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last.Next()
}

func elementsOf(ranges []addressRange) []nftables.SetElement {
	var all []nftables.SetElement
	for _, r := range ranges {
		all = append(all, nftables.SetElement{Key: r.first.AsSlice()})
		if r.end.IsValid() {
			all = append(all, nftables.SetElement{Key: r.end.AsSlice(), IntervalEnd: true})
		}
	}
	return all
}
