package speaker

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"re6st/babel"
	"re6st/babel/mac"
	"re6st/internal/lab/solo"
)

const secret = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// others are routers of others that check MACs, as commands that run in the
// namespace of the machine.
var others = []struct {
	name, key string
	isFast    bool // learning each other is all
	run       func(m *machine, dir string, key mac.Key) *exec.Cmd
}{
	{"babeld", "hmac-sha256:" + secret, false, (*machine).babeldWithKey},
	{"babeld", "blake2s128:" + secret[:32], true, (*machine).babeldWithKey},
	{"bird", "hmac-sha256:" + secret, true, (*machine).birdWithKey},
	{"bird", "blake2s128:" + secret[:32], false, (*machine).birdWithKey},
}

func (m *machine) babeldWithKey(dir string, key mac.Key) *exec.Cmd {
	return exec.Command("ip", "netns", "exec", m.name, "babeld",
		"-S", filepath.Join(dir, "state"), "-I", filepath.Join(dir, "pid"),
		"-C", "redistribute local ip "+m.address()+"/128 deny",
		"-C", "redistribute ip "+m.prefix.String()+" allow",
		"-C", "default hello-interval 0.3", "-C", "default type wired",
		"-C", fmt.Sprintf("key id k type %v value %x", key.Algorithm, key.Secret),
		"-C", "interface to-h1 key k", "to-h1")
}

func (m *machine) birdWithKey(dir string, key mac.Key) *exec.Cmd {
	algorithm := map[mac.Algorithm]string{mac.HMACSHA256: "hmac sha256", mac.BLAKE2s128: "blake2s128"}[key.Algorithm]
	config := fmt.Sprintf(`
router id 192.0.2.%d;
protocol device {}
protocol kernel { ipv6 { export all; import none; }; }
protocol static { ipv6; route %v unreachable; }
protocol babel {
	ipv6 { import all; export all; };
	interface "to-h1" { type wired; hello interval 300 ms; authentication mac; password %x { algorithm %s; }; };
}
`, m.number, m.prefix, key.Secret, algorithm)
	path := filepath.Join(dir, "bird.conf")
	must(m.T, os.WriteFile(path, []byte(config), 0o600))
	return exec.Command("ip", "netns", "exec", m.name, "bird", "-f", "-c", path, "-s", filepath.Join(dir, "ctl"))
}

// launch runs one of others until the function it returns is called.
func launch(m *machine, cmd *exec.Cmd) (kill func()) {
	m.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	must(m.T, cmd.Start())
	isDead := false
	kill = func() {
		if !isDead {
			isDead = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // by our signal
		}
	}
	m.Cleanup(func() {
		kill()
		if m.Failed() {
			m.Logf("%s:\n%s", m.name, log.String())
		}
	})
	return kill
}

// Packets of others are right for us, and ours for them: their indices have 8 or
// 32 octets, their nonces 8 or 10. After a restart of either end they find each
// other again, and a new key on our side alone hurts nobody.
func TestC114_MACWithOthers(t *testing.T) {
	for _, name := range []string{"babeld", "bird"} {
		if _, err := exec.LookPath(name); err != nil {
			solo.SkipOrFail(t, "this needs "+name)
		}
	}
	if !inNamespace(t) {
		return
	}
	t.Cleanup(func() { goleak.VerifyNone(t) }) // last of the cleanups
	for i, other := range others {
		t.Run(fmt.Sprintf("%s %s %d", other.name, strings.SplitN(other.key, ":", 2)[0], len(other.key)), func(t *testing.T) {
			key, err := mac.ParseKey(other.key)
			must(t, err)
			us, them := newMachine(t, 1), newMachine(t, byte(i+2))
			t.Cleanup(func() { ip(t, "netns delete "+us.name) })
			ip(t, fmt.Sprintf("-n %s link add to-%s type veth peer name to-%s netns %s", us.name, them.name, us.name, them.name))
			for _, m := range [][2]*machine{{us, them}, {them, us}} {
				m[0].ip("link set to-" + m[1].name + " addrgenmode none")
				m[0].ip(fmt.Sprintf("address add fe80::%d/64 dev to-%s nodad", m[0].number, m[1].name))
				m[0].ip("link set to-" + m[1].name + " up")
			}
			// Of two addresses the kernel may take the other one.
			us.ip(fmt.Sprintf("address add fe80::ff:%d/64 dev to-%s nodad", us.number, them.name))
			them.ip("-6 route add unreachable " + them.prefix.String() + " dev lo")

			kill := launch(them, other.run(them, t.TempDir(), key))
			us.start()
			index := us.speakOn(them, babel.Wired)
			us.SetKeys(index, []mac.Key{key}, false)
			// babeld announces the address, BIRD the prefix.
			theirs := fmt.Sprintf("2001:db8:42:%d::", them.number)
			learnt := func() bool {
				return strings.Contains(us.routes(), theirs) && strings.Contains(them.ip("-6 route"), us.prefix.String()+" via")
			}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%+v\n%+v\n%s\n%s\n%s", us.Interfaces(), us.Neighbours(), us.ip("-6 route"), them.ip("-6 route"), them.ip("address"))
				}
			})
			t.Log("both have learnt after", await(t, "both learn", 10*time.Second, learnt))
			if other.isFast {
				us.end()
				return
			}

			second, err := mac.ParseKey("blake2s128:" + secret[2:34])
			must(t, err)
			us.SetKeys(index, []mac.Key{second, key}, false)
			before := us.Interfaces()[0].MAC
			await(t, "packets with two MACs", 20*time.Second, func() bool {
				return us.Interfaces()[0].MAC.Accepted > before.Accepted+8
			})
			if after := us.Interfaces()[0].MAC; !learnt() || after.Forged+after.Unproven != before.Forged+before.Unproven {
				t.Errorf("two keys: before %+v, after %+v", before, after)
			}

			kill()
			launch(them, other.run(them, t.TempDir(), key))
			accepted := us.Interfaces()[0].MAC.Accepted
			t.Log("it is back after", await(t, "it comes back", 30*time.Second, func() bool {
				return us.Interfaces()[0].MAC.Accepted > accepted+4 && learnt()
			}))

			us.end()
			us.start()
			index = us.speakOn(them, babel.Wired)
			us.SetKeys(index, []mac.Key{key}, false)
			us.SetIntervals(index, 300*time.Millisecond, 0)
			t.Log("we are back after", await(t, "we come back", 30*time.Second, learnt))

			us.SetKeys(index, []mac.Key{second}, false)
			await(t, "without the key it is no neighbour", 30*time.Second, func() bool {
				return !strings.Contains(us.routes(), theirs) && us.Interfaces()[0].MAC.Forged > 0
			})
			us.end()
		})
	}
}
