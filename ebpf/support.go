package ebpf

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// ErrUnsupported: the kernel has not what our programs need, or keeps it from us.
var ErrUnsupported = errors.New("eBPF is not possible here")

// Supported says by its error why this kernel, or what it lets us do, does not
// suffice for our programs. Where nil, loading them may be expected to work.
func Supported() error {
	if err := prepare(); err != nil {
		return err
	}
	if err := features.HaveProgramType(ebpf.SchedCLS); err != nil {
		return refusal("trying a program", err)
	}
	return nil
}

// prepare lifts the limit on locked memory where the kernel accounts maps and
// programs by it: before Linux 5.11. It does nothing on later ones.
var prepare = sync.OnceValue(func() error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return refusal("lifting the limit on locked memory", err)
	}
	return nil
})

// refusal turns the kernel's answer into what an operator can act upon.
func refusal(doing string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %s: no permission (CAP_BPF and CAP_NET_ADMIN are needed; many containers withhold them): %w", ErrUnsupported, doing, err)
	case errors.Is(err, unix.ENOSYS) || errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w: %s: this kernel cannot (CONFIG_BPF_SYSCALL, and Linux 5.10 or later): %w", ErrUnsupported, doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// linkHeaderLen is what lies before the IPv6 header on an interface, where our
// programs see its packets.
func linkHeaderLen(name string) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("asking for the kind of %s: %w", name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, request)
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the kind of %s: %w", name, err)
	}
	switch kind := request.Uint16(); kind {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return 14, nil
	case unix.ARPHRD_NONE, unix.ARPHRD_PPP, unix.ARPHRD_RAWIP, unix.ARPHRD_SIT, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6:
		return 0, nil
	default:
		return 0, fmt.Errorf("interface %s is of link type %d: prefixes are translated on Ethernet and on links without a header only", name, kind)
	}
}
