package node

import (
	"net/netip"
	"strings"
	"testing"

	"re6st/internal/identity"
)

func TestNamesOptions(t *testing.T) {
	self := identity.Node{Address: netip.MustParseAddr("2001:db8:42:7::1")}
	with4 := self
	with4.IPv4 = netip.MustParsePrefix("10.42.7.0/24")
	for _, test := range []struct {
		name            string
		self            identity.Node
		o               NamesOptions
		listen, forward string
		wantErr         string
	}{
		{name: "by default", self: self, listen: "[2001:db8:42:7::1]:53"},
		{name: "with IPv4", self: with4, listen: "[2001:db8:42:7::1]:53 10.42.7.1:53"},
		{name: "off", self: self, o: NamesOptions{Listen: []string{"off"}}},
		{name: "elsewhere", self: self, o: NamesOptions{Listen: []string{"127.0.0.1:5353", "[::1]:53"}}, listen: "127.0.0.1:5353 [::1]:53"},
		{
			name: "forwarding", self: self, o: NamesOptions{Forward: []string{"9.9.9.9", "[2620:fe::fe]:5353"}},
			listen: "[2001:db8:42:7::1]:53", forward: "9.9.9.9:53 [2620:fe::fe]:5353",
		},
		{name: "any address", self: self, o: NamesOptions{Listen: []string{"[::]:53"}}, wantErr: "want ADDR:PORT"},
		{name: "no address", self: self, o: NamesOptions{Listen: []string{"on"}}, wantErr: "want ADDR:PORT"},
		{name: "port 0", self: self, o: NamesOptions{Listen: []string{"127.0.0.1:0"}}, wantErr: "want ADDR:PORT"},
		{name: "off, and forwarding", self: self, o: NamesOptions{Listen: []string{"off"}, Forward: []string{"9.9.9.9"}}, wantErr: "want ADDR:PORT"},
		{name: "a name as resolver", self: self, o: NamesOptions{Forward: []string{"dns.example"}}, wantErr: "want ADDR or ADDR:PORT"},
		{name: "itself", self: self, o: NamesOptions{Forward: []string{"2001:db8:42:7::1"}}, wantErr: "this node itself"},
	} {
		p, err := test.o.plan(test.self)
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) || kindOf(err) != Usage {
				t.Errorf("%s: %v, want %q", test.name, err, test.wantErr)
			}
			continue
		}
		if err != nil || joined(p.listen) != test.listen || joined(p.forward) != test.forward {
			t.Errorf("%s: listens on %s, asks %s, %v", test.name, joined(p.listen), joined(p.forward), err)
		}
	}
}

func joined(all []netip.AddrPort) string {
	var texts []string
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}
