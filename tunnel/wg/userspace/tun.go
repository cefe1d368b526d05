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

// createTUN makes the interface and its device.
func createTUN(name string, mtu int) (*tunDevice, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(&fs.PathError{Op: "open", Path: clonePath, Err: err})
	}
	t := &tunDevice{name: name, mtu: mtu, events: make(chan tun.Event)}
	if t.index, err = attach(fd, name, mtu); err == nil {
		t.joined.udp, err = setOffloads(fd)
	}
	if err == nil {
		t.descriptor, err = watch(fd, name)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return t, nil
}

// setOffloads says whether UDP is passed in rows too (Linux 6.2).
func setOffloads(fd int) (udp bool, err error) {
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp); err != nil {
		return false, fmt.Errorf("setting the offloads: %w", err)
	}
	return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|unix.TUN_F_USO4|unix.TUN_F_USO6) == nil, nil
}

// attach makes the interface and gives its index. The virtio header lets the kernel
// hand over and take many packets as one.
func attach(fd int, name string, mtu int) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return 0, hinted(err)
	}
	return setMTU(name, mtu)
}

func setMTU(name string, mtu int) (index int, err error) {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	request.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(s, unix.SIOCSIFMTU, request); err != nil {
		return 0, fmt.Errorf("setting the MTU to %d: %w", mtu, err)
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, request); err != nil {
		return 0, fmt.Errorf("asking for the interface's index: %w", err)
	}
	return int(request.Uint32()), nil
}

func hinted(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (this needs root, or CAP_NET_ADMIN)", err)
	}
	return err
}
