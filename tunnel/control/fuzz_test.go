package control

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"re6st/addressing"
)

// fuzz feeds a parser: whatever it takes is within the limits, valid, and reads back the same when written.
func fuzz[M any](f *testing.F, sample M, parse func([]byte) (M, error), check func(*testing.T, M)) {
	f.Helper()
	data, err := Marshal(sample)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{}"))
	f.Add([]byte(`{"endpoints":["[fe80::1%lo]:1","127.0.0.1:1","[::ffff:1.2.3.4]:5"]}`))
	f.Add([]byte("null null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err != nil {
			return
		}
		check(t, m)
		again, err := Marshal(m)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		back, err := parse(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if d := cmp.Diff(m, back, compare); d != "" {
			t.Errorf("(-first +second):\n%s", d)
		}
	})
}

func FuzzNodeInfo(f *testing.F) {
	fuzz(f, sampleInfo(), func(b []byte) (NodeInfo, error) { return ParseNodeInfo(b, networks) }, func(t *testing.T, m NodeInfo) {
		if err := m.Validate(networks); err != nil || len(m.Endpoints) > MaxEndpoints {
			t.Errorf("%+v: %v", m, err)
		}
	})
}

func FuzzOffer(f *testing.F) {
	fuzz(f, sampleOffer(), func(b []byte) (Offer, error) { return ParseOffer(b, networks) }, func(t *testing.T, m Offer) {
		for _, e := range m.Endpoints {
			if !IsUsable(e, networks) {
				t.Errorf("endpoint %v is kept", e)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	fuzz(f, sampleAnswer(), func(b []byte) (Answer, error) { return ParseAnswer(b, networks) }, func(t *testing.T, m Answer) {
		if m.PublicKey.isZero() || m.MTU < MinMTU {
			t.Errorf("%+v", m)
		}
	})
}

func FuzzPeers(f *testing.F) {
	fuzz(f, samplePeers(), func(b []byte) (Peers, error) { return ParsePeers(b, networks) }, func(t *testing.T, m Peers) {
		if len(m.Peers) > MaxPeers {
			t.Errorf("%d peers", len(m.Peers))
		}
	})
}

func FuzzPatch(f *testing.F) {
	fuzz(f, Patch{Draining: true}, ParsePatch, func(*testing.T, Patch) {})
}

func FuzzDocumentList(f *testing.F) {
	fuzz(f, DocumentList{Documents: []string{"a.b.c"}}, ParseDocumentList, func(t *testing.T, m DocumentList) {
		if len(m.Documents) > MaxDocuments {
			t.Errorf("%d documents", len(m.Documents))
		}
	})
}

func FuzzCertificatesWanted(f *testing.F) {
	fuzz(f, CertificatesWanted{RouterIDs: []addressing.RouterID{{1}}}, ParseCertificatesWanted, func(t *testing.T, m CertificatesWanted) {
		if len(m.RouterIDs) > MaxCertificates {
			t.Errorf("%d router-ids", len(m.RouterIDs))
		}
	})
}

func FuzzCertificates(f *testing.F) {
	fuzz(f, Certificates{Certificates: [][]byte{{0x30, 0}}}, ParseCertificates, func(t *testing.T, m Certificates) {
		if len(m.Certificates) > MaxCertificates {
			t.Errorf("%d certificates", len(m.Certificates))
		}
		for _, c := range m.Certificates {
			if len(c) == 0 || len(c) > MaxCertificate {
				t.Errorf("%d bytes", len(c))
			}
		}
	})
}

func FuzzNextHop(f *testing.F) {
	fuzz(f, sampleNextHop(), ParseNextHop, func(t *testing.T, m NextHop) {
		if err := m.Validate(); err != nil {
			t.Errorf("%+v: %v", m, err)
		}
	})
}

func FuzzNextHopQuery(f *testing.F) {
	f.Add("2001:db8::1", "2001:db8:42::1")
	f.Add("192.0.2.1", "::ffff:192.0.2.2")
	f.Add("fe80::1%lo", "ff02::1")
	f.Fuzz(func(t *testing.T, to, from string) {
		a, b, err := ParseNextHopQuery(to, from)
		if err == nil && (!a.IsValid() || !b.IsValid() || a.Is4() != b.Is4() || a.Zone() != "" || a.IsMulticast() || b.IsMulticast()) {
			t.Errorf("%v from %v", a, b)
		}
	})
}

func FuzzRefusal(f *testing.F) {
	f.Add(503, []byte(`{"code":"full","text":"no room","retry_after":3}`))
	f.Add(0, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, data []byte) {
		if r := ParseRefusal(status, data); !r.known() || len(r.Text) > MaxTextBytes {
			t.Errorf("%+v", r)
		}
	})
}
