package advert

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// lanBits is the length of a prefix in which machines make their own addresses
// (RFC 4862, section 5.5.3 d, with the interface identifiers of RFC 4291).
const lanBits = 64

// maxLANs bounds what one node serves.
const maxLANs = 64

// A Wish is a local network as the operator asks for it.
type Wish struct {
	Interface string
	Prefix    netip.Prefix // invalid: the next one that is free
}

// ParseWish reads IFACE or IFACE=PREFIX.
func ParseWish(text string) (Wish, error) {
	name, prefix, isGiven := strings.Cut(text, "=")
	w := Wish{Interface: name}
	if name == "" || len(name) > 15 || strings.ContainsAny(name, "/ \t\n") {
		return Wish{}, fmt.Errorf("%.40q is not the name of an interface", name)
	}
	if !isGiven {
		return w, nil
	}
	var err error
	if w.Prefix, err = netip.ParsePrefix(prefix); err != nil {
		return Wish{}, fmt.Errorf("%.80q is not a prefix", prefix)
	}
	return w, nil
}

// A LAN is a local network of the node's.
type LAN struct {
	Interface string
	Prefix    netip.Prefix
}

// Address is the node's own on this network: ::1 in the prefix. On the network
// that has the node's first /64 it is the node's mesh address, which is then on
// two interfaces: machines there take it for a neighbour and ask the link for it,
// and no one would answer for an address that is on lo alone.
func (l LAN) Address() netip.Prefix {
	a := l.Prefix.Masked().Addr().As16()
	a[15] |= 1
	return netip.PrefixFrom(netip.AddrFrom16(a), l.Prefix.Bits())
}

// Plan gives each network its /64 of the node's own prefix: the one that was
// asked for, else the first that is free, in the order of the wishes. So the
// same wishes always give the same prefixes.
func Plan(own netip.Prefix, wishes []Wish) ([]LAN, error) {
	if len(wishes) == 0 {
		return nil, nil
	}
	if own.Bits() > lanBits {
		return nil, fmt.Errorf("the node's prefix %v is too long for a LAN: machines there need a /64 to make their addresses in", own)
	}
	if len(wishes) > maxLANs {
		return nil, fmt.Errorf("%d LANs: at most %d", len(wishes), maxLANs)
	}
	taken := map[netip.Prefix]string{}
	names := map[string]bool{}
	for _, w := range wishes {
		if names[w.Interface] {
			return nil, fmt.Errorf("interface %s is named twice", w.Interface)
		}
		names[w.Interface] = true
		if !w.Prefix.IsValid() {
			continue
		}
		if err := checkLAN(own, w); err != nil {
			return nil, err
		}
		if other, isTaken := taken[w.Prefix]; isTaken {
			return nil, fmt.Errorf("prefix %v is given to both %s and %s", w.Prefix, other, w.Interface)
		}
		taken[w.Prefix] = w.Interface
	}
	lans := make([]LAN, 0, len(wishes))
	next := netip.PrefixFrom(own.Masked().Addr(), lanBits)
	for _, w := range wishes {
		for !w.Prefix.IsValid() {
			if !own.Contains(next.Addr()) {
				return nil, fmt.Errorf("the node's prefix %v has no /64 left for %s: join with a token of --prefix-length %d or less", own, w.Interface, lengthFor(len(wishes)))
			}
			if taken[next] == "" {
				w.Prefix, taken[next] = next, w.Interface
			}
			next = following(next)
		}
		lans = append(lans, LAN(w))
	}
	return lans, nil
}

func checkLAN(own netip.Prefix, w Wish) error {
	switch {
	case w.Prefix != w.Prefix.Masked():
		return fmt.Errorf("prefix %v for %s has bits set behind its length: want %v", w.Prefix, w.Interface, w.Prefix.Masked())
	case !own.Contains(w.Prefix.Addr()) || w.Prefix.Bits() < own.Bits():
		return fmt.Errorf("prefix %v for %s is not of this node's, which are those in %v", w.Prefix, w.Interface, own)
	case w.Prefix.Bits() != lanBits:
		return fmt.Errorf("prefix %v for %s: machines there need a /64 to make their addresses in", w.Prefix, w.Interface)
	}
	return nil
}

// lengthFor is that of a prefix which has so many /64.
func lengthFor(n int) int {
	bits := lanBits
	for ; n > 1; n = (n + 1) / 2 {
		bits--
	}
	return bits
}

// following is the next /64; behind the last it begins again, outside of any
// prefix that was full.
func following(p netip.Prefix) netip.Prefix {
	a := p.Addr().As16()
	for i := lanBits/8 - 1; i >= 0; i-- {
		if a[i]++; a[i] != 0 {
			break
		}
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), p.Bits())
}

// ParseWishes reads all of a flag's values.
func ParseWishes(texts []string) ([]Wish, error) {
	var wishes []Wish
	var failures []error
	for _, text := range texts {
		w, err := ParseWish(text)
		failures = append(failures, err)
		wishes = append(wishes, w)
	}
	return slices.Clip(wishes), errors.Join(failures...)
}
