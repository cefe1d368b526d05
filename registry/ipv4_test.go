package registry

import (
	"net/netip"
	"strings"
	"testing"

	"re6st/registry/api"
)

// P-18: what may not be announced is refused when the token is made, and says why.
func TestP18_AnnouncedPrefixesAreChecked(t *testing.T) {
	dir, _ := newState(t, func(o *InitOptions) { o.IPv4 = netip.MustParsePrefix("10.42.0.0/16") })
	r := openRegistry(t, Options{State: dir})
	defer r.Close()
	for text, want := range map[string]string{
		"2001:db8:42:7::/64":  "inside the network's own 2001:db8:42::/48",
		"2001:db8:42::/48":    "inside the network's own 2001:db8:42::/48",
		"2001:db8::/32":       "contains the network's own 2001:db8:42::/48",
		"10.42.7.0/24":        "inside the network's own 10.42.0.0/16",
		"10.0.0.0/8":          "contains the network's own 10.42.0.0/16",
		"::/0":                "the right of a gateway",
		"0.0.0.0/0":           "the right of a gateway",
		"2001:db8:99::1/64":   "bits are set",
		"::ffff:10.0.0.0/104": "IPv4-mapped",
		"fe80::/64":           "not a prefix of unicast addresses",
		"127.0.0.0/8":         "not a prefix of unicast addresses",
	} {
		_, err := r.CreateToken(t.Context(), api.TokenRequest{Uses: 1, TTLSeconds: 60, Announce: []netip.Prefix{netip.MustParsePrefix(text)}})
		wantCode(t, err, api.CodeInvalid)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	twice := netip.MustParsePrefix("198.51.100.0/24")
	_, err := r.CreateToken(t.Context(), api.TokenRequest{Uses: 1, TTLSeconds: 60, Announce: []netip.Prefix{twice, twice}})
	wantCode(t, err, api.CodeInvalid)
}

// The same prefix at several nodes is anycast.
func TestP18_SeveralNodesMayAnnounceOnePrefix(t *testing.T) {
	r, _ := newRegistry(t)
	service := netip.MustParsePrefix("2001:db8:cafe::/48")
	for range 2 {
		token := r.mustToken(t, api.TokenRequest{Announce: []netip.Prefix{service}})
		answer, err := enrol(r, token.SecretText(), newCSR(t, newKey(t)), "")
		if err != nil {
			t.Fatal(err)
		}
		if n := r.nodeOf(t, answer.Certificate); len(n.Rights.Announce) != 1 || n.Rights.Announce[0] != service {
			t.Errorf("the certificate's rights: %+v", n.Rights)
		}
	}
}

// The certificate has the subnet; the node that came too late is told.
func TestZ30_EnrolmentGivesIPv4(t *testing.T) {
	dir, _ := newState(t, func(o *InitOptions) { o.IPv4, o.IPv4Prefix = netip.MustParsePrefix("10.42.0.0/30"), 31 })
	r := openRegistry(t, Options{State: dir})
	defer r.Close()
	token := r.mustToken(t, api.TokenRequest{Uses: 3})
	var subnets []netip.Prefix
	for i := range 3 {
		answer, err := enrol(r, token.SecretText(), newCSR(t, newKey(t)), "")
		if err != nil {
			t.Fatal(err)
		}
		n := r.nodeOf(t, answer.Certificate)
		if answer.IPv4Exhausted != (i == 2) || n.IPv4.IsValid() != (i < 2) {
			t.Errorf("node %d: subnet %v, exhausted %v", i, n.IPv4, answer.IPv4Exhausted)
		}
		subnets = append(subnets, n.IPv4)
	}
	if subnets[0].Overlaps(subnets[1]) {
		t.Errorf("%v and %v overlap", subnets[0], subnets[1])
	}
}
