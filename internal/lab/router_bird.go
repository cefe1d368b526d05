package lab

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// bird is Debian's bird2. It is asked through its control socket.
type bird struct{}

func (bird) Name() string { return "bird" }

func (bird) socket(h *Host) string { return h.Path("bird.ctl") }

func (p bird) command(h *Host, c RouterConfig) ([]string, error) {
	text, err := p.configuration(h, c)
	if err != nil {
		return nil, err
	}
	path := h.Path("bird.conf")
	return []string{"bird", "-f", "-c", path, "-s", p.socket(h)}, os.WriteFile(path, []byte(text), 0o600)
}

func (p bird) configuration(h *Host, c RouterConfig) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	channel := "ipv6"
	if c.SourceSpecific || len(c.AnnounceFrom) > 0 {
		channel = "ipv6 sadr { table sadr6; }"
		line("ipv6 sadr table sadr6;")
	}
	with := func(more string) string { // the channel with more options
		if head, ok := strings.CutSuffix(channel, "}"); ok {
			return head + more + " };"
		}
		return channel + " { " + more + " };"
	}
	line("log stderr all;")
	line("router id 192.0.2.%d;", h.PID%254+1) // it wants one even if babel takes another
	line("protocol device { scan time 1; }")
	line("protocol kernel k6 { %s metric 1024; }", with("import none; export all;"))
	line("protocol kernel k4 { ipv4 { import none; export all; }; metric 1024; }")
	line("protocol static s6 { %s;", channel)
	for _, prefix := range c.Announce {
		switch {
		case prefix.Addr().Is4():
		case channel == "ipv6":
			line("  route %v unreachable;", prefix)
		default:
			line("  route %v from ::/0 unreachable;", prefix)
		}
	}
	for _, both := range c.AnnounceFrom {
		line("  route %v from %v unreachable;", both[0], both[1])
	}
	line("}")
	line("protocol static s4 { ipv4;")
	for _, prefix := range c.Announce {
		if prefix.Addr().Is4() {
			line("  route %v unreachable;", prefix)
		}
	}
	line("}")
	line("protocol babel babel1 {")
	line("  ipv4 { import all; export all; };")
	line("  %s", with("import all; export all;"))
	if c.RouterID == "" {
		line("  randomize router id yes;")
	}
	options, err := p.options(c)
	if err != nil {
		return "", err
	}
	for _, name := range c.Interfaces {
		line("  interface %q { %s};", name, options)
	}
	line("}")
	return b.String(), nil
}

// options are those of an interface.
func (bird) options(c RouterConfig) (string, error) {
	kind := c.kind()
	if kind == "tunnel" { // has come to bird with RTTs, in 2.0.13
		kind = "wired"
	}
	options := "type " + kind + "; "
	add := func(format string, args ...any) { options += fmt.Sprintf(format+"; ", args...) }
	if c.Hello != 0 {
		add("hello interval %d ms", c.Hello.Milliseconds())
	}
	if c.Update != 0 {
		add("update interval %d ms", c.Update.Milliseconds())
	}
	switch {
	case len(c.Keys) > 0 && c.AcceptUnsigned:
		add("authentication mac permissive")
	case len(c.Keys) > 0:
		add("authentication mac")
	}
	for i, k := range c.Keys {
		algorithm, secret, err := key(k)
		if err != nil {
			return "", err
		}
		if algorithm == "hmac-sha256" {
			algorithm = "hmac sha256"
		}
		add("password %s { id %d; algorithm %s; }", secret, i+1, algorithm)
	}
	for _, extra := range c.Extra {
		add("%s", extra)
	}
	return options, nil
}

// ask sends one command and returns the answer's lines, without their codes.
func (p bird) ask(h *Host, command string) ([]string, error) {
	conn, err := net.DialTimeout("unix", p.socket(h), askTimeout)
	if err != nil {
		return nil, fmt.Errorf("asking bird on %s: %w", h.Name, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(conn)
	if _, err := birdAnswer(lines); err != nil { // its greeting
		return nil, err
	}
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return nil, err
	}
	return birdAnswer(lines)
}

// birdAnswer reads to the line whose code is followed by a space. Codes from
// 8000 are errors; a line that begins with a space repeats the code.
func birdAnswer(lines *bufio.Scanner) ([]string, error) {
	var answer []string
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, " ") {
			answer = append(answer, line[1:])
			continue
		}
		if len(line) < 5 {
			return nil, fmt.Errorf("bird says %q", line)
		}
		if line[0] >= '8' {
			return nil, fmt.Errorf("bird says %q", line)
		}
		answer = append(answer, line[5:])
		if line[4] == ' ' {
			return answer, nil
		}
	}
	return nil, fmt.Errorf("bird closed in the middle of an answer: %w", lines.Err())
}

func (p bird) reload(h *Host, _ *Proc) error {
	_, err := p.ask(h, "configure")
	return err
}

func (p bird) ready(h *Host) error {
	_, err := p.ask(h, "show status")
	return err
}

func (p bird) neighbours(h *Host) ([]RouterNeighbour, error) {
	lines, err := p.ask(h, "show babel neighbors")
	if err != nil {
		return nil, err
	}
	var all []RouterNeighbour
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) < 3 {
			continue
		}
		address, err := netip.ParseAddr(words[0])
		if err != nil {
			continue // the heading
		}
		all = append(all, RouterNeighbour{Interface: words[1], Address: address, RxCost: -1, TxCost: -1, Cost: number(words[2]), RTT: -1})
	}
	return all, nil
}

func (p bird) routes(h *Host) ([]RouterRoute, error) {
	ids, err := p.routerIDs(h)
	if err != nil {
		return nil, err
	}
	lines, err := p.ask(h, "show babel routes")
	if err != nil {
		return nil, err
	}
	var all []RouterRoute
	for _, line := range lines {
		r, words, ok := birdPrefix(line)
		if !ok || len(words) < 5 {
			continue
		}
		if r.Via, err = netip.ParseAddr(words[0]); err != nil {
			return nil, fmt.Errorf("reading bird's routes: %w", err)
		}
		r.Interface, r.Metric, r.Installed = words[1], number(words[2]), words[3] == "*"
		if r.Installed {
			r.RouterID = ids[[2]netip.Prefix{r.Prefix, r.From}]
		}
		all = append(all, r)
	}
	return all, nil
}

// routerIDs of the selected routes are in another table.
func (p bird) routerIDs(h *Host) (map[[2]netip.Prefix]string, error) {
	lines, err := p.ask(h, "show babel entries")
	if err != nil {
		return nil, err
	}
	ids := map[[2]netip.Prefix]string{}
	for _, line := range lines {
		if r, words, ok := birdPrefix(line); ok && len(words) > 0 {
			ids[[2]netip.Prefix{r.Prefix, r.From}] = words[0]
		}
	}
	return ids, nil
}

// birdPrefix reads "P" or "P from S" and returns the words behind it.
func birdPrefix(line string) (r RouterRoute, rest []string, ok bool) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return r, nil, false
	}
	prefix, err := netip.ParsePrefix(words[0])
	if err != nil {
		return r, nil, false
	}
	r.Prefix, words = prefix, words[1:]
	if len(words) >= 2 && words[0] == "from" {
		if from, err := netip.ParsePrefix(words[1]); err == nil {
			r.From = source(from)
		}
		words = words[2:]
	}
	return r, words, true
}
