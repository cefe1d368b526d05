package ebpf

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"

	"re6st/internal/fib"
)

// BenchmarkLookups compares ways to look up in the same program: by a hash for each
// length of prefix, which is ours, by a trie, and by the kernel's own lookup. "uncounted"
// is ours without what counting costs. Run with -benchtime=1x.
func BenchmarkLookups(b *testing.B) {
	const turns, count = 10, 256
	loads := []load{{name: "tun-64", size: 64}, {name: "tun-1400", size: 1400}}
	for _, routes := range []int{10, 10000} {
		asForwarder(b, routes, func(f *forwarder) {
			names := []string{"stack", "hash", "hash-uncounted", "trie", "bpf_fib_lookup"}
			variants := map[string]*Shortcut{
				"hash":           f.variant(loadShortcut, routes, true, putHash),
				"hash-uncounted": f.variant(loadShortcut, routes, false, putHash),
				"trie":           f.variant(loadVariantTrie, routes, true, putTrie),
				"bpf_fib_lookup": f.variant(loadVariantKernel, routes, true, putKernel),
			}
			must(b, f.shortcut.Close())
			f.shortcut = nil
			best := map[string]float64{}
			for turn := range turns {
				for _, name := range names {
					v := variants[name]
					if v != nil {
						must(b, v.Attach(Port{Index: f.index["tun0"], Kind: fib.Raw}))
						if name != "hash-uncounted" {
							must(b, v.Attach(Port{Index: f.index["tun1"], Kind: fib.Raw}))
						}
						must(b, v.SetOn(true))
					}
					for _, l := range loads {
						ns := f.send(l, l.packets(f, routes, count), 12)
						if key := name + l.name; turn == 1 || turn > 1 && ns < best[key] {
							best[key] = ns
						}
					}
					if v != nil {
						must(b, v.Detach(f.index["tun0"]))
						must(b, v.Detach(f.index["tun1"]))
					}
				}
			}
			for _, v := range variants {
				must(b, v.Close())
			}
			for _, l := range loads {
				for _, name := range names {
					b.Run(fmt.Sprintf("%d-routes/%s/%s", routes, l.name, name), func(b *testing.B) {
						b.ReportMetric(0, "ns/op")
						b.ReportMetric(best[name+l.name], "ns/packet")
						b.ReportMetric(best[name+l.name]/best["stack"+l.name], "times-stack")
					})
				}
			}
		})
	}
}

// variant loads a program and fills its map.
func (f *forwarder) variant(load func() (*ebpf.CollectionSpec, error), routes int, counted bool, put func(*Shortcut, place, shortcutRoute) error) *Shortcut {
	f.Helper()
	spec, err := load()
	must(f, err)
	for _, p := range spec.Programs {
		p.License = "GPL" // which bpf_fib_lookup asks for
	}
	s := &Shortcut{ports: map[int]*port{}}
	must(f, spec.LoadAndAssign(&s.objects, nil))
	s.slots = newSlots(s.objects.Counters)
	s.routes = newRoutes(newPrefixes(&s.objects, s.slots), s.resolve)
	route := shortcutRoute{Interface: uint32(f.index["tun1"]), Mtu: 1420, Counter: noSlot}
	for i := range routes {
		if counted {
			route.Counter = uint32(i + 10)
		}
		to, err := benchAddress(i).Prefix(64)
		must(f, err)
		must(f, put(s, place{listDestinations, tableDestinations, to}, route))
	}
	// What a node has besides: its network, unreachable, and a way out.
	for _, p := range []string{testNetwork.String(), "::/0"} {
		must(f, put(s, place{listDestinations, tableDestinations, prefix(p)}, shortcutRoute{Counter: noSlot}))
	}
	return s
}

func putHash(s *Shortcut, p place, r shortcutRoute) error {
	if err := s.routes.prefixes.knowLength(p); err != nil {
		return err
	}
	return s.objects.Routes.Put(p.key(), r)
}

func putTrie(s *Shortcut, p place, r shortcutRoute) error {
	k := p.key()
	return s.objects.Routes.Put(variantTrieTrieKey{Len: 32 + k.Len, Address: k.Address}, r)
}

func putKernel(s *Shortcut, _ place, r shortcutRoute) error {
	if r.Interface == 0 {
		return nil
	}
	return s.objects.Routes.Put(r.Interface, r)
}
