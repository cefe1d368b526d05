package userspace

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const inside = "RE6ST_TEST_NAMESPACE"

// inNamespace runs the test again in a process with network and mount namespaces
// of its own, and gives true there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
		return true
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this needs root")
		}
		t.Skip("this needs root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in its namespace: %v\n%s", err, out)
	}
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) *Device {
	t.Helper()
	d, err := New(NewUnderlay(slog.New(slog.DiscardHandler)), "re6st-00000001", 1420, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func TestDeviceEndsWithItsClients(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := open(t)
	info, err := os.Stat(SocketPath("re6st-00000001"))
	must(t, err)
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the control socket has mode %v: it gives the private key to all", info.Mode())
	}
	// One who has connected and says nothing does not hold Close up.
	c, err := net.Dial("unix", SocketPath("re6st-00000001"))
	must(t, err)
	defer c.Close()
	must(t, d.Configure("fwmark=7\nlisten_port=7000\n"))
	must(t, d.Up())
	values, err := d.Read()
	must(t, err)
	if values["fwmark"] != "7" || values["listen_port"] != "7000" {
		t.Errorf("values %v", values)
	}
	must(t, d.Close())
	must(t, d.Close())
	<-d.Closed()
	if _, err := os.Stat(SocketPath("re6st-00000001")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the control socket after Close: %v", err)
	}
	if _, err := net.InterfaceByName("re6st-00000001"); err == nil {
		t.Error("the interface is still there")
	}
}

// A service that sets modes (systemd-tmpfiles) does not end the control socket,
// and one that a dead process left is replaced.
func TestControlSocket(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	must(t, os.MkdirAll(SocketDir, 0o755))
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: SocketPath("re6st-00000001"), Net: "unix"})
	must(t, err)
	left.SetUnlinkOnClose(false)
	must(t, left.Close())
	open(t)
	must(t, os.Chmod(SocketPath("re6st-00000001"), 0o660))
	for range 3 {
		out, err := exec.Command("wg", "show", "re6st-00000001").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "interface: re6st-00000001") {
			t.Fatalf("wg show: %v: %s", err, out)
		}
	}
	if l, err := listen("re6st-00000001"); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second listener: %v, %v", l, err)
	}
}

func TestDeviceRefused(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d := open(t)
	if err := d.Configure("no_such_key=1\n"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("unknown setting: %v, want EINVAL", err)
	}
	if _, err := New(NewUnderlay(slog.New(slog.DiscardHandler)), "re6st-00000001", 1420, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the same name twice")
	}
	if _, err := New(NewUnderlay(slog.New(slog.DiscardHandler)), "re6st-00000002", MaxMTU+1, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an MTU beyond the buffers")
	}
	if _, err := net.InterfaceByName("re6st-00000001"); err != nil {
		t.Errorf("the first one, after the second was refused: %v", err)
	}
	busy, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 7000})
	must(t, err)
	defer busy.Close()
	must(t, d.Configure("listen_port=7000\n"))
	if err := d.Up(); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a port in use: %v, want EADDRINUSE", err)
	}
}

func TestSupportedSaysWhatHelps(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	must(t, Supported())
	must(t, unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, ""))
	if err := Supported(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "modprobe tun") {
		t.Errorf("without the device: %v", err)
	}
	must(t, os.WriteFile("/dev/net/tun", nil, 0o600))
	if _, err := New(NewUnderlay(slog.New(slog.DiscardHandler)), "re6st-00000001", 1420, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file that is no TUN is taken")
	}
}
