package oracle

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"re6st/internal/lab"
	"re6st/internal/lab/packets"
)

// port is one interface of the relay, seen from its other end.
type port interface {
	name() string
	// inject sends a packet into the relay. What the interface itself refuses is
	// no error: it does so each time.
	inject(p packets.Packet) error
	// drain gives what has come out since.
	drain() ([]outcome, error)
	close()
}

// outcome is one packet that came out.
type outcome struct {
	port string
	// frame is what surrounds the packet: what the vnet header or the Ethernet
	// header say.
	frame  string
	packet []byte
}

func (o outcome) String() string {
	return fmt.Sprintf("%s %s %s", o.port, o.frame, hex.EncodeToString(o.packet))
}

// vnet is struct virtio_net_hdr, in the machine's byte order.
const vnetSize = 10

func putVnet(b []byte, o packets.Offload, is6 bool, start int) {
	if !o.Partial {
		return
	}
	b[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	if o.Segment > 0 {
		switch {
		case o.UDP:
			b[1] = unix.VIRTIO_NET_HDR_GSO_UDP_L4
		case is6:
			b[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6
		default:
			b[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
		}
		binary.NativeEndian.PutUint16(b[2:], uint16(start+o.Header))
		binary.NativeEndian.PutUint16(b[4:], o.Segment)
	}
	binary.NativeEndian.PutUint16(b[6:], uint16(start+o.Start))
	binary.NativeEndian.PutUint16(b[8:], uint16(o.Checksum))
}

// vnetText leaves out how much of the packet lies in one piece, and whether
// somebody has looked at its checksum.
func vnetText(b []byte) string {
	if b[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM == 0 && b[1] == 0 {
		return "whole"
	}
	return fmt.Sprintf("kind %d segment %d partial %t at %d+%d", b[1], binary.NativeEndian.Uint16(b[4:]),
		b[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0, binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint16(b[8:]))
}

const largest = 1 << 17

// tunPort is the file of a TUN interface: we are the WireGuard device.
type tunPort struct {
	iface  string
	fd     int
	buffer []byte
}

// openTUN makes an interface like those of tunnel/wg/userspace; without offloads,
// it gets all packets cut and finished.
func openTUN(name string, offloads bool) (*tunPort, error) {
	fd, err := unix.Open("/dev/net/tun", os.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a TUN: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil && offloads {
		const joined = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
		if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, joined|unix.TUN_F_USO4|unix.TUN_F_USO6) != nil {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, joined) // before Linux 6.2
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making a TUN: %w", err)
	}
	return &tunPort{iface: name, fd: fd, buffer: make([]byte, largest)}, nil
}

func (p *tunPort) name() string { return p.iface }
func (p *tunPort) close()       { unix.Close(p.fd) }

func (p *tunPort) inject(x packets.Packet) error {
	b := make([]byte, vnetSize, vnetSize+len(x.Bytes))
	putVnet(b, x.Offload, len(x.Bytes) > 0 && x.Bytes[0]>>4 == 6, 0)
	_, err := unix.Write(p.fd, append(b, x.Bytes...))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO) {
		return nil // no IP packet, or a vnet header that cannot be
	}
	return err
}

func (p *tunPort) drain() ([]outcome, error) {
	var all []outcome
	for {
		n, err := unix.Read(p.fd, p.buffer)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return all, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return all, fmt.Errorf("reading %s: %w", p.iface, err)
		case n < vnetSize:
			return all, fmt.Errorf("reading %s: %d bytes", p.iface, n)
		}
		all = append(all, outcome{p.iface, vnetText(p.buffer), append([]byte{}, p.buffer[vnetSize:n]...)})
	}
}

// lanPort is the far end of a veth, whose near end is an interface of the relay.
type lanPort struct {
	iface  string // of the relay
	fd     int
	buffer []byte
	// target is the relay's hardware address, or another for a frame that is not
	// for it.
	target, source [6]byte
}

const (
	etherSize = 14
	// macNear and macFar are the ends of a LAN; hosts on it are all the far one.
	macNear, macFar = "02:00:00:00:00:01", "02:00:00:00:00:02"
)

// openLAN makes the pair, its far end in a namespace where nobody answers.
func openLAN(name string, mtu int) (*lanPort, error) {
	p := &lanPort{
		iface: name, buffer: make([]byte, largest),
		target: [6]byte{2, 0, 0, 0, 0, 1}, source: [6]byte{2, 0, 0, 0, 0, 2},
	}
	tid, done := make(chan int), make(chan error)
	moved := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: its namespace goes with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			tid <- 0
			done <- fmt.Errorf("making a namespace: %w", err)
			return
		}
		tid <- unix.Gettid()
		if err := <-moved; err != nil {
			done <- err
			return
		}
		var err error
		p.fd, err = farEnd(mtu)
		done <- err
	}()
	if id := <-tid; id != 0 {
		moved <- lab.Batch(6, fmt.Sprintf("link add %s address %s mtu %d type veth peer name far address %s mtu %d netns %d",
			name, macNear, mtu, macFar, mtu, id))
	}
	if err := <-done; err != nil {
		return nil, err
	}
	return p, nil
}

// farEnd opens a socket for all that comes, and that adds nothing of its own.
func farEnd(mtu int) (int, error) {
	if err := lab.Batch(6, "link set far addrgenmode none mtu "+fmt.Sprint(mtu)+" up"); err != nil {
		return 0, err
	}
	index, err := interfaceIndex("far")
	if err != nil {
		return 0, err
	}
	all := int(htons(unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	if err != nil {
		return 0, fmt.Errorf("opening a packet socket: %w", err)
	}
	for _, set := range []func() error{
		func() error {
			return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index})
		},
		func() error { return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20) },
	} {
		if err := set(); err != nil {
			unix.Close(fd)
			return 0, fmt.Errorf("preparing a packet socket: %w", err)
		}
	}
	return fd, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// interfaceIndex is the calling thread's: package net might ask on another one.
func interfaceIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err != nil {
		return 0, fmt.Errorf("looking for %s: %w", name, err)
	}
	return int(request.Uint32()), nil
}

