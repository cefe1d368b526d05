package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The older iptables keeps its tables apart from nftables, and has no netlink: see
// linux/netfilter_ipv4/ip_tables.h, struct ipt_getinfo. IPv6 has the same.
const (
	getInfo       = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
	infoLen       = 84
	infoHooks     = 32 // of its octets: which hooks the table has
	infoEntries   = 76
	tableNamesMax = 16
)

// legacyTables names iptables' older tables that have rules. Only those are asked
// for that exist: to ask makes them.
func legacyTables() ([]string, error) {
	var names []string
	for _, f := range []struct {
		list, program string
		domain, level int
	}{
		{"/proc/self/net/ip_tables_names", "iptables-legacy", unix.AF_INET, unix.IPPROTO_IP},
		{"/proc/self/net/ip6_tables_names", "ip6tables-legacy", unix.AF_INET6, unix.IPPROTO_IPV6},
	} {
		text, err := os.ReadFile(f.list)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for tables of %s: %w", f.program, err)
		}
		tables := strings.Fields(string(text))
		if len(tables) == 0 {
			continue
		}
		for _, table := range tables[:min(len(tables), tableNamesMax)] {
			has, err := hasRules(f.domain, f.level, table)
			if err != nil {
				return nil, fmt.Errorf("asking for table %s of %s: %w", table, f.program, err)
			}
			if has {
				names = append(names, fmt.Sprintf("%s, table %s", f.program, table))
			}
		}
	}
	return names, nil
}

// hasRules says whether a table is more than an empty one: an entry for the policy
// of each hook and one at the end.
func hasRules(domain, level int, table string) (bool, error) {
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	var info [infoLen]byte
	copy(info[:infoHooks-1], table)
	size := uint32(len(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == unix.ENOENT || errno == unix.ENOPROTOOPT {
		return false, nil // gone since
	}
	if errno != 0 {
		return false, errno
	}
	return entriesSay(info[:size], table)
}

func entriesSay(info []byte, table string) (hasRules bool, err error) {
	if len(info) != infoLen || !bytes.HasPrefix(info, []byte(table)) {
		return false, fmt.Errorf("%d octets of information: not understood", len(info))
	}
	hooks := binary.NativeEndian.Uint32(info[infoHooks:])
	return binary.NativeEndian.Uint32(info[infoEntries:]) > uint32(bits.OnesCount32(hooks))+1, nil
}
