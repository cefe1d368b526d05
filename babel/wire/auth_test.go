package wire

import (
	"bytes"
	"slices"
	"testing"
)

func TestC100_C104_AuthTLVsOnTheWire(t *testing.T) {
	index := bytes.Repeat([]byte{0xaa}, 40)
	for _, v := range []struct {
		name string
		got  []byte
		want string
	}{
		{"PC", AppendPC(nil, PC{0x01020304, []byte{5, 6}}), "11 06 01020304 0506"},
		{"PC without index", AppendPC(nil, PC{Count: 1}), "11 04 00000001"},
		{"MAC", AppendMAC(nil, []byte{1, 2, 3}), "10 03 010203"},
		{"Challenge Request", (&ChallengeRequest{[]byte{7}}).append(nil), "12 01 07"},
		{"Challenge Reply", (&ChallengeReply{[]byte{7, 8}}).append(nil), "13 02 0708"},
		{"empty nonce", (&ChallengeReply{}).append(nil), "13 00"},
	} {
		if want := packet(t, v.want)[HeaderLen:]; !bytes.Equal(v.got, want) {
			t.Errorf("%s: %x, want %x", v.name, v.got, want)
		}
	}
	// "A node MUST NOT send" more than 32 and 192 octets.
	if b := AppendPC(nil, PC{1, index}); len(b) != 2+4+IndexMax || b[1] != 4+IndexMax {
		t.Errorf("an index of 40 octets: %x", b)
	}
	if b := (&ChallengeRequest{make([]byte, 200)}).append(nil); len(b) != 2+NonceMax || b[1] != NonceMax {
		t.Errorf("a nonce of 200 octets: %x", b)
	}
}

func TestC104_ParsePC(t *testing.T) {
	for n := range 50 {
		b := make([]byte, n)
		pc, ok := ParsePC(b)
		if want := n >= 4 && n <= 4+IndexMax; ok != want || ok && len(pc.Index) != n-4 {
			t.Errorf("%d octets: %+v, %v", n, pc, ok)
		}
	}
	if pc, _ := ParsePC([]byte{0xff, 0xfe, 0xfd, 0xfc, 9}); pc.Count != 0xfffefdfc || !bytes.Equal(pc.Index, []byte{9}) {
		t.Errorf("%+v", pc)
	}
}

func TestC101_Split(t *testing.T) {
	p := append(packet(t, "04 06 0000 0007 0190"), 16, 1, 9)
	signed, trailer, err := Split(p)
	if err != nil || !bytes.Equal(signed, p[:12]) || !bytes.Equal(trailer, p[12:]) {
		t.Errorf("%x, %x, %v", signed, trailer, err)
	}
	for _, bad := range [][]byte{nil, {42}, {42, 2, 0}, {42, 2, 0, 1}, {43, 2, 0, 0}, {42, 3, 0, 0}} {
		if _, _, err := Split(bad); err == nil {
			t.Errorf("%x is a packet", bad)
		}
	}
}

func TestEachSkipsPadding(t *testing.T) {
	var got []Type
	for typ, b := range Each([]byte{0, 0, 1, 2, 7, 7, 16, 2, 1, 1, 0, 200, 0, 17, 5, 1}) {
		got = append(got, typ)
		if typ == TypeMAC && len(b) != 2 {
			t.Errorf("%x", b)
		}
	}
	if !slices.Equal(got, []Type{TypeMAC, 200}) {
		t.Errorf("%v", got)
	}
	for range Each([]byte{200, 0, 201, 0}) {
		break
	}
}

// In the body these TLVs are ignored, and hurt nothing around them.
func TestC113_AuthTLVsAreIgnored(t *testing.T) {
	var d Decoder
	p := d.Parse(packet(t, "10 02 0000 04 06 0000 0007 0190 11 0c 00000001 0102030405060708 12 00 13 01 ff 03 02 1234"), source)
	if p.Err != nil || p.Ignored != 0 || len(p.TLVs) != 2 {
		t.Errorf("%+v", p)
	}
}

// C006: an Update in the trailer is not read, and a MAC there is.
func TestC006_TrailerHasNothingElse(t *testing.T) {
	b := append(packet(t, "04 06 0000 0007 0190"), 16, 2, 1, 2, 4, 6, 0, 0, 0, 8, 1, 0x90)
	var d Decoder
	if p := d.Parse(b, source); p.Err != nil || len(p.TLVs) != 1 || p.TLVs[0].(*Hello).Seqno != 7 {
		t.Errorf("%+v", p)
	}
}

// Arbitrary octets: the walk ends, stays inside, and agrees with the reader on
// where TLVs are.
func FuzzT13_A18_Each(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 7, 7, 16, 2, 1, 1, 0, 200, 0, 17, 5, 1})
	f.Add([]byte{17, 12, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{18, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for typ, body := range Each(b) {
			again = append(append(again, byte(typ), byte(len(body))), body...)
			if pc, ok := ParsePC(body); typ == TypePC && ok {
				if got := AppendPC(nil, pc); !bytes.Equal(got[2:], body) {
					t.Fatalf("%x became %x", body, got)
				}
			}
		}
		if len(again) > len(b) {
			t.Fatal("more came out than went in")
		}
		var second []byte
		for typ, body := range Each(again) {
			second = append(append(second, byte(typ), byte(len(body))), body...)
		}
		if !bytes.Equal(again, second) {
			t.Fatalf("%x became %x", again, second)
		}
	})
}
