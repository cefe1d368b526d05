package lab

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// babeld is Debian's babeld. It is asked through its configuration socket.
type babeld struct{}

// babeldProtocol marks the kernel routes that babeld is to announce: it can
// announce nothing else.
const babeldProtocol = 44

// askTimeout bounds one question to a router.
const askTimeout = 5 * time.Second

func (babeld) Name() string { return "babeld" }

func (babeld) socket(h *Host) string { return h.Path("babeld.sock") }

func (p babeld) command(h *Host, c RouterConfig) ([]string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("state-file %s", h.Path("babeld.state"))
	line("local-path %s", p.socket(h))
	line(`pid-file ""`)
	if c.RouterID != "" {
		line("router-id %s", c.RouterID)
	} else {
		line("random-id true")
	}
	options, err := p.options(&b, c)
	if err != nil {
		return nil, err
	}
	for _, extra := range c.Extra {
		line("%s", extra)
	}
	for _, name := range c.Interfaces {
		line("interface %s%s", name, options)
	}
	p.announce(h, c, line)
	line("redistribute local deny")
	line("redistribute deny")
	path := h.Path("babeld.conf")
	return []string{"babeld", "-c", path}, os.WriteFile(path, []byte(b.String()), 0o600)
}

// options are those of an interface. Only one key can be used by one.
func (babeld) options(b *strings.Builder, c RouterConfig) (string, error) {
	options := " type " + c.kind()
	add := func(format string, args ...any) { options += fmt.Sprintf(" "+format, args...) }
	if c.Hello != 0 {
		add("hello-interval %g", c.Hello.Seconds())
	}
	if c.Update != 0 {
		add("update-interval %g", c.Update.Seconds())
	}
	if c.RTT {
		add("enable-timestamps true")
	}
	switch len(c.Keys) {
	case 0:
	case 1:
		algorithm, secret, err := key(c.Keys[0])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(b, "key id k type %s value %s\n", algorithm, secret)
		add("key k")
	default:
		return "", fmt.Errorf("babeld takes one key for an interface, not %d", len(c.Keys))
	}
	if c.AcceptUnsigned {
		add("accept-bad-signatures true")
	}
	return options, nil
}

// announce makes the kernel routes, and the filters that let them pass.
func (babeld) announce(h *Host, c RouterConfig, line func(string, ...any)) {
	h.Lab.TB.Helper()
	var routes []string
	for _, prefix := range c.Announce {
		routes = append(routes, fmt.Sprintf("route replace unreachable %v proto %d", prefix, babeldProtocol))
		line("redistribute ip %v eq %d proto %d", prefix, prefix.Bits(), babeldProtocol)
	}
	for _, both := range c.AnnounceFrom {
		to, from := both[0], both[1]
		routes = append(routes, fmt.Sprintf("route replace unreachable %v from %v proto %d", to, from, babeldProtocol))
		line("redistribute ip %v eq %d src-ip %v src-eq %d proto %d", to, to.Bits(), from, from.Bits(), babeldProtocol)
	}
	if len(routes) > 0 {
		h.IP(routes...)
	}
}

// ask sends one line and returns the answer's.
func (p babeld) ask(h *Host, question string) ([]string, error) {
	conn, err := net.DialTimeout("unix", p.socket(h), askTimeout)
	if err != nil {
		return nil, fmt.Errorf("asking babeld on %s: %w", h.Name, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(conn)
	if _, err := babeldAnswer(lines); err != nil { // its greeting
		return nil, err
	}
	if _, err := fmt.Fprintln(conn, question); err != nil {
		return nil, err
	}
	return babeldAnswer(lines)
}

func babeldAnswer(lines *bufio.Scanner) ([]string, error) {
	var answer []string
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "ok":
			return answer, nil
		case line == "bad" || line == "no" || strings.HasPrefix(line, "no "):
			return nil, fmt.Errorf("babeld says %q", line)
		default:
			answer = append(answer, line)
		}
	}
	return nil, fmt.Errorf("babeld closed in the middle of an answer: %w", lines.Err())
}

func (babeld) reload(*Host, *Proc) error {
	return errors.New("babeld cannot change the settings of an interface while it runs")
}

func (p babeld) ready(h *Host) error {
	_, err := p.ask(h, "dump")
	return err
}

// dump returns the lines about one kind of thing as pairs of a word and what
// follows it: "add neighbour 55b0 address fe80::1 if eth0 ...".
func (p babeld) dump(h *Host, kind string) ([]map[string]string, error) {
	lines, err := p.ask(h, "dump")
	if err != nil {
		return nil, err
	}
	var found []map[string]string
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) < 3 || words[1] != kind {
			continue
		}
		pairs := map[string]string{}
		for i := 3; i+1 < len(words); i += 2 {
			pairs[words[i]] = words[i+1]
		}
		found = append(found, pairs)
	}
	return found, nil
}

func (p babeld) neighbours(h *Host) ([]RouterNeighbour, error) {
	found, err := p.dump(h, "neighbour")
	if err != nil {
		return nil, err
	}
	var all []RouterNeighbour
	for _, pairs := range found {
		n := RouterNeighbour{Interface: pairs["if"], RxCost: number(pairs["rxcost"]), TxCost: number(pairs["txcost"]), Cost: number(pairs["cost"])}
		if n.Address, err = netip.ParseAddr(pairs["address"]); err != nil {
			return nil, fmt.Errorf("reading babeld's dump: %w", err)
		}
		if ms, err := strconv.ParseFloat(pairs["rtt"], 64); err == nil {
			n.RTT = time.Duration(ms * float64(time.Millisecond))
		}
		all = append(all, n)
	}
	return all, nil
}

func (p babeld) routes(h *Host) ([]RouterRoute, error) {
	found, err := p.dump(h, "route")
	if err != nil {
		return nil, err
	}
	var all []RouterRoute
	for _, pairs := range found {
		r := RouterRoute{RouterID: pairs["id"], Metric: number(pairs["metric"]), Interface: pairs["if"], Installed: pairs["installed"] == "yes"}
		if r.Prefix, err = netip.ParsePrefix(pairs["prefix"]); err != nil {
			return nil, fmt.Errorf("reading babeld's dump: %w", err)
		}
		if from, err := netip.ParsePrefix(pairs["from"]); err == nil {
			r.From = source(from)
		}
		if r.Via, err = netip.ParseAddr(pairs["via"]); err != nil {
			return nil, fmt.Errorf("reading babeld's dump: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// number is -1 for what is none.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

func (c RouterConfig) kind() string {
	if c.Kind == "" {
		return "wired"
	}
	return c.Kind
}
