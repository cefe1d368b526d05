package main

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// system is a way to carry packets over a row of hosts, each of which can talk with
// its neighbours only:
//
//	h0 ─── h1 ─── h2 ─── h3
//
// To h1 it is direct, to h2 over one relay, to h3 over two.
type system struct {
	name    string
	hosts   []*lab.Host
	cables  []*lab.Link
	address []netip.Addr // of each host, in the overlay
	daemons []*lab.Proc  // one for each host; nil where the kernel does all
	loads   []*lab.Proc  // the programs that receive
}

// relays is how many it can have in a row.
func (s *system) relays() int { return len(s.hosts) - 2 }

// cableAddress is that of the left or right end of cable j in row k.
func cableAddress(k, j, end int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:%x:%x::%d", k+1, j+1, end+1))
}

// row makes hosts with cables between neighbours.
func row(l *lab.Lab, k int, name string, hosts int) *system {
	s := &system{name: name}
	for i := range hosts {
		h := l.Host(fmt.Sprintf("s%d-%d", k, i))
		s.hosts = append(s.hosts, h)
		for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
			h.Sysctl(path, "1")
		}
		if i == 0 {
			continue
		}
		cable := l.Connect(s.hosts[i-1], h, "right", "left")
		cable.A.Add(netip.PrefixFrom(cableAddress(k, i-1, 0), 64))
		cable.B.Add(netip.PrefixFrom(cableAddress(k, i-1, 1), 64))
		s.cables = append(s.cables, cable)
	}
	return s
}

// bare is the row without an overlay: the kernel forwards.
func bare(l *lab.Lab, k int) *system {
	s := row(l, k, "bare link", 4)
	for i, h := range s.hosts {
		s.address = append(s.address, netip.MustParseAddr(fmt.Sprintf("fd01:%x::%d", k+1, i+1)))
		h.IP(fmt.Sprintf("addr add %v/128 dev lo nodad", s.address[i]))
	}
	for i, h := range s.hosts {
		for j, to := range s.address {
			switch {
			case j < i:
				h.IP(fmt.Sprintf("route add %v via %v src %v", to, cableAddress(k, i-1, 0), s.address[i]))
			case j > i:
				h.IP(fmt.Sprintf("route add %v via %v src %v", to, cableAddress(k, i, 1), s.address[i]))
			}
		}
	}
	return s
}

// listen starts the receivers of the load.
func (s *system) listen(self string) {
	for _, h := range s.hosts {
		s.loads = append(s.loads, h.Start("load", "env", "GOMAXPROCS=2", self, "load", "serve"))
	}
}

// await waits until the first host reaches all others.
func (s *system) await(timeout time.Duration) error {
	for _, to := range s.address[1:] {
		_, err := lab.Await(timeout, func() error {
			for i, d := range s.daemons {
				if d.Exited() {
					return fmt.Errorf("the daemon of host %d has ended: %s", i, d.Output())
				}
			}
			_, err := s.hosts[0].Try("ping", "-n", "-c", "1", "-W", "1", to.String())
			return err
		})
		if err != nil {
			return fmt.Errorf("%s does not reach %v: %w", s.name, to, err)
		}
	}
	return nil
}

// plain switches what the underlay does for large packets off, or on again: the
// Internet does not pass packets of 64 KB.
func (s *system) plain(off bool) error {
	state := "on"
	if off {
		state = "off"
	}
	for i, h := range s.hosts {
		for _, end := range []struct {
			name string
			has  bool
		}{{"left", i > 0}, {"right", i < len(s.hosts)-1}} {
			if !end.has {
				continue
			}
			args := []string{"ethtool", "-K", end.name}
			for _, f := range offloads {
				args = append(args, f, state)
			}
			if _, err := h.Try(args...); err != nil {
				return fmt.Errorf("switching offloads %s: %w", state, err)
			}
		}
	}
	return nil
}

// offloads are the features of a veth that let large packets pass. (GRO is off on a
// veth unless someone switches it on, and then it is for frames that a program on the
// driver's hook sees.)
var offloads = []string{"tso", "gso", "tx-udp-segmentation"}

// installed says which of the programs of a competitor are missing.
func installed(programs ...string) error {
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s not installed", strings.Join(missing, ", "))
	}
	return nil
}

// memoryOf is what a process holds.
type memoryOf struct {
	RSSMB     float64 `json:"rss_mb"`
	Anonymous float64 `json:"rss_anonymous_mb"` // without the program's text
	Peak      float64 `json:"peak_mb"`
	Threads   int     `json:"threads"`
}

func readMemory(pid int) (m memoryOf, err error) {
	for _, f := range []struct {
		into *float64
		name string
	}{{&m.RSSMB, "VmRSS"}, {&m.Anonymous, "RssAnon"}, {&m.Peak, "VmHWM"}} {
		if *f.into, err = measure.Memory(pid, f.name); err != nil {
			return m, err
		}
	}
	m.Threads, err = measure.Threads(pid)
	return m, err
}
