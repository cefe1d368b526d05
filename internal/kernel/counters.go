package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Counters are those of one interface since it was made.
type Counters struct {
	RxPackets, TxPackets uint64
	RxBytes, TxBytes     uint64
}

// Of linux/if_link.h, which x/sys has not.
const (
	ifStatsMsgLen   = 12 // u8 family, u8 and u16 padding, u32 index, u32 filter
	iflaStatsLink64 = 1
	filterLink64    = 1 << (iflaStatsLink64 - 1)
	linkStats64Min  = 32 // the four counters that come first
)

// Counters reads those of all interfaces, by index, in one system call or two:
// cheap enough for every second.
func (h *Host) Counters() (map[int]Counters, error) {
	fixed := make([]byte, ifStatsMsgLen)
	native.PutUint32(fixed[8:], filterLink64)
	all := make(map[int]Counters)
	err := h.socket.dump(newMessage(unix.RTM_GETSTATS, 0, fixed...), func() { clear(all) }, func(kind uint16, body []byte) error {
		if kind != unix.RTM_NEWSTATS {
			return nil
		}
		index, c, err := parseCounters(body)
		if err == nil {
			all[index] = c
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the counters of interfaces: %w", err)
	}
	return all, nil
}

// parseCounters reads the body of RTM_NEWSTATS.
func parseCounters(b []byte) (index int, c Counters, err error) {
	if len(b) < ifStatsMsgLen {
		return 0, c, fmt.Errorf("%w: counters of %d bytes", errMessage, len(b))
	}
	index = int(int32(native.Uint32(b[4:])))
	err = eachAttr(b[ifStatsMsgLen:], func(kind uint16, v []byte) error {
		if kind != iflaStatsLink64 {
			return nil
		}
		if len(v) < linkStats64Min {
			return fmt.Errorf("%w: counters of %d bytes", errMessage, len(v))
		}
		c = Counters{RxPackets: native.Uint64(v), TxPackets: native.Uint64(v[8:]), RxBytes: native.Uint64(v[16:]), TxBytes: native.Uint64(v[24:])}
		return nil
	})
	return index, c, err
}
