package babel

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// spread says the median and the maximum of what was measured.
func spread(all []time.Duration) string {
	return fmt.Sprintf("median %v, maximum %v of %d", median(all), slices.Max(all), len(all))
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// originAddr is the link-local address of a neighbour.
func originAddr(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fe80::1:%x", i))
}
