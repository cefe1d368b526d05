package kernel

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Filters come and go by name, before and after a death, and what others have on
// the same interface stays.
func TestFilters(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	ip(t, "link add v0 type veth peer name v1")
	link, err := h.LinkByName("v0")
	must(t, err)
	fd := passing(t)
	ours, theirs := h.Filters("11111111"), h.Filters("22222222")

	attach := func(f Filters, ingress bool, name string) {
		t.Helper()
		must(t, f.Attach(link.Index, ingress, fd, name))
	}
	wantAttached := func(f Filters, ingress bool, name string, want bool) {
		t.Helper()
		if got, err := f.Attached(link.Index, ingress, name); err != nil || got != want {
			t.Errorf("%s %s: attached %t (%v), want %t", f.instance, name, got, err, want)
		}
	}
	wantQdisc := func(want bool) {
		t.Helper()
		if got := strings.Contains(tc(t, "qdisc show dev v0"), "clsact"); got != want {
			t.Errorf("clsact there: %t, want %t", got, want)
		}
	}

	wantAttached(ours, true, "x ingress", false)
	attach(ours, true, "x ingress")
	attach(ours, false, "x egress")
	wantAttached(ours, true, "x ingress", true)
	wantAttached(ours, false, "x ingress", false)
	wantAttached(theirs, true, "x ingress", false)
	must(t, ours.Detach(link.Index, true, "x ingress"))
	must(t, ours.Detach(link.Index, true, "x ingress")) // gone already
	wantAttached(ours, false, "x egress", true)
	wantQdisc(true)
	must(t, ours.Detach(link.Index, false, "x egress"))
	wantQdisc(false)

	// Two instances share the qdisc that the first made; the last one takes it away.
	attach(ours, true, "x ingress")
	attach(theirs, true, "x ingress")
	must(t, h.Cleanup(Plan{Table: 326, RulePriority: 26000, InstanceID: "11111111"}, ""))
	wantAttached(ours, true, "x ingress", false)
	wantAttached(theirs, true, "x ingress", true)
	wantQdisc(true)
	must(t, theirs.Detach(link.Index, true, "x ingress"))
	wantQdisc(false)

	// An operator's own qdisc stays.
	tc(t, "qdisc replace dev v0 clsact")
	attach(ours, false, "x egress")
	removed, err := h.RemoveFilters("11111111")
	if err != nil || len(removed) != 1 || removed[0] != "re6st 11111111 x egress" {
		t.Errorf("removed %q (%v)", removed, err)
	}
	wantQdisc(true)

	// The interface goes, and everything with it.
	attach(ours, false, "x egress")
	ip(t, "link del v0")
	wantAttached(ours, false, "x egress", false)
	must(t, ours.Detach(link.Index, false, "x egress"))
	if err := ours.Attach(link.Index, true, fd, "x ingress"); err == nil {
		t.Error("attached to an interface that is gone")
	}
}

func tc(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("tc", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("tc %s: %v: %s", args, err, out)
	}
	return string(out)
}

// passing loads the program "return -1".
func passing(t *testing.T) int {
	t.Helper()
	const progLoad, schedCLS = 5, 3
	code := []uint64{0xffffffff_0000_00b7, 0x95} // r0 = -1; exit
	license := []byte("Apache-2.0\x00")
	attr := struct {
		kind, count      uint32
		code, license    uint64
		logLevel, logLen uint32
		log              uint64
		version, flags   uint32
	}{kind: schedCLS, count: 2, code: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, progLoad, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if errno != 0 {
		t.Fatalf("loading a program: %v", errno)
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	return int(fd)
}
