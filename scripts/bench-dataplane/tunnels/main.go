// Command tunnels is many WireGuard tunnels in one process, of stock wireguard-go or
// of our package userspace, and nothing else: what bench-dataplane compares. It reads
// what to make from a file and runs until it is killed. Addresses and the state of the
// interfaces are for who starts it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

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
	start := map[string]func(tunnel) error{"stock": stock, "ours": ours()}[c.Kind]
	if start == nil {
		return fmt.Errorf("kind %q: want stock or ours", c.Kind)
	}
	for _, t := range c.Tunnels {
		if err := start(t); err != nil {
			return fmt.Errorf("tunnel %s: %w", t.Name, err)
		}
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

func ours() func(tunnel) error {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	underlay := userspace.NewUnderlay(log)
	return func(t tunnel) error {
		d, err := userspace.New(underlay, t.Name, t.MTU, log)
		if err != nil {
			return err
		}
		if err := d.Configure(t.Lines); err != nil {
			return err
		}
		return d.Up()
	}
}
