package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Census is what was found on some hosts: host to kind to lines.
type Census map[string]map[string][]string

// Census lists links, addresses, routes, rules, nftables, programs on packets, sysctls, sockets,
// files in /run and processes of the hosts.
func (l *Lab) Census(hosts ...*Host) Census {
	l.TB.Helper()
	c := Census{}
	for _, h := range hosts {
		var reply CensusReply
		if err := h.call("Census", struct{}{}, &reply); err != nil {
			l.TB.Fatalf("%v", err)
		}
		c[h.Name] = reply.Lines
	}
	return c
}

// Listings is a census of the host's addresses, rules and routes alone, which takes
// a tenth of the time.
func (h *Host) Listings() Census {
	h.Lab.TB.Helper()
	var reply CensusReply
	if err := h.call("Listings", []string{"address", "rule 4", "rule 6", "route 4", "route 6"}, &reply); err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
	return Census{h.Name: reply.Lines}
}

// Diff returns one line for each thing that is in only one of both.
func (c Census) Diff(after Census) []string {
	var diff []string
	for host, kinds := range c {
		for kind, before := range kinds {
			now := after[host][kind]
			for _, line := range without(before, now) {
				diff = append(diff, fmt.Sprintf("%s: %s gone: %s", host, kind, line))
			}
			for _, line := range without(now, before) {
				diff = append(diff, fmt.Sprintf("%s: %s left: %s", host, kind, line))
			}
		}
	}
	slices.Sort(diff)
	return diff
}

// without returns the lines of a that are not in b, each as often as it is too
// many.
func without(a, b []string) []string {
	count := map[string]int{}
	for _, line := range b {
		count[line]++
	}
	var rest []string
	for _, line := range a {
		if count[line]--; count[line] < 0 {
			rest = append(rest, line)
		}
	}
	return rest
}

// dying is how long what is on its way out may take: a killed process is a
// process until it has given back its memory.
const dying = 3 * time.Second

// WantClean fails the test if anything differs from before, and goes on to.
func (l *Lab) WantClean(before Census, hosts ...*Host) {
	l.TB.Helper()
	var diff []string
	took, err := Await(Slow(dying), func() error {
		if diff = before.Diff(l.Census(hosts...)); len(diff) > 0 {
			return errors.New("something is left")
		}
		return nil
	})
	if err != nil {
		l.TB.Errorf("leak census: %d differences\n%s", len(diff), strings.Join(diff, "\n"))
	} else if took > Slow(dying)/2 {
		l.TB.Logf("clean after %v", took)
	}
}
