package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// resolvedUser is the one that systemd-resolved looks for.
const resolvedUser = "systemd-resolve:x:996:996::/:/usr/sbin/nologin\n"

// Resolved is a systemd-resolved on a host, with a message bus of its own.
type Resolved struct {
	host  *Host
	tree  string
	procs []*Proc
}

// Resolved starts systemd-resolved as it is unpacked in tree (its package would
// take the machine's resolv.conf), with a drop-in of these lines, and has the
// host's programs ask it.
func (h *Host) Resolved(tree string, lines ...string) *Resolved {
	h.Lab.TB.Helper()
	tree, err := filepath.Abs(tree)
	if err == nil {
		_, err = os.Stat(filepath.Join(tree, "lib/systemd/systemd-resolved"))
	}
	if err != nil {
		h.Lab.TB.Fatalf("systemd-resolved is not unpacked (scripts/setup test): %v", err)
	}
	r := &Resolved{host: h, tree: tree}
	h.append("/etc/passwd", resolvedUser)
	h.append("/etc/group", "systemd-resolve:x:996:\n")
	for _, dir := range []string{"/etc/systemd", "/usr/share/dbus-1/system.d"} {
		h.Run("mkdir", "-p", dir)
		h.Run("mount", "-t", "tmpfs", "none", dir)
	}
	h.Run("mkdir", "-p", "/etc/systemd/resolved.conf.d", "/run/dbus", "/run/systemd/resolve")
	h.Run("chown", "996:996", "/run/systemd/resolve")
	h.write("/etc/systemd/resolved.conf.d/re6st.conf", strings.Join(lines, "\n")+"\n")
	policy := "org.freedesktop.resolve1.conf"
	h.Run("cp", filepath.Join(tree, "usr/share/dbus-1/system.d", policy), "/usr/share/dbus-1/system.d/"+policy)
	r.start("dbus", "dbus-daemon", "--system", "--nofork", "--nopidfile")
	r.start("resolved", filepath.Join(tree, "lib/systemd/systemd-resolved"))
	h.ResolvConf("nameserver 127.0.0.53", "options edns0 trust-ad")
	return r
}

func (r *Resolved) start(name string, args ...string) {
	r.procs = append(r.procs, r.host.Start(name, append([]string{"env", "LD_LIBRARY_PATH=" + r.libraries()}, args...)...))
}

// libraries are where Debian puts those of systemd.
func (r *Resolved) libraries() string {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	return filepath.Join(r.tree, "usr/lib", triplet, "systemd")
}

// Control runs resolvectl.
func (r *Resolved) Control(args ...string) (string, error) {
	command := []string{"env", "LD_LIBRARY_PATH=" + r.libraries(), filepath.Join(r.tree, "usr/bin/resolvectl")}
	return r.host.Try(append(command, args...)...)
}

// Stop ends it and removes what it left in /run.
func (r *Resolved) Stop() {
	r.host.Lab.TB.Helper()
	for _, p := range r.procs {
		p.Kill()
	}
	r.host.Run("rm", "-rf", "/run/dbus", "/run/systemd")
}

// append gives the host a file of its own, which ends with the text.
func (h *Host) append(path, text string) {
	h.Lab.TB.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		h.Lab.TB.Fatalf("host %s: %v", h.Name, err)
	}
	h.bind(path, string(b)+text)
}

// write puts a file where only the host sees it.
func (h *Host) write(path, text string) {
	h.Lab.TB.Helper()
	if _, err := h.TryInput(text, "tee", path); err != nil {
		h.Lab.TB.Fatalf("%v", fmt.Errorf("writing %s: %w", path, err))
	}
}
