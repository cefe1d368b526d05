package ebpf

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// On a link without a header (PPP, WireGuard, TUN) packets begin with IPv6.
func TestLinkWithoutHeader(t *testing.T) {
	needsKernel(t)
	done := make(chan error)
	go func() {
		// The thread is not given back: it dies with its namespace.
		runtime.LockOSThread()
		done <- onTUN()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func onTUN() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a namespace: %w", err)
	}
	tun, err := openTUN("npt0")
	if err != nil {
		return err
	}
	defer unix.Close(tun)
	in, far := addr("fd00:1:0:9::1"), addr("2400::1")
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", in.String() + "/128", "dev", "lo", "nodad"},
		{"link", "set", "npt0", "up"},
		{"route", "add", "::/0", "dev", "npt0", "src", in.String()},
	} {
		// A child has the namespace of the thread that starts it.
		if out, err := exec.Command("ip", append([]string{"-6"}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	pairs := reference{{prefix("fd00:1::/48"), prefix("2001:db8:1::/48")}}
	if !haveTCX() {
		return nil // on kernels without tcx TestTraffic shows what clsact does
	}
	tr, err := NewTranslator(TranslatorConfig{Uplink: "npt0", Pairs: pairs})
	if err != nil {
		return err
	}
	defer tr.Close()
	conn, err := net.ListenUDP("udp6", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.WriteToUDPAddrPort([]byte("out"), netip.AddrPortFrom(far, 7)); err != nil {
		return err
	}
	sent, err := readFrom(tun, far)
	if err != nil {
		return err
	}
	public, _ := pairs.address(in, true)
	src := netip.AddrFrom16([16]byte(sent[8:24]))
	if src != public || checksum(src, far, protoUDP, sent[40:]) != 0xffff {
		return fmt.Errorf("went out as %x, want source %v and a right checksum", sent, public)
	}
	answer := udp(4)
	copy(answer, []byte{0, 7, sent[40], sent[41]}) // ports
	copy(answer[8:], "back")
	if _, err := unix.Write(tun, packet(far, public, protoUDP, checked(far, public, protoUDP, answer))); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	b := make([]byte, 100)
	n, from, err := conn.ReadFromUDPAddrPort(b)
	if err != nil || from.Addr() != far || !bytes.Equal(b[:n], []byte("back")) {
		return fmt.Errorf("came back: %q from %v: %w", b[:n], from, err)
	}
	return nil
}

func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("opening a TUN: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("making a TUN: %w", err)
	}
	return fd, nil
}

// readFrom takes packets, discovery and the like, until one goes to the address.
func readFrom(tun int, to netip.Addr) ([]byte, error) {
	b := make([]byte, 2000)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		poll := []unix.PollFd{{Fd: int32(tun), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 100); err != nil && !errors.Is(err, unix.EINTR) || n == 0 {
			continue
		}
		n, err := unix.Read(tun, b)
		if err != nil {
			return nil, err
		}
		if n >= 48 && netip.AddrFrom16([16]byte(b[24:40])) == to {
			return b[:n], nil
		}
	}
	return nil, fmt.Errorf("nothing went to %v", to)
}
