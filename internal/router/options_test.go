package router

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each wrong value has one clear cause.
func TestWrongOptions(t *testing.T) {
	for _, c := range []struct {
		parse func(string) error
		text  string
		want  string
	}{
		{ofInterface, "", "no interface name"},
		{ofInterface, "abcdefghijklmnop", "at most 15"},
		{ofInterface, "a/b", "not an interface name"},
		{ofInterface, "eth0:fibre", "tunnel, wired or wireless"},
		{ofPrefix, "2001:db8::", "want ADDRESS/LENGTH"},
		{ofPrefix, "2001:db8::1/64", "2001:db8::/64 is the prefix"},
		{ofPrefix, "fe80::/64", "not routed"},
		{ofPrefix, "ff02::/16", "not routed"},
		{ofPrefix, "127.0.0.0/8", "not routed"},
		{ofPrefix, "::ffff:10.0.0.0/104", "write it as IPv4"},
		{ofSource, "2001:db8::/48", "want SOURCE-PREFIX=DESTINATION-PREFIX"},
		{ofSource, "10.0.0.0/8=0.0.0.0/0", "IPv6 only"},
		{ofSource, "::/0=2001:db8::/48", "use --announce"},
		{ofTable, "0", "every table"},
		{ofTable, "255", "kernel's own"},
		{ofTable, "-1", "number of a routing table"},
		{ofTable, "7x", "number of a routing table"},
		{ofRouterID, "1234", "want 8 bytes"},
		{ofRouterID, "zz00:0000:0000:0001", "want 8 bytes"},
		{ofRouterID, "ffff:ffff:ffff:ffff", "not router-ids"},
		{ofRouterID, "0000:0000:0000:0000", "not router-ids"},
	} {
		if err := c.parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
	for _, right := range []struct {
		parse func(string) error
		text  string
	}{
		{ofInterface, "eth0"},
		{ofInterface, "wlan0:wireless"},
		{ofPrefix, "::/0"},
		{ofPrefix, "10.1.0.0/16"},
		{ofSource, "2001:db8::/48=::/0"},
		{ofTable, "main"},
		{ofTable, "4000000000"},
		{ofRouterID, "02:00:00:ff:fe:00:00:01"},
	} {
		if err := right.parse(right.text); err != nil {
			t.Errorf("%q: %v", right.text, err)
		}
	}
}

func ofInterface(s string) error { _, err := ParseInterface(s); return err }
func ofPrefix(s string) error    { _, err := ParseAnnouncement(s); return err }
func ofSource(s string) error    { _, err := ParseSourceSpecific(s); return err }
func ofTable(s string) error     { _, err := ParseTable(s); return err }
func ofRouterID(s string) error  { _, err := ParseRouterID(s); return err }

func TestKeyFile(t *testing.T) {
	const secret = "000102030405060708090a0b0c0d0e0f"
	path := filepath.Join(t.TempDir(), "keys")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"hmac-sha256:" + secret, 0o644, "can be read by others"},
		{"# none\n\n", 0o600, "no key"},
		{"hmac-sha256:" + secret + "\nrot13:" + secret, 0o600, "line 2"},
	} {
		write(c.text, c.mode)
		_, err := ReadKeys(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v, want %q and no secret", c.text, err, c.want)
		}
	}
	write("# old and new\nhmac-sha256:"+secret+"\n\n blake2s128:"+secret+"\n", 0o400)
	if keys, err := ReadKeys(path); err != nil || len(keys) != 2 {
		t.Errorf("%v, %v", keys, err)
	}
}

func TestStateIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openState(dir); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second one: %v", err)
	}
	id, err := s.routerID()
	if err != nil || !isUsable(id) {
		t.Fatalf("%v, %v", id, err)
	}
	if err := s.reserve(65535); err != nil {
		t.Fatal(err)
	}
	s.close()
	if s, err = openState(dir); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	again, err := s.routerID()
	seqno, errSeqno := s.seqno()
	if err != nil || errSeqno != nil || again != id || seqno != 65535 {
		t.Errorf("router-id %v, %v; seqno %d, %v", again, err, seqno, errSeqno)
	}
	if err := s.write(routerIDFile, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.routerID(); err == nil {
		t.Error("a damaged router-id is taken")
	}
}
