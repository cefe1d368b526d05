package api

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48"), netip.MustParsePrefix("10.42.0.0/16")}
	for text, want := range map[string]error{
		"192.0.2.1:6326":              nil,
		"[2001:db8:1::1]:6326":        nil,
		"10.0.0.1:6326":               nil, // private: right within a site
		"[fd00::1]:6326":              nil,
		"[::ffff:192.0.2.1]:6326":     nil, // IPv4, whatever wrote it
		"[2001:db8:42:1::1]:6326":     errEndpointInside,
		"10.42.1.1:6326":              errEndpointInside,
		"[::ffff:10.42.1.1]:6326":     errEndpointInside,
		"192.0.2.1:0":                 errEndpointPort,
		"127.0.0.1:6326":              errEndpointKind,
		"[::1]:6326":                  errEndpointKind,
		"[::ffff:127.0.0.1]:6326":     errEndpointKind,
		"0.0.0.0:6326":                errEndpointKind,
		"0.1.2.3:6326":                errEndpointKind,
		"[::]:6326":                   errEndpointKind,
		"224.0.0.1:6326":              errEndpointKind,
		"255.255.255.255:6326":        errEndpointKind,
		"240.0.0.1:6326":              errEndpointKind,
		"[ff02::1]:6326":              errEndpointKind,
		"169.254.1.1:6326":            errEndpointKind,
		"[fe80::1]:6326":              errEndpointKind,
		"[fe80::1%eth0]:6326":         errEndpointZone,
		"[2001:db8:1::1%eth0]:6326":   errEndpointZone,
		"":                            errEndpointInvalid,
		"192.0.2.1":                   errEndpointInvalid,
		"192.0.2.1:":                  errEndpointInvalid,
		"192.0.2.1:65536":             errEndpointInvalid,
		"192.0.2.1:-1":                errEndpointInvalid,
		"host:6326":                   errEndpointInvalid,
		"192.0.2.1:6326 ":             errEndpointInvalid,
		"[2001:db8:1::1]6326":         errEndpointInvalid,
		strings.Repeat("1", 100):      errEndpointInvalid,
		"[2001:db8:1::1]:6326\x00":    errEndpointInvalid,
		"https://192.0.2.1:6326/path": errEndpointInvalid,
	} {
		if _, err := ParseEndpoint(text, networks); err != want {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}

func FuzzEndpoint(f *testing.F) {
	f.Add("192.0.2.1:6326")
	f.Add("[fe80::1%25]:1")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseEndpoint(text, nil)
		if err != nil {
			return
		}
		if again, err := ParseEndpoint(e.String(), nil); err != nil || again != e {
			t.Errorf("%v is read as %v, %v", e, again, err)
		}
	})
}

func TestPeer_Check(t *testing.T) {
	good := Peer{
		Name: "a", Prefix: netip.MustParsePrefix("2001:db8:42:1::/64"), Address: netip.MustParseAddr("2001:db8:42:1::1"),
		RouterID: "2001:0db8:0042:0001",
	}
	if err := good.Check(); err != nil {
		t.Fatalf("a good peer: %v", err)
	}
	for name, change := range map[string]func(*Peer){
		"no name":           func(p *Peer) { p.Name = "" },
		"an evil name":      func(p *Peer) { p.Name = "a\x1b[2J" },
		"no prefix":         func(p *Peer) { p.Prefix = netip.Prefix{} },
		"host bits":         func(p *Peer) { p.Prefix = netip.MustParsePrefix("2001:db8:42:1::1/64") },
		"IPv4":              func(p *Peer) { p.Prefix = netip.MustParsePrefix("10.0.0.0/24") },
		"another address":   func(p *Peer) { p.Address = netip.MustParseAddr("2001:db8:42:1::2") },
		"another router-id": func(p *Peer) { p.RouterID = "2001:0db8:0042:0002" },
		"many endpoints":    func(p *Peer) { p.Endpoints = make([]netip.AddrPort, EndpointsMax+1) },
	} {
		p := good
		change(&p)
		if p.Check() == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

func TestProblem_SaysWhatIsWrong(t *testing.T) {
	p := NewProblem(422, CodeInvalid, "", "")
	p.Title, p.Errors = "Unprocessable Entity", []InvalidField{{Location: "body.uses", Message: "expected number >= 1"}}
	if got, want := p.Error(), "Unprocessable Entity; body.uses: expected number >= 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (&Problem{Status: 418}).Error(); got != "status 418" {
		t.Errorf("got %q", got)
	}
	if p.GetStatus() != 422 || p.ContentType("x") != ProblemType || p.Type != "urn:re6st:problem:invalid-request" {
		t.Errorf("got %+v", p)
	}
}
