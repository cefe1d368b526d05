package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Dump is what tcpdump has seen on an interface.
type Dump struct {
	host *Host
	path string
	proc *Proc
}

// Dump starts tcpdump on the interface.
func (i Interface) Dump() *Dump {
	i.Host.Lab.TB.Helper()
	d := &Dump{host: i.Host, path: i.Host.Path("dump-" + i.Name)}
	// -Z root: Debian's gives its rights away before it opens the file.
	d.proc = i.Host.Start("tcpdump", "tcpdump", "-i", i.Name, "-n", "-U", "--immediate-mode", "-Z", "root", "-s", "128", "-w", d.path)
	i.Host.Lab.Await("tcpdump to listen", 10*time.Second, func() error {
		if out := d.proc.Output(); !strings.Contains(out, "listening on") {
			return fmt.Errorf("it says %q (%s)", out, d.proc.Status())
		}
		return nil
	})
	return d
}

// Count says how many packets match a filter of tcpdump's so far, and shows the
// first.
func (d *Dump) Count(filter string) (count int, first string, err error) {
	out, err := d.host.Try("tcpdump", "-n", "-Z", "root", "-r", d.path, filter)
	if err != nil {
		return 0, "", err
	}
	first, _, _ = strings.Cut(out, "\n")
	return strings.Count(out, "\n"), first, nil
}

// Stop ends it; Count still answers.
func (d *Dump) Stop() {
	if _, err := d.proc.Stop(syscall.SIGINT); err != nil {
		d.host.Lab.TB.Errorf("%v", err)
	}
}

// Hop is what answered to a packet of one hop limit.
type Hop struct {
	Limit int
	From  netip.Addr // invalid: silence
}

// Trace sends echo requests with hop limits from 1 to most, all at once, and
// returns who answered, up to the target.
func (h *Host) Trace(to netip.Addr, most int) []Hop {
	hops := make([]Hop, most)
	var wg sync.WaitGroup
	for i := range hops {
		wg.Go(func() {
			hops[i] = Hop{Limit: i + 1}
			// The exit status tells silence and errors apart; the text is enough.
			out, _ := h.Try("ping", "-n", "-c", "1", "-W", strconv.Itoa(int(Slow(2*time.Second)/time.Second)), "-t", strconv.Itoa(i+1), to.String())
			hops[i].From = answerer(out)
		})
	}
	wg.Wait()
	if end := slices.IndexFunc(hops, func(h Hop) bool { return h.From == to }); end >= 0 {
		hops = hops[:end+1]
	}
	return hops
}

// answerer finds the address in what ping prints of an answer or an error:
// "64 bytes from A: ...", "From A icmp_seq=1 Time exceeded".
func answerer(out string) netip.Addr {
	words := strings.Fields(out)
	for i, word := range words[:max(0, len(words)-1)] {
		if word != "From" && word != "from" {
			continue
		}
		if a, err := netip.ParseAddr(strings.TrimSuffix(words[i+1], ":")); err == nil {
			return a
		}
	}
	return netip.Addr{}
}
