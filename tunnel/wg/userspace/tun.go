package userspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

const clonePath = "/dev/net/tun"

// Supported says why there can be no device here: nil, or an error that says what
// helps.
func Supported() error {
	f, err := os.OpenFile(clonePath, os.O_RDWR, 0)
	if err != nil {
		return openError(err)
	}
	defer f.Close()
	if _, err := unix.IoctlGetUint32(int(f.Fd()), unix.TUNGETFEATURES); err != nil {
		return fmt.Errorf("%s is not the TUN device: %w", clonePath, err)
	}
	return nil
}

func openError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w (load the module: modprobe tun; in a container, give it the device)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (this needs root, or CAP_NET_ADMIN and access to the device)", err)
	case errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w (the kernel has no TUN: modprobe tun)", err)
	}
	return err
}

// createTUN is tun.CreateTUN without its watchers: per device they cost a
// netlink socket and a write to the TUN each second, to learn of an interface
// going up, which is our own doing here.
func createTUN(name string, mtu int) (tun.Device, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(&fs.PathError{Op: "open", Path: clonePath, Err: err})
	}
	if err := attach(fd, name, mtu); err != nil {
		unix.Close(fd)
		return nil, err
	}
	device, _, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return device, nil
}

// attach makes the interface. The virtio header lets the kernel hand over and
// take many packets as one; the descriptor must not block before it gets to the
// runtime's poller.
func attach(fd int, name string, mtu int) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return hinted(err)
	}
	if err := setMTU(name, mtu); err != nil {
		return err
	}
	return unix.SetNonblock(fd, true)
}

// setMTU comes before the device, which reads the MTU once.
func setMTU(name string, mtu int) error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(s, unix.SIOCSIFMTU, request); err != nil {
		return fmt.Errorf("setting the MTU to %d: %w", mtu, err)
	}
	return nil
}

func hinted(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (this needs root, or CAP_NET_ADMIN)", err)
	}
	return err
}
