package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"re6st/internal/lab"
)

// tunnelMTU is that of our node's tunnels, for stock wireguard-go as well.
const tunnelMTU = 1420

// keyPair is one of WireGuard, in hexadecimal.
type keyPair struct{ private, public string }

func newKey() (keyPair, error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return keyPair{}, fmt.Errorf("making a key: %w", err)
	}
	return keyPair{hex.EncodeToString(k.Bytes()), hex.EncodeToString(k.PublicKey().Bytes())}, nil
}

// tunnelsConfig is what the program tunnels reads.
type tunnelsConfig struct {
	Kind    string       `json:"kind"`
	Tunnels []tunnelSpec `json:"tunnels"`
}

type tunnelSpec struct {
	Name   string   `json:"name"`
	MTU    int      `json:"mtu"`
	Lines  string   `json:"lines"`  // of wireguard-go's configuration
	Routes []string `json:"routes"` // prefixes behind it, for the relay inside the process
}

// device is the part of a configuration that comes before the peers.
func device(own keyPair, port int) string {
	return fmt.Sprintf("private_key=%s\nlisten_port=%d\n", own.private, port)
}

// peer is a further part.
func peer(key keyPair, endpoint netip.AddrPort, behind ...string) string {
	text := fmt.Sprintf("public_key=%s\nendpoint=%v\npersistent_keepalive_interval=25\n", key.public, endpoint)
	for _, p := range behind {
		text += "allowed_ip=" + p + "\n"
	}
	return text
}

// The kinds of tunnels. Ours have one port in each process and a device for each peer;
// of stock ones each device has a port, and one device all peers, unless there are
// many tunnels.
const (
	stock = "stock"
	ours  = "ours"
)

const firstPort = 51821

func portOf(kind string, tunnel int) uint16 {
	if kind == ours {
		return firstPort
	}
	return uint16(firstPort + tunnel)
}

// startTunnels starts the program on a host and waits until it has made everything.
func startTunnels(h *lab.Host, program string, c tunnelsConfig) *lab.Proc {
	t := h.Lab.TB
	t.Helper()
	data, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(h.Path("tunnels.json"), data, 0o600)
	}
	if err != nil {
		t.Fatalf("configuring tunnels: %v", err)
	}
	p := h.Start("tunnels-"+c.Kind, program, h.Path("tunnels.json"))
	h.Lab.Await("the tunnels of "+h.Name, 30*time.Second, func() error {
		switch out := p.Output(); {
		case strings.Contains(out, "ready\n"):
			return nil
		case p.Exited():
			return fmt.Errorf("ended with %s: %s", p.Status(), out)
		default:
			return fmt.Errorf("not ready")
		}
	})
	return p
}

// wireGuard is a row of hosts with one process each, of the kinds given. Relays of kind
// stock are one device with two peers, and the kernel forwards; of ours, a device for
// each neighbour, and packets are handed over inside the process.
func wireGuard(l *lab.Lab, k int, name, program string, kinds ...string) *system {
	s := row(l, k, name, len(kinds))
	keys := make([]keyPair, len(kinds))
	for i := range kinds {
		var err error
		if keys[i], err = newKey(); err != nil {
			l.TB.Fatalf("%v", err)
		}
		s.address = append(s.address, netip.MustParseAddr(fmt.Sprintf("fd02:%x::%d", k+1, i+1)))
	}
	for i, h := range s.hosts {
		var left, right []string
		for j, to := range s.address {
			switch {
			case j < i:
				left = append(left, to.String()+"/128")
			case j > i:
				right = append(right, to.String()+"/128")
			}
		}
		var peers []string
		behind := [][]string{}
		if i > 0 {
			peers, behind = append(peers, peer(keys[i-1], netip.AddrPortFrom(cableAddress(k, i-1, 0), firstPort), left...)), append(behind, left)
		}
		if i < len(kinds)-1 {
			peers, behind = append(peers, peer(keys[i+1], netip.AddrPortFrom(cableAddress(k, i, 1), firstPort), right...)), append(behind, right)
		}
		c := tunnelsConfig{Kind: kinds[i]}
		setUp := []string{fmt.Sprintf("addr add %v/128 dev lo nodad", s.address[i])}
		add := func(name, lines string, routes ...string) {
			c.Tunnels = append(c.Tunnels, tunnelSpec{Name: name, MTU: tunnelMTU, Lines: device(keys[i], firstPort) + lines, Routes: routes})
			setUp = append(setUp, "link set "+name+" up")
			for _, to := range routes {
				setUp = append(setUp, fmt.Sprintf("route add %s dev %s src %v", to, name, s.address[i]))
			}
		}
		if kinds[i] == stock {
			add("wg", strings.Join(peers, ""), slices.Concat(behind...)...)
		} else {
			for n := range peers {
				add(fmt.Sprintf("wg%d", n), peers[n], behind[n]...)
			}
		}
		s.daemons = append(s.daemons, startTunnels(h, program, c))
		h.IP(setUp...)
	}
	return s
}

