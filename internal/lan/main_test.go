package lan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"re6st/internal/kernel"
	"re6st/internal/lab"
	"re6st/internal/lan/advert"
	"re6st/internal/lan/lease"
)

// serveEnv makes this program a node's side of its LANs, on a host of the lab: the
// part of the daemon that needs no mesh.
const serveEnv = "RE6ST_TEST_LAN"

func TestMain(m *testing.M) {
	if config := os.Getenv(serveEnv); config != "" {
		if err := serve(config); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(lab.Main(m.Run))
}

type serveConfig struct {
	Dir  string
	Own  netip.Prefix
	Own4 netip.Prefix
	LANs []string
	IPv4 []string
	Mesh advert.Mesh
}

// Load and Save keep the leases in the directory.
func (c serveConfig) Load(iface string) []byte {
	b, _ := os.ReadFile(filepath.Join(c.Dir, "dhcp-"+iface))
	return b
}

func (c serveConfig) Save(iface string, b []byte) error {
	return os.WriteFile(filepath.Join(c.Dir, "dhcp-"+iface), b, 0o600)
}

func (c serveConfig) plan() kernel.Plan {
	return kernel.Plan{Networks: c.Mesh.Networks, Address: advert.LAN{Prefix: c.Own}.Address().Addr(), InstanceID: "lantest"}
}

func (c serveConfig) undoFile() string { return filepath.Join(c.Dir, "undo.json") }

// serve runs until SIGTERM; "clean" as its second word only cleans up.
func serve(text string) error {
	text, isCleaning := strings.CutPrefix(text, "clean ")
	var c serveConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	host, err := kernel.Open()
	if err != nil {
		return err
	}
	if isCleaning {
		return host.Cleanup(c.plan(), c.undoFile())
	}
	installed, err := host.Install(c.plan(), c.undoFile())
	if err != nil {
		return err
	}
	wishes, err := advert.ParseWishes(c.LANs)
	if err != nil {
		return err
	}
	lans, err := advert.Plan(c.Own, wishes)
	if err != nil {
		return err
	}
	wishes, err = advert.ParseWishes(c.IPv4)
	if err != nil {
		return err
	}
	four, err := lease.Plan(c.Own4, wishes)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l := New(Config{
		LANs: lans, IPv4: four, Store: c, Host: host, Addresses: installed, Log: log,
		Rand: func() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) },
	})
	l.SetMesh(c.Mesh)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	watching, endWatch := context.WithCancel(context.Background())
	watched := make(chan error, 1)
	go func() { watched <- installed.Watch(watching, log) }()
	go sayHealth(ctx, l)
	err = l.Run(ctx)
	endWatch()
	return errors.Join(err, <-watched, installed.Remove())
}

// sayHealth prints what changes of it.
func sayHealth(ctx context.Context, l *LAN) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var before []Health
	for {
		if now := l.Health(); !slices.Equal(now, before) || before == nil {
			fmt.Println("HEALTH", now)
			before = slices.Clone(now)
			if before == nil {
				before = []Health{}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lanNode is a host that serves LANs.
type lanNode struct {
	*lab.Host
	config serveConfig
	proc   *lab.Proc
}

func (n *lanNode) command(prefix string) []string {
	text, _ := json.Marshal(n.config)
	exe, _ := os.Executable()
	return []string{"env", serveEnv + "=" + prefix + string(text), exe}
}

func (n *lanNode) start() { n.proc = n.Start("lan", n.command("")...) }

// wantHealth waits until the last word on the health is as wanted.
func (n *lanNode) wantHealth(what string, ok func(string) bool) {
	n.Lab.TB.Helper()
	n.Lab.Await(what, 20*time.Second, func() error {
		out := n.proc.Output()
		i := strings.LastIndex(out, "HEALTH ")
		if i < 0 {
			return errors.New("no word on the health")
		}
		line, _, _ := strings.Cut(out[i:], "\n")
		if !ok(line) {
			return errors.New(line)
		}
		return nil
	})
}
