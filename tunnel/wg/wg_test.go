package wg

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/lab/solo"
)

func TestKeyHidesItself(t *testing.T) {
	k := Key{1, 2, 3}
	asJSON, err := json.Marshal(struct{ K Key }{k})
	must(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("made", "key", k)
	for _, text := range []string{
		fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %x %d %s %q", k, k, k, k, k, k, k), fmt.Sprintf("%v", Peer{PresharedKey: k}),
		fmt.Sprintf("%+v", Config{PrivateKey: k}), string(asJSON), log.String(),
	} {
		if strings.Contains(text, k.Reveal()) || strings.Contains(text, "010203") || strings.Contains(text, "1 2 3") {
			t.Errorf("the key is in %q", text)
		}
	}
}

// The second opinion on key derivation is wg(8).
func TestKeyPublic(t *testing.T) {
	if _, err := exec.LookPath("wg"); err != nil {
		solo.SkipOrFail(t, "wg is not installed")
	}
	k, err := NewKey()
	must(t, err)
	cmd := exec.Command("wg", "pubkey")
	cmd.Stdin = strings.NewReader(k.Reveal())
	out, err := cmd.Output()
	must(t, err)
	if got := k.Public().Reveal(); got != strings.TrimSpace(string(out)) {
		t.Errorf("public key %s, wg says %s", got, out)
	}
	back, err := ParseKey(k.Reveal())
	if err != nil || back != k {
		t.Errorf("parsing what was written: %v", err)
	}
	for _, bad := range []string{"", "AAAA", k.Reveal()[1:], k.Reveal() + "A", strings.Repeat("!", 44)} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("key %q is taken", bad)
		}
	}
}

func TestPeerAttributesGolden(t *testing.T) {
	for _, c := range []struct {
		name, endpoint, want string
		replace              bool
	}{
		{"IPv4, first peer", "192.0.2.1:6327", "0200 18b7 c0000201 0000000000000000", true},
		{"IPv4 mapped", "[::ffff:192.0.2.1]:6327", "0200 18b7 c0000201 0000000000000000", false},
		{"IPv6", "[2001:db8::1]:6327", "0a00 18b7 00000000 20010db8000000000000000000000001 00000000", false},
		{"link-local by index", "[fe80::1%7]:6327", "0a00 18b7 00000000 fe800000000000000000000000000001 07000000", false},
		{"link-local by name", "[fe80::1%lo]:6327", "0a00 18b7 00000000 fe800000000000000000000000000001 01000000", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			attrs, err := peerAttributes(9, Peer{PublicKey: Key{1}, Endpoint: netip.MustParseAddrPort(c.endpoint), Keepalive: 25 * time.Second}, c.replace)
			must(t, err)
			var text string
			for _, a := range attrs {
				text += hex.EncodeToString(a.Serialize())
			}
			squeeze := func(s string) string { return strings.ReplaceAll(s, " ", "") }
			if !strings.Contains(text, squeeze(c.want)) {
				t.Errorf("no endpoint %s in %s", c.want, text)
			}
			if !strings.HasPrefix(text, squeeze("0800 0100 09000000")) {
				t.Errorf("no interface index in front: %s", text)
			}
			if got := strings.Contains(text, squeeze("0800 0500 01000000")); got != c.replace {
				t.Errorf("replaces the peers: %v, want %v", got, c.replace)
			}
		})
	}
	if _, err := peerAttributes(9, Peer{PublicKey: Key{1}, Endpoint: netip.MustParseAddrPort("[fe80::1%nowhere]:1")}, false); err == nil {
		t.Error("an endpoint by an interface that does not exist is taken")
	}
}

