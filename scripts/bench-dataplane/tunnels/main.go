// Command tunnels is many WireGuard tunnels in one process, of stock wireguard-go or
// of our package userspace with its relay inside the process, and nothing else: what
// bench-dataplane compares. It reads what to make from a file and runs until it is
// killed. Addresses, routes and the state of the interfaces are for who starts it.
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"re6st/internal/fib"
	"re6st/tunnel/wg/userspace"
)

// config says what to make.
type config struct {
	Kind    string   `json:"kind"` // stock or ours
	Tunnels []tunnel `json:"tunnels"`
}

type tunnel struct {
	Name  string `json:"name"`
	MTU   int    `json:"mtu"`
	Lines string `json:"lines"` // of wireguard-go's "set" operation
	// Routes are those that the kernel is given: our relay follows them.
	Routes []netip.Prefix `json:"routes"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tunnels:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: tunnels FILE")
	}
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("reading %s: %w", os.Args[1], err)
	}
	switch c.Kind {
	case "stock":
		for _, t := range c.Tunnels {
			if err := stock(t); err != nil {
				return fmt.Errorf("tunnel %s: %w", t.Name, err)
			}
		}
	case "ours":
		if err := ours(c.Tunnels); err != nil {
			return err
		}
	default:
		return fmt.Errorf("kind %q: want stock or ours", c.Kind)
	}
	fmt.Println("ready")
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM, unix.SIGINT)
	<-ended
	return nil
}

// stock does what wireguard-go's own main does.
func stock(t tunnel) error {
	i, err := tun.CreateTUN(t.Name, t.MTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(i, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, t.Name+": "))
	if err := d.IpcSet(t.Lines); err != nil {
		return err
	}
	return d.Up()
}

func ours(tunnels []tunnel) error {
	log := slog.New(slog.DiscardHandler)
	underlay := userspace.NewUnderlay(log)
	state := fib.Snapshot{Rules: []fib.Rule{{Lookup: true}}}
	for _, t := range tunnels {
		d, err := userspace.New(underlay, t.Name, t.MTU, log)
		if err == nil {
			err = d.Configure(t.Lines)
		}
		if err == nil {
			err = d.Up()
		}
		if err != nil {
			return fmt.Errorf("tunnel %s: %w", t.Name, err)
		}
		state.Links = append(state.Links, fib.Link{Index: d.Index(), Kind: fib.Raw, Up: true, MTU: t.MTU})
		for _, p := range t.Routes {
			state.Routes = append(state.Routes, fib.Route{RouteKey: fib.RouteKey{Dst: p.Masked()}, Ordinary: true, Interface: d.Index()})
		}
	}
	f := fib.New()
	f.Apply(state)
	table, _, _ := f.Compile()
	var forwarding atomic.Pointer[fib.Table]
	forwarding.Store(table)
	underlay.Relay(&forwarding)
	return nil
}
