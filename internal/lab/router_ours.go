package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// ours is re6stnode babel. It is asked with the program's own commands.
type ours struct{ binary string }

func (ours) Name() string { return "ours" }

func (ours) state(h *Host) string { return h.Path("babel") }

func (p ours) command(h *Host, c RouterConfig) ([]string, error) {
	args := []string{p.binary, "babel", "--state", p.state(h)}
	add := func(flag string, value any) { args = append(args, fmt.Sprintf("--%s=%v", flag, value)) }
	for _, name := range c.Interfaces {
		add("interface", name+":"+c.kind())
	}
	for _, prefix := range c.Announce {
		add("announce", prefix)
	}
	for _, both := range c.AnnounceFrom {
		add("announce-from", both[1].String()+"="+both[0].String())
	}
	if c.Hello != 0 {
		add("hello-interval", c.Hello)
	}
	if c.Update != 0 {
		add("update-interval", c.Update)
	}
	if c.RTT {
		add("rtt", true)
	}
	if len(c.Keys) > 0 {
		path := h.Path("babel.keys")
		add("mac-key-file", path)
		if err := os.WriteFile(path, []byte(strings.Join(c.Keys, "\n")+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	if c.AcceptUnsigned {
		add("mac-accept-unsigned", true)
	}
	if c.RouterID != "" {
		add("router-id", c.RouterID)
	}
	return append(args, c.Extra...), nil
}

// ask runs one of the program's commands.
func (p ours) ask(h *Host, into any, what string) error {
	out, err := h.Try(p.binary, "babel", what, "--json", "--state", p.state(h))
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("%s: babel %s --json: %w in %q", h.Name, what, err, out)
	}
	return nil
}

// reload has it read its keys again: nothing else can change while it runs.
func (ours) reload(_ *Host, p *Proc) error { return p.Signal(syscall.SIGHUP) }

func (p ours) ready(h *Host) error {
	_, err := p.routes(h)
	return err
}

func (p ours) neighbours(h *Host) ([]RouterNeighbour, error) {
	var answer struct {
		Neighbours []struct {
			Interface string     `json:"interface"`
			Address   netip.Addr `json:"address"`
			RxCost    int        `json:"rx_cost"`
			TxCost    int        `json:"tx_cost"`
			Cost      int        `json:"cost"`
			RTTms     *float64   `json:"rtt_ms"`
		} `json:"neighbours"`
	}
	if err := p.ask(h, &answer, "neighbours"); err != nil {
		return nil, err
	}
	var all []RouterNeighbour
	for _, n := range answer.Neighbours {
		r := RouterNeighbour{n.Interface, n.Address.WithZone(""), n.RxCost, n.TxCost, n.Cost, -1}
		if n.RTTms != nil {
			r.RTT = time.Duration(*n.RTTms * float64(time.Millisecond))
		}
		all = append(all, r)
	}
	return all, nil
}

func (p ours) routes(h *Host) ([]RouterRoute, error) {
	var answer struct{ Routes []Route }
	if err := p.ask(h, &answer, "routes"); err != nil {
		return nil, err
	}
	var all []RouterRoute
	for _, found := range answer.Routes {
		if found.Via == "" {
			continue // its own
		}
		r := RouterRoute{RouterID: found.RouterID, Metric: found.Metric, Interface: found.Interface, Installed: found.Installed}
		var err error
		if r.Prefix, err = netip.ParsePrefix(found.Prefix); err != nil {
			return nil, fmt.Errorf("reading our routes: %w", err)
		}
		if from, err := netip.ParsePrefix(found.From); err == nil {
			r.From = source(from)
		}
		via, err := netip.ParseAddr(found.Via)
		if err != nil {
			return nil, fmt.Errorf("reading our routes: %w", err)
		}
		r.Via = via.WithZone("")
		all = append(all, r)
	}
	return all, nil
}
