package lab

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hooks lists what runs on packets of the host's interfaces: qdiscs for filters,
// the filters, and eBPF programs on tcx. Other qdiscs are not somebody's
// leavings: the kernel gives each interface one.
func hooks() ([]string, error) {
	out, err := run1("tc", "qdisc", "show")
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != "clsact" && f[1] != "ingress" {
			continue
		}
		name := f[4]
		lines = append(lines, f[1]+" qdisc on "+name)
		for _, hook := range []string{"ingress", "egress"} {
			filters, err := run1("tc", "filter", "show", "dev", name, hook)
			if err != nil {
				continue // an ingress qdisc has no egress; the interface may be gone
			}
			for filter := range strings.Lines(filters) {
				lines = append(lines, name+" "+hook+" "+strings.TrimSpace(filter))
			}
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		for hook, kind := range map[string]uint32{"ingress": tcxIngress, "egress": tcxEgress} {
			if n := tcxPrograms(l.Index, kind); n > 0 {
				lines = append(lines, fmt.Sprintf("%s %s %d programs on tcx", l.Name, hook, n))
			}
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// Of <linux/bpf.h>.
const (
	bpfProgQuery = 16
	tcxIngress   = 46
	tcxEgress    = 47
)

// tcxPrograms asks how many there are. A kernel without tcx refuses, and has none.
func tcxPrograms(index int, kind uint32) int {
	const most = 64
	var ids [most]uint32
	query := struct {
		target, kind, queryFlags, attachFlags uint32
		ids                                   uint64
		count, pad                            uint32
		idFlags, linkIDs, linkFlags, revision uint64
	}{target: uint32(index), kind: kind, ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: most}
	_, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgQuery, uintptr(unsafe.Pointer(&query)), unsafe.Sizeof(query))
	runtime.KeepAlive(&ids)
	if errno != 0 {
		return 0
	}
	return int(query.count)
}
