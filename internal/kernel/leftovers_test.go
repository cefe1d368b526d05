package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// hangFile makes this program the child of TestLeftoversAfterKill: it installs,
// with its undo file there, and waits for its death.
const hangFile = "RE6ST_TEST_HANG"

func TestMain(m *testing.M) {
	if file := os.Getenv(hangFile); file != "" {
		fmt.Println(hang(file))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// dropRoot lets it do so without root. It has to be root to be started: the
// program may lie where others cannot read.
const (
	dropRoot = "RE6ST_TEST_DROP_ROOT"
	nobody   = 65534
)

func hang(file string) error {
	if os.Getenv(dropRoot) != "" {
		if err := syscall.Setuid(nobody); err != nil {
			return err
		}
	}
	h, err := Open()
	if err != nil {
		return err
	}
	if _, err := h.Install(testPlan(), file); err != nil {
		return err
	}
	dev, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	mesh := Route{Dst: prefix("2001:db8:42:8::/64"), Gateway: addr("fe80::1"), Ifindex: dev.Index, Table: testTable}
	if err := h.Apply([]RouteChange{{Route: mesh}})[0]; err != nil {
		return err
	}
	fmt.Println("installed")
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

func TestLeftoversAfterKill(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	veth(t, h, "eth0")
	before := census(t)
	file := filepath.Join(t.TempDir(), "undo.json")
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), hangFile+"="+file)
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_, err := child.StdinPipe() // never written to
	must(t, err)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	said := bufio.NewScanner(out)
	for said.Scan() && said.Text() != "installed" {
		t.Log(said.Text())
	}
	if err := h.Cleanup(testPlan(), file); !errors.Is(err, ErrClaimed) {
		t.Errorf("Cleanup while it lives: %v, want ErrClaimed", err)
	}
	must(t, child.Process.Kill())
	_ = child.Wait()
	if got := ip(t, "-6 route show table 326"); !strings.Contains(got, "2001:db8:42:8::/64") {
		t.Fatalf("the child left nothing to remove:\n%s", got)
	}
	// Links of this instance, and what only looks like it.
	ip(t, "tuntap add re6st-00000001 mode tun")
	must(t, exec.Command("ip", "link", "set", "re6st-00000001", "alias", Alias("0badcafe", "paris")).Run())
	ip(t, "tuntap add re6st-00000002 mode tun")
	must(t, exec.Command("ip", "link", "set", "re6st-00000002", "alias", Alias("0badcafeff", "other")).Run())
	must(t, h.Cleanup(testPlan(), file))
	if _, err := h.LinkByName("re6st-00000002"); err != nil {
		t.Errorf("another instance's link: %v", err)
	}
	if _, err := h.LinkByName("re6st-00000001"); err == nil {
		t.Error("our link is still there")
	}
	ip(t, "link del re6st-00000002")
	if diff := cmp.Diff(before, census(t)); diff != "" {
		t.Errorf("after Cleanup (-before +after):\n%s", diff)
	}
	must(t, h.Cleanup(testPlan(), file)) // nothing left: nothing to do
}

func TestInstallWithoutRoot(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	before := census(t)
	dir, err := os.MkdirTemp("/run", "") // t.TempDir is below a directory of root's
	must(t, err)
	must(t, os.Chown(dir, nobody, nobody))
	child := exec.Command("/proc/self/exe")
	child.Dir = dir // what is above may be closed to him
	child.Env = append(os.Environ(), hangFile+"=undo.json", dropRoot+"=1")
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "needs root") {
		t.Errorf("without root: %v, %s", err, out)
	}
	if diff := cmp.Diff(before, census(t)); diff != "" {
		t.Errorf("afterwards (-before +after):\n%s", diff)
	}
}

// As in a container that was not started with the settings.
func TestInstallWithReadOnlySysctls(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	must(t, unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""))
	must(t, unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	before := census(t)
	_, err := h.Install(testPlan(), filepath.Join(t.TempDir(), "undo.json"))
	if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), forwarding6) || !strings.Contains(err.Error(), "in a container") {
		t.Errorf("error %v, want what to set and where", err)
	}
	if diff := cmp.Diff(before, census(t)); diff != "" {
		t.Errorf("afterwards (-before +after):\n%s", diff)
	}
}

// Without the undo file the table and the rules are still known by their mark.
func TestLeftoversWithoutUndoFile(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	i, file := install(t, h, testPlan())
	must(t, os.Remove(file))
	i.claim.release()
	other := open(t)
	must(t, other.Cleanup(testPlan(), file))
	if got := ip(t, "-6 rule"); strings.Contains(got, "326") {
		t.Errorf("rules:\n%s", got)
	}
	if got, _ := tryIP("-6 route show table 326"); got != "" && !strings.Contains(got, "not exist") {
		t.Errorf("routes:\n%s", got)
	}
}

func TestUndoFileOfAnotherVersion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "undo.json")
	for _, c := range []struct{ text, want string }{
		{`{"version": 2}`, "version 2, want 1"},
		{`{"version"`, "unexpected end"},
	} {
		must(t, os.WriteFile(file, []byte(c.text), 0o600))
		if _, _, err := readUndo(file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("undo file %s: error %v, want %q", c.text, err, c.want)
		}
	}
}
