package lab

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ControlPort is the control API's default port; tunnels' ports follow it.
const (
	ControlPort     = 6326
	FirstTunnelPort = 6327
	LastTunnelPort  = 6582
)

// Node is a re6stnode on a host.
type Node struct {
	Host    *Host
	Port    *Port // its place in the underlay
	Name    string
	State   string
	Flags   []string // of run, beside --state
	Address netip.Addr
	Proc    *Proc
	Binary  string // the program
}

// Node prepares a node; it has neither certificate nor process.
func (l *Lab) Node(h *Host, p *Port, name string, flags ...string) *Node {
	l.TB.Helper()
	return &Node{Host: h, Port: p, Name: name, State: h.Path("state"), Flags: flags, Binary: l.Binary("re6stnode")}
}

// Join enrols the node.
func (n *Node) Join(token string) error {
	_, err := n.Host.Try(n.Binary, "join", token, "--state", n.State, "--name", n.Name)
	if err != nil {
		return err
	}
	n.Address, err = addressIn(filepath.Join(n.State, "cert.pem"))
	return err
}

// addressIn reads the node's address from its certificate.
func addressIn(path string) (netip.Addr, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return netip.Addr{}, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return netip.Addr{}, fmt.Errorf("%q holds no certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reading %q: %w", path, err)
	}
	for _, ip := range cert.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok && a.Is6() && !a.Is4In6() {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%q names no IPv6 address", path)
}

// Run starts the daemon.
func (n *Node) Run() {
	n.Host.Lab.TB.Helper()
	args := append([]string{n.Binary, "run", "--state", n.State}, n.Flags...)
	n.Proc = n.Host.Start("re6stnode", args...)
}

// Stop ends the daemon in an orderly way and returns how long it took.
func (n *Node) Stop() (time.Duration, error) { return n.Proc.Stop(syscall.SIGTERM) }

// Kill ends the daemon with no chance to clean up.
func (n *Node) Kill() { n.Proc.Kill() }

// Status is what re6stnode status --json tells.
type Status struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Prefix   string `json:"prefix"`
	RouterID string `json:"router_id"`
	// IPv4 is the node's subnet, IPv4Address its address in it; empty: none.
	IPv4        string   `json:"ipv4"`
	IPv4Address string   `json:"ipv4_address"`
	Announces   []string `json:"announces"`
	Announced   []string `json:"announced"`
	Registry    struct {
		Reachable   bool    `json:"reachable"`
		LastContact *string `json:"last_contact"`
	} `json:"registry"`
	Tunnels  int `json:"tunnels"`
	Routes   int `json:"routes"`
	Shortcut struct {
		On      bool              `json:"on"`
		Why     string            `json:"why"`
		Packets map[string]uint64 `json:"packets"`
	} `json:"shortcut"`
	Relayed struct {
		Packets uint64 `json:"packets"`
	} `json:"relayed"`
	Health []struct {
		Code string `json:"code"`
		Text string `json:"text"`
	} `json:"health"`
}

// Tunnel is one of re6stnode tunnels --json.
type Tunnel struct {
	ID        string    `json:"id"`
	Peer      string    `json:"peer"`
	Interface string    `json:"interface"`
	Backend   string    `json:"backend"`
	Direction string    `json:"direction"`
	State     string    `json:"state"`
	Reason    string    `json:"reason"`
	Transport string    `json:"transport"`
	Endpoint  string    `json:"endpoint"`
	RTTms     *float64  `json:"rtt_ms"`
	Cost      int       `json:"cost"`
	MTU       int       `json:"mtu"`
	RoutesVia int       `json:"routes_via"`
	RxBytes   uint64    `json:"rx_bytes"`
	TxBytes   uint64    `json:"tx_bytes"`
	Since     time.Time `json:"since"`
}

// Route is one of re6stnode routes --json.
type Route struct {
	Prefix    string `json:"prefix"`
	From      string `json:"from"`
	RouterID  string `json:"router_id"`
	Owner     string `json:"owner"`
	Metric    int    `json:"metric"`
	Via       string `json:"via"`
	Interface string `json:"interface"`
	Installed bool   `json:"installed"`
	Feasible  bool   `json:"feasible"`
}

// ask runs one of the node's commands with --json.
func (n *Node) ask(into any, args ...string) error {
	out, err := n.Host.Try(append(append([]string{n.Binary}, args...), "--json", "--state", n.State)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("%s: %s --json: %w in %q", n.Name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Status asks the daemon.
func (n *Node) Status() (Status, error) {
	var s Status
	err := n.ask(&s, "status")
	return s, err
}

// Tunnels asks the daemon.
func (n *Node) Tunnels() ([]Tunnel, error) {
	var t struct{ Tunnels []Tunnel }
	err := n.ask(&t, "tunnels")
	return t.Tunnels, err
}

// Up returns the tunnels that carry packets, those that are being drained
// among them.
func (n *Node) Up() ([]Tunnel, error) {
	all, err := n.Tunnels()
	return slices.DeleteFunc(all, func(t Tunnel) bool { return t.State != "up" && t.State != "draining" }), err
}

// Routes asks the daemon.
func (n *Node) Routes() ([]Route, error) {
	var r struct{ Routes []Route }
	err := n.ask(&r, "routes")
	return r.Routes, err
}

// Traffic is what re6stnode top --once --json tells.
type Traffic struct {
	Unknown      string     `json:"unknown"`
	Own          Throughput `json:"own"`
	Carried      Throughput `json:"carried"`
	Destinations []struct {
		Prefix  string     `json:"prefix"`
		Owner   string     `json:"owner"`
		Via     string     `json:"via"`
		Own     Throughput `json:"own"`
		Carried Throughput `json:"carried"`
	} `json:"destinations"`
	Tunnels []struct {
		Peer     string     `json:"peer"`
		Received Throughput `json:"received"`
		Sent     Throughput `json:"sent"`
		Own      Throughput `json:"own"`
		Carried  Throughput `json:"carried"`
	} `json:"tunnels"`
}

// Throughput is some traffic.
type Throughput struct {
	BytesPerSecond   float64 `json:"bytes_per_second"`
	PacketsPerSecond float64 `json:"packets_per_second"`
	Bytes            uint64  `json:"bytes"`
	Packets          uint64  `json:"packets"`
}

// Traffic asks the daemon.
func (n *Node) Traffic() (Traffic, error) {
	var t Traffic
	err := n.ask(&t, "top", "--once")
	return t, err
}

// Uses says whether the node has a default route of each family through the
// gateway; nil: through any.
func (n *Node) Uses(gateway *Node) error {
	routes, err := n.Routes()
	if err != nil {
		return err
	}
	for _, want := range []string{"::/0", "0.0.0.0/0"} {
		i := slices.IndexFunc(routes, func(r Route) bool { return r.Prefix == want && r.Installed })
		switch {
		case i < 0:
			return fmt.Errorf("%s has no route to %s", n.Name, want)
		case gateway != nil && routes[i].Owner != gateway.Name:
			return fmt.Errorf("%s is led to %s by %s, want %s", n.Name, want, routes[i].Owner, gateway.Name)
		}
	}
	return nil
}
