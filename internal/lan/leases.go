package lan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"re6st/internal/lan/lease"
)

// leasesVersion is that of the file.
const leasesVersion = 1

type leasesFile struct {
	Version int         `json:"version"`
	Leases  []leaseFile `json:"leases"`
}

type leaseFile struct {
	Machine []byte     `json:"machine"` // its key
	Address netip.Addr `json:"address"`
	Until   time.Time  `json:"until"`
}

func encodeLeases(leases []lease.Lease) ([]byte, error) {
	f := leasesFile{Version: leasesVersion, Leases: make([]leaseFile, 0, len(leases))}
	for _, l := range leases {
		f.Leases = append(f.Leases, leaseFile{[]byte(l.Key), l.Address, l.Until.UTC().Truncate(time.Second)})
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("writing leases: %w", err)
	}
	return append(b, '\n'), nil
}

// CheckLeases says whether the bytes of a Store can be read.
func CheckLeases(b []byte) error {
	_, err := decodeLeases(b)
	return err
}

func decodeLeases(b []byte) ([]lease.Lease, error) {
	var f leasesFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("reading leases: %w", err)
	}
	if f.Version != leasesVersion {
		return nil, fmt.Errorf("reading leases: version %d, want %d", f.Version, leasesVersion)
	}
	leases := make([]lease.Lease, 0, len(f.Leases))
	for _, l := range f.Leases {
		leases = append(leases, lease.Lease{Key: string(l.Machine), Address: l.Address, Until: l.Until})
	}
	return leases, nil
}
