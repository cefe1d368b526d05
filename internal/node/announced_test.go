package node

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"re6st/internal/kernel"
)

func prefixesOf(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestP18_WhatIsAnnouncedStandsInTheCertificate(t *testing.T) {
	listed := prefixesOf("198.51.100.0/24", "2001:db8:cafe::/48")
	for _, tt := range []struct {
		words string
		want  []netip.Prefix
		err   string
		kind  Kind
	}{
		{"", listed, "", 0},
		{"all", listed, "", 0},
		{"none", nil, "", 0},
		{"2001:db8:cafe::/48", listed[1:], "", 0},
		{"2001:db8:cafe::/48 2001:db8:cafe::/48", listed[1:], "", 0},
		{"2001:db8:cafe::/49", nil, "the certificate of this node does not list it (it lists 198.51.100.0/24, 2001:db8:cafe::/48)", BadState},
		{"198.51.100.1/24", nil, "bits are set", Usage},
		{"all 198.51.100.0/24", nil, "want a prefix", Usage},
		{"0.0.0.0/0", nil, "does not list it", BadState},
	} {
		got, err := chooseOrigins(strings.Fields(tt.words), listed)
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.err == "") {
			t.Errorf("%q: %v, %v, want %v", tt.words, got, err, tt.want)
		}
		var e *Error
		if err != nil && (!strings.Contains(err.Error(), tt.err) || !errors.As(err, &e) || e.Kind != tt.kind || e.Hint == "") {
			t.Errorf("%q: error %v, want %q with a hint", tt.words, err, tt.err)
		}
	}
	if _, err := chooseOrigins([]string{"10.0.0.0/8"}, nil); err == nil || !strings.Contains(err.Error(), "it lists none") {
		t.Errorf("without rights: %v", err)
	}
}

func TestP18_AnnouncedPrefixesFollowTheRoutes(t *testing.T) {
	b := newBeside(prefixesOf("10.42.0.0/16", "2001:db8:42::/48"))
	isNudged := func() bool {
		select {
		case <-b.changed:
			return true
		default:
			return false
		}
	}
	change := func(isDelete bool, dst, src string) kernel.RouteChange {
		c := kernel.RouteChange{Route: kernel.Route{Dst: netip.MustParsePrefix(dst)}, Delete: isDelete}
		if src != "" {
			c.Route.Src = netip.MustParsePrefix(src)
		}
		return c
	}
	b.note([]kernel.RouteChange{
		change(false, "2001:db8:42:7::/64", ""), change(false, "10.42.7.0/24", ""), change(false, "0.0.0.0/0", ""),
		change(false, "::/0", "2001:db8:42::/48"), change(false, "64:ff9b::/96", "2001:db8:42::/48"),
	})
	if isNudged() || len(b.list()) != 0 {
		t.Errorf("routes of the mesh itself: %v", b.list())
	}
	b.note([]kernel.RouteChange{change(false, "2001:db8:cafe::/48", ""), change(false, "192.168.7.0/24", "")})
	if want := prefixesOf("192.168.7.0/24", "2001:db8:cafe::/48"); !isNudged() || !slices.Equal(b.list(), want) {
		t.Errorf("got %v, want %v", b.list(), want)
	}
	b.note([]kernel.RouteChange{change(false, "192.168.7.0/24", "")}) // by another way
	if isNudged() {
		t.Error("another next hop is no change")
	}
	b.note([]kernel.RouteChange{change(true, "192.168.7.0/24", ""), change(true, "192.168.8.0/24", "")})
	if want := prefixesOf("2001:db8:cafe::/48"); !isNudged() || !slices.Equal(b.list(), want) {
		t.Errorf("got %v, want %v", b.list(), want)
	}
}

func TestEndpointsOutsideOfWhatTheMeshCarries(t *testing.T) {
	given := []netip.AddrPort{netip.MustParseAddrPort("192.168.7.1:6326"), netip.MustParseAddrPort("203.0.113.1:6326"), netip.MustParseAddrPort("[2001:db8:42::1]:6326")}
	got := outsideOf(given, prefixesOf("192.168.0.0/16", "2001:db8:42::/48"))
	if !slices.Equal(got, given[1:2]) {
		t.Errorf("got %v, want %v", got, given[1:2])
	}
}
