package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The sysctls that we change, all of them:
//
//	net.ipv6.conf.all.forwarding = 1      a node relays for others
//	net.ipv6.conf.IF.accept_ra = 2        before that, where it is 1: a router
//	                                      heeds no router advertisements, and the
//	                                      host would lose its own default route
//	net.ipv4.ip_forward = 1               where the network has an IPv4 prefix
//	net.ipv4.conf.all.send_redirects = 0  not by us: the kernel's WireGuard does
//	                                      it when an interface comes up, and does
//	                                      not put it back
//
// Links of our own are not listed: their settings die with them (AllowAsymmetry).
const (
	sysctlRoot     = "/proc/sys"
	forwarding6    = "net/ipv6/conf/all/forwarding"
	forwarding4    = "net/ipv4/ip_forward"
	conf6          = "net/ipv6/conf"
	conf4          = "net/ipv4/conf"
	sendRedirects  = "net/ipv4/conf/all/send_redirects"
	rpFilter       = "rp_filter"
	rpStrict       = "1"
	rpLoose        = "2"
	acceptRA       = "accept_ra"
	acceptRAOff    = "0"
	acceptRAHost   = "1" // unless forwarding
	acceptRAAlways = "2"
)

// Sysctl reads a setting by its path below /proc/sys.
func Sysctl(name string) (string, error) {
	b, err := os.ReadFile(path.Join(sysctlRoot, name))
	if err != nil {
		return "", fmt.Errorf("reading sysctl %s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// SetSysctl writes a setting for good: for links of our own. What belongs to the
// host is changed by Install, with the old value kept. A setting that has the
// value is not written: in containers they are often read-only, and preset.
func SetSysctl(name, value string) error {
	if now, err := Sysctl(name); err == nil && now == value {
		return nil
	}
	err := os.WriteFile(path.Join(sysctlRoot, name), []byte(value), 0)
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("setting sysctl %s to %s: %w (in a container, set it when starting that)", name, value, err)
	}
	if err != nil {
		return fmt.Errorf("setting sysctl %s to %s: %w", name, value, err)
	}
	return nil
}

// sysctlUndo is one changed setting. Aside are settings that the kernel changes
// along with it, with the values they had: turning forwarding off again turns it
// off on every interface, also where it had been on.
type sysctlUndo struct {
	Name  string            `json:"name"`
	Old   string            `json:"old"`
	New   string            `json:"new"`
	Aside map[string]string `json:"aside,omitempty"`
}

// sysctlPlan is what has still to be changed, in order. A link whose accept_ra
// stands in known was treated once: who changed it since meant it.
func sysctlPlan(ipv4 bool, known []sysctlUndo) ([]sysctlUndo, error) {
	on, err := Sysctl(forwarding6)
	if err != nil {
		return nil, fmt.Errorf("is IPv6 compiled in and enabled? %w", err)
	}
	changed := slices.ContainsFunc(known, func(u sysctlUndo) bool { return u.Name == forwarding6 })
	var plan []sysctlUndo
	if on == "0" || changed {
		plan = acceptRAPlan(on == "0", known)
	}
	if on == "0" {
		plan = append(plan, sysctlUndo{Name: forwarding6, Old: on, New: "1", Aside: snapshot(conf6, "forwarding")})
	}
	isKnown := slices.ContainsFunc(known, func(u sysctlUndo) bool { return u.Name == sendRedirects })
	if on, err := Sysctl(sendRedirects); err == nil && on == "1" && !isKnown {
		plan = append(plan, sysctlUndo{Name: sendRedirects, Old: on, New: "0"})
	}
	if !ipv4 {
		return plan, nil
	}
	if on, err = Sysctl(forwarding4); err != nil {
		return nil, err
	}
	if on == "0" {
		aside := snapshot(conf4, "forwarding")
		if v, err := Sysctl(conf4 + "/all/accept_redirects"); err == nil {
			aside[conf4+"/all/accept_redirects"] = v
		}
		plan = append(plan, sysctlUndo{Name: forwarding4, Old: on, New: "1", Aside: aside})
	}
	return plan, nil
}

// acceptRAPlan finds the interfaces that listen to router advertisements now and
// would not when they forward.
func acceptRAPlan(before bool, known []sysctlUndo) []sysctlUndo {
	var plan []sysctlUndo
	for name, value := range snapshot(conf6, acceptRA) {
		iface := path.Base(path.Dir(name))
		if value != acceptRAHost || iface == "all" || iface == "default" || iface == "lo" || isOurLink(iface) {
			continue
		}
		if slices.ContainsFunc(known, func(u sysctlUndo) bool { return u.Name == name }) {
			continue
		}
		if own, err := Sysctl(path.Join(conf6, iface, "forwarding")); before && (err != nil || own != "0") {
			continue // forwarded already: advertisements were not heeded
		}
		plan = append(plan, sysctlUndo{Name: name, Old: value, New: acceptRAAlways})
	}
	slices.SortFunc(plan, func(a, b sysctlUndo) int { return strings.Compare(a.Name, b.Name) })
	return plan
}

// AllowAsymmetry lets a link of our own take IPv4 packets whose answer goes by
// another one: in a mesh that is the rule. Where the host filters strictly (RFC
// 3704, section 2.2), it does so loosely on this link; the kernel takes the higher
// value of the link's and of all links'.
func AllowAsymmetry(iface string) error {
	own := path.Join(conf4, iface, rpFilter)
	for _, name := range []string{own, path.Join(conf4, "all", rpFilter)} {
		switch v, err := Sysctl(name); {
		case err != nil:
			return err
		case v == rpStrict:
			return SetSysctl(own, rpLoose)
		}
	}
	return nil
}

func snapshot(dir, leaf string) map[string]string {
	values := make(map[string]string)
	entries, err := os.ReadDir(path.Join(sysctlRoot, dir))
	if err != nil {
		return values
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name(), leaf)
		if v, err := Sysctl(name); err == nil {
			values[name] = v
		}
	}
	return values
}

// restore puts old values back, the last change first. A setting that is no more
// what we made it was changed by someone else, who shall have it so; one whose
// interface is gone needs nothing.
func restore(changes []sysctlUndo) error {
	var failures []error
	for _, u := range slices.Backward(changes) {
		now, err := Sysctl(u.Name)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && now != u.New) {
			continue
		}
		if err == nil {
			err = SetSysctl(u.Name, u.Old)
		}
		if err != nil {
			failures = append(failures, err)
			continue
		}
		failures = append(failures, restoreAside(u.Aside)...)
	}
	return errors.Join(failures...)
}

func restoreAside(aside map[string]string) (failures []error) {
	for name, old := range aside {
		now, err := Sysctl(name)
		if err != nil || now == old {
			continue
		}
		if err := SetSysctl(name, old); err != nil {
			failures = append(failures, err)
		}
	}
	return failures
}