func TestPeerLines(t *testing.T) {
	p := Peer{PublicKey: Key{1}, Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:6327"), Keepalive: 25 * time.Second}
	zeros := strings.Repeat("0", 62)
	want := "replace_peers=true\npublic_key=01" + zeros + "\npreshared_key=00" + zeros + "\nendpoint=[fe80::1%eth0]:6327\n" +
		"persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=::/0\nallowed_ip=0.0.0.0/0\n"
	if got := peerLines(p, Key{}); got != want {
		t.Errorf("first peer:\n%swant\n%s", got, want)
	}
	if got := peerLines(p, p.PublicKey); strings.Contains(got, "replace_peers") {
		t.Errorf("the same peer again:\n%s", got)
	}
}

func TestConfigRefused(t *testing.T) {
	good := Config{Name: "re6st-00000001", PrivateKey: Key{1}, LinkLocal: netip.MustParseAddr("fe80::1")}.withDefaults()
	must(t, good.check())
	for _, c := range []struct {
		name, want string
		change     func(*Config)
	}{
		{"long name", "interface name", func(c *Config) { c.Name = "re6st-0123456789" }},
		{"path as name", "interface name", func(c *Config) { c.Name = "../lo" }},
		{"MTU below IPv6's", "MTU 1279", func(c *Config) { c.MTU = 1279 }},
		{"global address", "link-local", func(c *Config) { c.LinkLocal = netip.MustParseAddr("2001:db8::1") }},
		{"no key", "private key", func(c *Config) { c.PrivateKey = Key{} }},
	} {
		bad := good
		c.change(&bad)
		if err := bad.check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	for _, p := range []Peer{{}, {PublicKey: Key{1}, Keepalive: -1}, {PublicKey: Key{1}, Keepalive: 20 * time.Hour}} {
		if p.check() == nil {
			t.Errorf("peer %+v is taken", p)
		}
	}
}

func TestPortsAvoidThoseInUse(t *testing.T) {
	c, err := net.ListenUDP("udp6", &net.UDPAddr{})
	must(t, err)
	defer c.Close()
	used := uint16(c.LocalAddr().(*net.UDPAddr).Port)
	p, err := newPorts(PortRange{First: used, Last: used})
	must(t, err)
	if _, err := p.take(0); !errors.Is(err, ErrNoPort) {
		t.Errorf("taking a port in use: %v, want ErrNoPort", err)
	}
	if _, err := p.take(used); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("asking for a port in use: %v, want EADDRINUSE", err)
	}
	must(t, c.Close())
	if got, err := p.take(0); err != nil || got != used {
		t.Errorf("port %d, %v; want %d, which is free now", got, err, used)
	}
	if _, err := p.take(0); !errors.Is(err, ErrNoPort) {
		t.Errorf("the same port twice: %v", err)
	}
	if _, err := newPorts(PortRange{First: 9, Last: 8}); err == nil {
		t.Error("a range backwards is taken")
	}
}

// Someone may bind the port between our try and the device's bind.
func TestBindPortTriesAnother(t *testing.T) {
	p, err := newPorts(PortRange{})
	must(t, err)
	var tried []uint16
	port, err := bindPort(p, 0, func(port uint16) error {
		tried = append(tried, port)
		if len(tried) < 3 {
			return unix.EADDRINUSE
		}
		return nil
	})
	if err != nil || len(tried) != 3 || port != tried[2] || len(p.used) != 1 {
		t.Errorf("port %d after %v, %v, %d kept", port, tried, err, len(p.used))
	}
	broken := errors.New("broken")
	if _, err := bindPort(p, 0, func(uint16) error { return broken }); !errors.Is(err, broken) || len(p.used) != 1 {
		t.Errorf("error %v, %d ports kept", err, len(p.used))
	}
}

func TestSelect(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	log := slog.New(slog.DiscardHandler)
	if _, _, err := Select("openvpn", PortRange{}, log); err == nil || !strings.Contains(err.Error(), "want auto, kernel or userspace") {
		t.Errorf("unknown kind: %v", err)
	}
	b, reason, err := Select(Auto, PortRange{}, log)
	must(t, err)
	t.Logf("auto: %s", reason)
	if hasKernel() {
		if b.Kind() != Kernel || !strings.Contains(reason, "probe") {
			t.Errorf("auto is %s, because %q", b.Kind(), reason)
		}
		return
	}
	if b.Kind() != Userspace || !strings.Contains(reason, "modprobe wireguard") {
		t.Errorf("auto is %s, because %q", b.Kind(), reason)
	}
	if _, _, err := Select(Kernel, PortRange{}, log); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "modprobe wireguard") {
		t.Errorf("kernel: %v", err)
	}
	if got := run(t, "ip -o link"); strings.Contains(got, "re6st") {
		t.Errorf("the probe is still there:\n%s", got)
	}
	must(t, unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, ""))
	for _, kind := range []string{Auto, Userspace} {
		if _, _, err := Select(kind, PortRange{}, log); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "modprobe tun") {
			t.Errorf("%s without /dev/net/tun: %v", kind, err)
		}
	}
}

// Strict reverse-path filtering of the host would drop what takes another way back.
func TestReversePathIsLoosenedOnlyWhereStrict(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	a := newNode(t, "a")
	want := func(name, value string) {
		t.Helper()
		if got := strings.TrimSpace(a.run("sysctl -n net.ipv4.conf." + name + ".rp_filter")); got != value {
			t.Errorf("rp_filter of %s is %s, want %s", name, got, value)
		}
	}
	a.run("sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.disable_ipv6=1")
	a.create("re6st-00000001", "fe80::1")
	want("re6st-00000001", "0")
	// As systemd has it: new interfaces are loose, and would still drop.
	a.run("sysctl -w net.ipv4.conf.default.rp_filter=2")
	a.create("re6st-00000002", "fe80::1")
	want("re6st-00000002", "0")
	want("default", "2")
	a.run("sysctl -w net.ipv4.conf.all.rp_filter=1")
	a.create("re6st-00000003", "fe80::1")
	want("re6st-00000003", "2")
	want("all", "1")

	// A packet in transit that came by one tunnel and has its way back by another.
	a.run("sysctl -w net.ipv4.ip_forward=1")
	for _, name := range []string{"re6st-00000001", "re6st-00000003"} {
		a.run("ip -4 route replace 10.42.1.0/24 via inet6 fe80::9 dev re6st-00000002")
		a.run("ip -4 route replace 10.42.2.0/24 via inet6 fe80::9 dev re6st-00000002")
		if name == "re6st-00000001" {
			a.run("sysctl -w net.ipv4.conf.all.rp_filter=0")
		} else {
			a.run("sysctl -w net.ipv4.conf.all.rp_filter=1")
		}
		if got := a.run("ip -4 route get 10.42.2.1 from 10.42.1.1 iif " + name); !strings.Contains(got, "dev re6st-00000002") {
			t.Errorf("from %s: %s", name, got)
		}
	}
}

// As in a container.
func TestReadOnlySysctls(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	must(t, unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""))
	must(t, unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	a := newNode(t, "a")
	a.create("re6st-00000001", "fe80::1")
	if got := strings.TrimSpace(a.run("sysctl -n net.ipv6.conf.re6st-00000001.autoconf")); got != "1" {
		t.Errorf("control: autoconf is %s, so the settings were not read-only", got)
	}
}

func FuzzT13_StatsOf(f *testing.F) {
	f.Add("last_handshake_time_sec", "1", "endpoint", "[fe80::1%eth0]:1")
	f.Add("rx_bytes", "-1", "tx_bytes", "99999999999999999999")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		_ = statsOf(map[string]string{k1: v1, k2: v2})
	})
}
