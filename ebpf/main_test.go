package ebpf

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"re6st/internal/kernel"
	"re6st/internal/lab"
)

// asTranslator makes the test program be one on a host of the lab: its value is
// a childConfig.
const asTranslator = "RE6ST_TEST_TRANSLATOR"

func TestMain(m *testing.M) {
	for name, be := range map[string]func(string) error{asTranslator: beTranslator, asSender: beSender, asShortcut: beShortcut} {
		if text := os.Getenv(name); text != "" {
			if err := be(text); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(lab.Main(m.Run))
}

type childConfig struct {
	Uplink string
	Clsact bool
	Pairs  [][2]string
}

const testInstance = "1a2b3c4d"

// beTranslator says how it is attached, and at SIGUSR1 its counters, until
// SIGTERM. Like the daemon it first removes what one before it left.
func beTranslator(text string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	host, err := kernel.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	removed, err := host.RemoveFilters(testInstance)
	if err != nil {
		return err
	}
	fmt.Println("removed", len(removed))
	config := TranslatorConfig{Uplink: c.Uplink, NoTCX: c.Clsact, Clsact: host.Filters(testInstance)}
	for _, p := range c.Pairs {
		config.Pairs = append(config.Pairs, Pair{prefix(p[0]), prefix(p[1])})
	}
	t, err := NewTranslator(config)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	fmt.Println("attached by", t.Method())
	for s := range signals {
		if s == syscall.SIGTERM {
			return t.Close()
		}
		n, err := t.Counters()
		if err = errors.Join(err, t.Check()); err != nil {
			fmt.Println("unusable:", err)
		}
		b, _ := json.Marshal(n)
		fmt.Printf("counters %s\n", b)
	}
	return nil
}
