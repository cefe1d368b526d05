package lab

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dump is what tcpdump has seen on an interface.
type Dump struct {
	host  *Host
	iface string
	path  string
	proc  *Proc
}

// Dump starts tcpdump on the interface.
func (i Interface) Dump() *Dump {
	i.Host.Lab.TB.Helper()
	d := &Dump{host: i.Host, iface: i.Name, path: i.Host.Path("dump-" + i.Name)}
	// -Z root: Debian's gives its rights away before it opens the file.
	d.proc = i.Host.Start("tcpdump", "tcpdump", "-i", i.Name, "-n", "-U", "--immediate-mode", "-Z", "root", "-s", "512", "-w", d.path)
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

// Contains says whether the bytes were in a packet so far.
func (d *Dump) Contains(b []byte) bool {
	all, err := os.ReadFile(d.path)
	return err == nil && bytes.Contains(all, b)
}

// lastFrame tells the end of a dump; its type is for local experiments (IEEE Std
// 802), which nobody answers.
const (
	lastFrame     = "re6st lab: the last frame"
	lastFrameType = 0x88b5
)

// Stop ends it when it has written what passed before; Count still answers.
func (d *Dump) Stop() {
	t := d.host.Lab.TB
	t.Helper()
	var sent error
	if err := d.host.ns.do(func() { sent = sendFrame(d.iface, lastFrameType, []byte(lastFrame)) }); err != nil || sent != nil {
		t.Errorf("ending the dump of %s on %s: %v %v", d.iface, d.host.Name, err, sent)
	} else {
		Until(t, "tcpdump on "+d.host.Name+" to see the last frame", 10*time.Second, func() bool { return d.Contains([]byte(lastFrame)) })
	}
	if _, err := d.proc.Stop(syscall.SIGINT); err != nil {
		d.host.Lab.TB.Errorf("%v", err)
	}
}

// sendFrame sends one to all on the link of the calling thread's network.
func sendFrame(iface string, kind uint16, payload []byte) error {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: htons(kind), Ifindex: link.Index, Halen: 6}
	copy(to.Addr[:], bytes.Repeat([]byte{0xff}, 6))
	return unix.Sendto(fd, payload, 0, to)
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
