package router

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"re6st/babel"
	"re6st/babel/mac"
)

// Priority is the kernel's metric of all our routes: behind what an operator
// installs himself (1024 in IPv6, 0 in IPv4), and with protocol 42 our mark.
const Priority = 1042

// DefaultTable is the table main.
const DefaultTable = unix.RT_TABLE_MAIN

// DefaultStateDir is where the router keeps its few files.
const DefaultStateDir = "/var/lib/re6st-babel"

// Options are what an operator may choose.
type Options struct {
	StateDir       string
	Interfaces     []Interface
	Announce       []Announcement
	HelloInterval  time.Duration // zero: 4 s
	UpdateInterval time.Duration // zero: 4 Hello intervals, 300 s on tunnels
	RTT            bool          // on links that are no tunnels; those have it always
	Keys           []mac.Key     // of all interfaces (RFC 8967); none: no MAC
	AcceptUnsigned bool          // while keys are being introduced
	// On Rekey, ReadKeys is asked for the keys again.
	Rekey    <-chan os.Signal
	ReadKeys func() ([]mac.Key, error)

	Table    uint32
	RouterID babel.RouterID // zero: that of the state directory
	Log      *slog.Logger
}

// Interface is an interface to speak on, which need not exist yet.
type Interface struct {
	Name string
	Kind babel.Kind
	// HasKind is false where the kind shall follow from the device: a tunnel if
	// it is point to point, else wired.
	HasKind bool
}

// Announcement is a prefix of ours, and for a source-specific route the prefix
// of the sources that may use it.
type Announcement struct{ Prefix, From netip.Prefix }

// ParseInterface reads IFACE or IFACE:KIND.
func ParseInterface(text string) (Interface, error) {
	name, kind, hasKind := strings.Cut(text, ":")
	i := Interface{Name: name, HasKind: hasKind}
	if err := checkName(name); err != nil {
		return i, fmt.Errorf("%q: %w", text, err)
	}
	if !hasKind {
		return i, nil
	}
	for _, k := range []babel.Kind{babel.Tunnel, babel.Wired, babel.Wireless} {
		if k.String() == kind {
			i.Kind = k
			return i, nil
		}
	}
	return i, fmt.Errorf("%q: the kind is tunnel, wired or wireless", text)
}

// checkName is what the kernel takes (dev_valid_name).
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("no interface name")
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("an interface name has at most %d characters", unix.IFNAMSIZ-1)
	case name == "." || name == ".." || strings.ContainsAny(name, "/ \t\n"):
		return errors.New("not an interface name")
	}
	return nil
}

// ParsePrefix reads a prefix that may be announced.
func ParsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q: want ADDRESS/LENGTH", text)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q: write it as IPv4", text)
	case p != p.Masked():
		return p, fmt.Errorf("%q: has bits beyond its length; %v is the prefix", text, p.Masked())
	case p.Bits() > 0 && (p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast()):
		return p, fmt.Errorf("%q: multicast, loopback and link-local addresses are not routed", text)
	}
	return p, nil
}

// ParseAnnouncement reads PREFIX.
func ParseAnnouncement(text string) (Announcement, error) {
	p, err := ParsePrefix(text)
	return Announcement{Prefix: p}, err
}

// ParseSourceSpecific reads SOURCE=DESTINATION (RFC 9079).
func ParseSourceSpecific(text string) (Announcement, error) {
	source, destination, ok := strings.Cut(text, "=")
	if !ok {
		return Announcement{}, fmt.Errorf("%q: want SOURCE-PREFIX=DESTINATION-PREFIX", text)
	}
	from, err := ParsePrefix(source)
	if err != nil {
		return Announcement{}, err
	}
	to, err := ParsePrefix(destination)
	switch {
	case err != nil:
		return Announcement{}, err
	case from.Addr().Is4() || to.Addr().Is4():
		return Announcement{}, fmt.Errorf("%q: source-specific routes are IPv6 only, as Linux has them for IPv6 only", text)
	case from.Bits() == 0:
		return Announcement{}, fmt.Errorf("%q: any source may use it: use --announce %v", text, to)
	}
	return Announcement{to, from}, nil
}

// ParseTable reads the number of a table, or "main".
func ParseTable(text string) (uint32, error) {
	if text == "main" {
		return unix.RT_TABLE_MAIN, nil
	}
	var n uint32
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || fmt.Sprint(n) != text {
		return 0, fmt.Errorf("%q: want the number of a routing table, or main", text)
	}
	switch n {
	case unix.RT_TABLE_UNSPEC:
		return 0, errors.New("table 0 means every table; main is 254")
	case unix.RT_TABLE_LOCAL:
		return 0, errors.New("table 255 (local) is the kernel's own")
	}
	return n, nil
}

// ParseRouterID reads eight bytes in hexadecimal, with or without colons.
func ParseRouterID(text string) (babel.RouterID, error) {
	var id babel.RouterID
	digits := strings.ReplaceAll(text, ":", "")
	if len(digits) != 2*len(id) {
		return id, fmt.Errorf("%q: want 8 bytes as 02:00:00:ff:fe:00:00:01", text)
	}
	for i := range id {
		if _, err := fmt.Sscanf(digits[2*i:2*i+2], "%02x", &id[i]); err != nil {
			return id, fmt.Errorf("%q: want 8 bytes as 02:00:00:ff:fe:00:00:01", text)
		}
	}
	if !isUsable(id) {
		return id, fmt.Errorf("%q: all zeros and all ones are not router-ids", text)
	}
	return id, nil
}

// isUsable: RFC 8966, section 4.1.3.
func isUsable(id babel.RouterID) bool {
	first := id[0]
	if first != 0 && first != 0xff {
		return true
	}
	return slices.ContainsFunc(id[:], func(b byte) bool { return b != first })
}

// Check finds what is wrong in the options taken together.
func (o Options) Check() error {
	if len(o.Interfaces) == 0 {
		return errors.New("no interface to speak on: --interface IFACE")
	}
	seen := map[string]bool{}
	for _, i := range o.Interfaces {
		if seen[i.Name] {
			return fmt.Errorf("--interface %s is given twice", i.Name)
		}
		seen[i.Name] = true
	}
	announced := map[Announcement]bool{}
	for _, a := range o.Announce {
		if announced[a] {
			return fmt.Errorf("prefix %v is announced twice", a.Prefix)
		}
		announced[a] = true
	}
	if err := o.checkKeys(); err != nil {
		return err
	}
	return o.checkIntervals()
}

func (o Options) checkKeys() error {
	if o.AcceptUnsigned && len(o.Keys) == 0 {
		return errors.New("--mac-accept-unsigned without a key: nothing is signed or refused")
	}
	if len(o.Keys) > mac.KeysMax {
		return fmt.Errorf("%d MAC keys: at most %d", len(o.Keys), mac.KeysMax)
	}
	for i, k := range o.Keys {
		if slices.ContainsFunc(o.Keys[:i], k.Equal) {
			return errors.New("a MAC key is given twice")
		}
	}
	return nil
}

// The least and longest intervals: what the wire's 16 bits of centiseconds hold.
const (
	intervalMin = 10 * time.Millisecond
	intervalMax = 655 * time.Second
)

func (o Options) checkIntervals() error {
	for _, i := range []struct {
		flag  string
		value time.Duration
	}{{"hello-interval", o.HelloInterval}, {"update-interval", o.UpdateInterval}} {
		if i.value != 0 && (i.value < intervalMin || i.value > intervalMax) {
			return fmt.Errorf("--%s %v: want %v to %v", i.flag, i.value, intervalMin, intervalMax)
		}
	}
	return nil
}
