package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"re6st/internal/fib"
	"re6st/tunnel/wg/userspace"
)

// relayCommand makes this program the relay.
const relayCommand = "relay"

type relayConfig struct {
	Tunnels   []tunnel
	InProcess bool
	Profile   string // directory
}

type tunnel struct {
	Name, Key, Peer, Endpoint, Route string // Key is a file's name, Peer in base64
}

// relayMain has userspace tunnels until it is told to end.
func relayMain(args []string) error {
	var c relayConfig
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	log := slog.New(slog.DiscardHandler)
	u := userspace.NewUnderlay(log)
	state := fib.Snapshot{Rules: []fib.Rule{{Lookup: true}}}
	for _, t := range c.Tunnels {
		d, err := open(u, t, log)
		if err != nil {
			return err
		}
		defer d.Close()
		state.Links = append(state.Links, fib.Link{Index: d.Index(), Kind: fib.Raw, Up: true, MTU: mtu})
		state.Routes = append(state.Routes, fib.Route{RouteKey: fib.RouteKey{Dst: netip.MustParsePrefix(t.Route)}, Ordinary: true, Interface: d.Index()})
	}
	if c.InProcess {
		f := fib.New()
		f.Apply(state)
		table, _, _ := f.Compile()
		var forwarding atomic.Pointer[fib.Table]
		forwarding.Store(table)
		u.Relay(&forwarding)
	}
	if c.Profile != "" {
		file, err := os.Create(fmt.Sprintf("%s/%s-%v.prof", c.Profile, relayCommand, c.InProcess))
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	<-end
	_, sum := u.Relayed()
	fmt.Printf("relayed: %+v\n", sum)
	return nil
}

func open(u *userspace.Underlay, t tunnel, log *slog.Logger) (*userspace.Device, error) {
	private, err := os.ReadFile(t.Key)
	if err != nil {
		return nil, err
	}
	d, err := userspace.New(u, t.Name, mtu, log)
	if err != nil {
		return nil, err
	}
	err = d.Configure(fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nendpoint=%s\nallowed_ip=::/0\n",
		inHex(string(private)), port, inHex(t.Peer), t.Endpoint))
	if err == nil {
		err = d.Up()
	}
	return d, err
}

func inHex(key string) string {
	raw, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(key)) // what it is not, Configure refuses
	return hex.EncodeToString(raw)
}
