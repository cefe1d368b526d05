package lab

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Conn makes a connection from the host that this process can use: for tests
// that speak a protocol themselves. The network is tcp or udp.
func (h *Host) Conn(network string, to netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	var c net.Conn
	var err error
	// A literal address is dialled on the calling thread.
	joining := h.ns.do(func() { c, err = net.DialTimeout(network, to.String(), timeout) })
	if joining != nil {
		return nil, joining
	}
	return c, err
}

// UnixArgs are those of Unix.
type UnixArgs struct {
	Path string
	UID  int
}

// Unix connects to a UNIX socket as some user.
func (a *Agent) Unix(args UnixArgs, _ *struct{}) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: it stays that user
		result <- connectAs(args)
	}()
	return <-result
}

// connectAs uses raw system calls, which change this thread alone.
func connectAs(args UnixArgs) error {
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return fmt.Errorf("leaving the groups: %w", e)
	}
	id := uintptr(args.UID)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, id, id, id); e != 0 {
		return fmt.Errorf("becoming group %d: %w", args.UID, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id); e != 0 {
		return fmt.Errorf("becoming user %d: %w", args.UID, e)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: args.Path}); err != nil {
		return fmt.Errorf("connecting to %q as user %d: %w", args.Path, args.UID, err)
	}
	return nil
}

// ConnectUnix says whether a user of the host can connect to a UNIX socket.
func (h *Host) ConnectUnix(path string, uid int) error {
	return h.call("Unix", UnixArgs{path, uid}, &struct{}{})
}

// ScanArgs are those of Scan.
type ScanArgs struct{ To netip.Addr }

// scannersMax bounds connections that are being tried at once.
const scannersMax = 64

// Scan tries all TCP ports of an address.
func (a *Agent) Scan(args ScanArgs, open *[]uint16) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	ports := make(chan uint16)
	for range scannersMax {
		wg.Go(func() {
			for port := range ports {
				c, err := net.DialTimeout("tcp", netip.AddrPortFrom(args.To, port).String(), time.Second)
				if err != nil {
					continue
				}
				c.Close()
				mu.Lock()
				*open = append(*open, port)
				mu.Unlock()
			}
		})
	}
	for port := 1; port <= 65535; port++ {
		ports <- uint16(port)
	}
	close(ports)
	wg.Wait()
	slices.Sort(*open)
	return nil
}

// Scan returns the TCP ports of an address that are open to the host.
func (h *Host) Scan(to netip.Addr) []uint16 {
	h.Lab.TB.Helper()
	var open []uint16
	if err := h.call("Scan", ScanArgs{to}, &open); err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
	return open
}