func (p *lanPort) name() string { return p.iface }
func (p *lanPort) close()       { unix.Close(p.fd) }

func (p *lanPort) inject(x packets.Packet) error {
	is6 := len(x.Bytes) > 0 && x.Bytes[0]>>4 == 6
	b := make([]byte, vnetSize+etherSize, vnetSize+etherSize+len(x.Bytes))
	putVnet(b, x.Offload, is6, etherSize)
	copy(b[vnetSize:], p.target[:])
	copy(b[vnetSize+6:], p.source[:])
	binary.BigEndian.PutUint16(b[vnetSize+12:], unix.ETH_P_IP)
	if is6 {
		binary.BigEndian.PutUint16(b[vnetSize+12:], unix.ETH_P_IPV6)
	}
	if x.What != "" && !x.Offload.Partial { // no sentinel
		b = oddFrame(b, x.Bytes)
	}
	_, err := unix.Write(p.fd, append(b, x.Bytes...))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOMEM) {
		return nil // longer than the MTU, a vnet header that cannot be, or nothing that can be cut
	}
	return err
}

// oddFrame makes every fourth frame one that is not simply for the relay, the
// same for the same packet.
func oddFrame(b, packet []byte) []byte {
	ether := b[vnetSize:]
	switch crc32.ChecksumIEEE(packet) % 32 {
	case 0:
		copy(ether, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	case 1:
		copy(ether, []byte{0x33, 0x33, 0, 0, 0, 1})
	case 2:
		ether[5] = 0x77 // somebody else
	case 3:
		binary.BigEndian.PutUint16(ether[12:], unix.ETH_P_IP^unix.ETH_P_IPV6^binary.BigEndian.Uint16(ether[12:]))
	case 4, 5, 6: // VLAN 0 is none
		tag := []byte{0x81, 0, 0, byte(crc32.ChecksumIEEE(packet) % 3)}
		b = append(b[:vnetSize+12], append(tag, ether[12:]...)...)
	case 7:
		binary.BigEndian.PutUint16(ether[12:], 0x88b5) // for experiments
	}
	return b
}

func (p *lanPort) drain() ([]outcome, error) {
	var all []outcome
	for {
		n, err := unix.Read(p.fd, p.buffer)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if lost := p.lost(); lost > 0 {
				return all, fmt.Errorf("the socket on %s lost %d packets", p.iface, lost)
			}
			return all, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return all, fmt.Errorf("reading %s: %w", p.iface, err)
		case n < vnetSize+etherSize:
			continue
		}
		ether := p.buffer[vnetSize : vnetSize+etherSize]
		all = append(all, outcome{p.iface, fmt.Sprintf("%x %s", ether, vnetText(p.buffer)), append([]byte{}, p.buffer[vnetSize+etherSize:n]...)})
	}
}

// lost is what the socket had no room for: nothing, or the comparison is void.
func (p *lanPort) lost() uint32 {
	stats, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return stats.Drops
}
