package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"re6st/internal/lab"
)

// timers of a daemon; the zero value leaves its defaults.
type timers struct{ Hello time.Duration }

// hello is the interval in force: 4 s is everyone's default (RFC 8966,
// appendix B).
func (t timers) hello() time.Duration {
	if t.Hello == 0 {
		return 4 * time.Second
	}
	return t.Hello
}

// daemon is a Babel router that can be measured.
type daemon struct {
	name  string
	start func(h *lab.Host, t timers, announce []netip.Prefix, ifaces ...string) *lab.Proc
}

var daemons = []daemon{
	{"re6st", startOurs},
	{"babeld", startBabeld},
	{"bird", startBIRD},
}

func startOurs(h *lab.Host, t timers, announce []netip.Prefix, ifaces ...string) *lab.Proc {
	args := []string{h.Lab.Binary("re6stnode"), "babel", "--state", h.Path("re6st-babel")}
	for _, i := range ifaces {
		args = append(args, "--interface", i)
	}
	for _, p := range announce {
		args = append(args, "--announce", p.String())
	}
	if t.Hello > 0 {
		args = append(args, "--hello-interval", t.Hello.String(), "--update-interval", (4 * t.Hello).String())
	}
	return h.Start("re6st", args...)
}

func startBabeld(h *lab.Host, t timers, announce []netip.Prefix, ifaces ...string) *lab.Proc {
	args := []string{"babeld", "-I", "", "-S", h.Path("babel-state")}
	if t.Hello > 0 {
		args = append(args, "-C", fmt.Sprintf("default hello-interval %g update-interval %g", t.Hello.Seconds(), 4*t.Hello.Seconds()))
	}
	for _, p := range announce {
		args = append(args, "-C", fmt.Sprintf("redistribute local ip %v eq %d allow", p, p.Bits()))
	}
	args = append(args, "-C", "redistribute local deny")
	return h.Start("babeld", append(args, ifaces...)...)
}

func startBIRD(h *lab.Host, t timers, announce []netip.Prefix, ifaces ...string) *lab.Proc {
	var c strings.Builder
	fmt.Fprintf(&c, "router id 10.0.0.%d;\nprotocol device { scan time 5; }\n", 1+len(h.Name)+int(h.Name[len(h.Name)-1]))
	fmt.Fprintf(&c, "protocol kernel { ipv6 { export where source = RTS_BABEL; import none; }; }\n")
	fmt.Fprintf(&c, "protocol static { ipv6;\n")
	for _, p := range announce {
		fmt.Fprintf(&c, "  route %v via \"lo\";\n", p)
	}
	fmt.Fprintf(&c, "}\nprotocol babel {\n")
	for _, i := range ifaces {
		fmt.Fprintf(&c, "  interface %q { type wired;", i)
		if t.Hello > 0 {
			fmt.Fprintf(&c, " hello interval %d ms; update interval %d ms;", t.Hello.Milliseconds(), 4*t.Hello.Milliseconds())
		}
		fmt.Fprintf(&c, " };\n")
	}
	fmt.Fprintf(&c, "  ipv6 { import all; export where source = RTS_BABEL || source = RTS_STATIC; };\n}\n")
	path := h.Path("bird.conf")
	if err := os.WriteFile(path, []byte(c.String()), 0o600); err != nil {
		h.Lab.TB.Fatalf("writing the configuration of BIRD: %v", err)
	}
	return h.Start("bird", "bird", "-f", "-c", path, "-s", h.Path("bird.ctl"), "-P", h.Path("bird.pid"))
}
