package network

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"re6st/addressing"
)

// Limits on a document. Nodes hold the newest one, and pass it on.
const (
	maxJWSBytes   = 64 << 10
	maxPrefixes   = 16
	maxRegistries = 16
	maxURLBytes   = 256
)

// Document is what the nodes of a network have to agree on.
type Document struct {
	Version    uint64         `json:"version"`        // only rises
	Prefixes   []netip.Prefix `json:"prefixes"`       // IPv6, at least one
	IPv4       []netip.Prefix `json:"ipv4,omitempty"` // for machines that speak only that
	Domain     string         `json:"domain"`         // of the nodes' names; may be empty
	Registries []string       `json:"registries"`     // URLs
	Parameters Parameters     `json:"parameters"`
	Issued     time.Time      `json:"issued"` // for people: no decision rests on it
}

// Newer reports whether a replaces b. The zero Document is older than any.
func Newer(a, b Document) bool { return a.Version > b.Version }

// Validate says what is wrong with a document. Sign and Verify call it.
func (d Document) Validate() error {
	if d.Version == 0 {
		return errors.New("version 0")
	}
	if len(d.Prefixes) == 0 {
		return errors.New("no prefix")
	}
	if err := checkPrefixes("prefixes", d.Prefixes, 128); err != nil {
		return err
	}
	if err := checkPrefixes("ipv4", d.IPv4, 32); err != nil {
		return err
	}
	if d.Domain != "" && !addressing.ValidDomain(d.Domain) {
		return fmt.Errorf("domain %.80q: not a domain name in lower case", d.Domain)
	}
	if len(d.Registries) > maxRegistries {
		return fmt.Errorf("%d registries, at most %d", len(d.Registries), maxRegistries)
	}
	for _, r := range d.Registries {
		if err := checkURL(r); err != nil {
			return fmt.Errorf("registry %.80q: %w", r, err)
		}
	}
	if err := d.Parameters.Validate(); err != nil {
		return err
	}
	return d.checkNAT64()
}

// checkPrefixes: those of one family, none of which is part of another.
func checkPrefixes(member string, prefixes []netip.Prefix, width int) error {
	if len(prefixes) > maxPrefixes {
		return fmt.Errorf("%s: %d, at most %d", member, len(prefixes), maxPrefixes)
	}
	for i, p := range prefixes {
		if err := addressing.CheckPrefix(p); err != nil {
			return fmt.Errorf("%s: %w", member, err)
		}
		if p.Addr().BitLen() != width {
			return fmt.Errorf("%s: %v is of the other family", member, p)
		}
		if p.Bits() == 0 {
			return fmt.Errorf("%s: %v is everything", member, p)
		}
		for _, other := range prefixes[:i] {
			if p.Overlaps(other) {
				return fmt.Errorf("%s: %v overlaps %v", member, p, other)
			}
		}
	}
	return nil
}

func checkURL(s string) error {
	if len(s) > maxURLBytes {
		return fmt.Errorf("longer than %d bytes", maxURLBytes)
	}
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("not a URL")
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("not of the form https://host:port")
	}
	return nil
}