// nodes is a row of real ones. The registry has a cable to each, and forwards nothing.
func nodes(l *lab.Lab, k, hosts int, shortcut string) *system {
	s := row(l, k, "re6st", hosts)
	reg := l.Host(fmt.Sprintf("s%d-reg", k))
	address := netip.MustParseAddr(fmt.Sprintf("fd03:%x::1", k+1))
	reg.IP(fmt.Sprintf("addr add %v/128 dev lo nodad", address), "link set lo up")
	for i, h := range s.hosts {
		cable := l.Connect(reg, h, fmt.Sprintf("to%d", i), "reg")
		cable.A.Add(netip.PrefixFrom(cableAddress(k, 16+i, 0), 64))
		cable.B.Add(netip.PrefixFrom(cableAddress(k, 16+i, 1), 64))
		h.IP(fmt.Sprintf("route add %v via %v", address, cableAddress(k, 16+i, 0)))
	}
	registry := l.Registry(reg, lab.Network, address)
	registry.Serve()
	token := registry.NewToken(hosts)
	flags := []string{"--wireguard", "userspace", "--refresh", "1h"}
	if shortcut != "" {
		flags = append(flags, "--shortcut", shortcut)
	}
	for i, h := range s.hosts {
		n := l.Node(h, nil, fmt.Sprintf("bench-%d-%d", k, i), flags...)
		if err := n.Join(token); err != nil {
			l.TB.Fatalf("joining: %v", err)
		}
		n.Run()
		s.daemons = append(s.daemons, n.Proc)
		s.address = append(s.address, n.Address)
	}
	return s
}

// nebula is a row of three: its relays do not chain.
func nebula(l *lab.Lab, k int) *system {
	s := row(l, k, "nebula", 3)
	ca := s.hosts[0]
	ca.Run("nebula-cert", "ca", "-name", "bench", "-duration", "48h", "-out-crt", ca.Path("ca.crt"), "-out-key", ca.Path("ca.key"))
	middle := "10.77.0.2"
	for i, h := range s.hosts {
		s.address = append(s.address, netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}))
		ca.Run("nebula-cert", "sign", "-name", h.Name, "-ip", s.address[i].String()+"/24", "-ca-crt", ca.Path("ca.crt"),
			"-ca-key", ca.Path("ca.key"), "-out-crt", h.Path("host.crt"), "-out-key", h.Path("host.key"))
		anyone := []map[string]any{{"port": "any", "proto": "any", "host": "any"}}
		c := map[string]any{
			"pki":        map[string]any{"ca": ca.Path("ca.crt"), "cert": h.Path("host.crt"), "key": h.Path("host.key")},
			"listen":     map[string]any{"host": "[::]", "port": 4242},
			"punchy":     map[string]any{"punch": true},
			"tun":        map[string]any{"dev": "nebula1", "mtu": 1300, "tx_queue": 500},
			"logging":    map[string]any{"level": "warning"},
			"firewall":   map[string]any{"outbound": anyone, "inbound": anyone},
			"lighthouse": map[string]any{"am_lighthouse": i == 1},
			"relay":      map[string]any{"am_relay": i == 1, "use_relays": i != 1},
		}
		if i != 1 {
			// Host 0 is at the left end of its cable, host 2 at the right end.
			c["static_host_map"] = map[string]any{middle: []string{netip.AddrPortFrom(cableAddress(k, i/2, 1-i/2), 4242).String()}}
			c["lighthouse"] = map[string]any{"am_lighthouse": false, "interval": 10, "hosts": []string{middle}}
			c["relay"] = map[string]any{"am_relay": false, "use_relays": true, "relays": []string{middle}}
		}
		s.daemons = append(s.daemons, h.Start("nebula", "nebula", "-config", writeConfig(h, "nebula.yml", c)))
	}
	return s
}

// writeConfig writes JSON, which is YAML as well.
func writeConfig(h *lab.Host, name string, c any) string {
	h.Lab.TB.Helper()
	data, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(h.Path(name), data, 0o600)
	}
	if err != nil {
		h.Lab.TB.Fatalf("writing %s: %v", name, err)
	}
	return h.Path(name)
}

// yggdrasil is a row of peers over TCP, with its defaults otherwise.
func yggdrasil(l *lab.Lab, k int) *system {
	s := row(l, k, "yggdrasil", 4)
	for i, h := range s.hosts {
		var c map[string]any
		if err := json.Unmarshal([]byte(h.Run("yggdrasil", "-genconf", "-json")), &c); err != nil {
			l.TB.Fatalf("reading yggdrasil's configuration: %v", err)
		}
		c["Listen"], c["MulticastInterfaces"], c["AdminListen"], c["IfName"] = []string{"tcp://[::]:9001"}, []any{}, "none", "ygg0"
		if i > 0 {
			c["Peers"] = []string{"tcp://" + netip.AddrPortFrom(cableAddress(k, i-1, 0), 9001).String()}
		}
		path := writeConfig(h, "yggdrasil.json", c)
		s.address = append(s.address, netip.MustParseAddr(strings.TrimSpace(h.Run("yggdrasil", "-useconffile", path, "-address"))))
		p := h.Start("yggdrasil", "yggdrasil", "-useconffile", path)
		s.daemons = append(s.daemons, p)
		// One that is refused is asked again after a minute.
		l.Await("yggdrasil to listen", 20*time.Second, func() error {
			if !strings.Contains(p.Output(), "listener started") {
				return fmt.Errorf("it says %q", p.Output())
			}
			return nil
		})
	}
	return s
}
