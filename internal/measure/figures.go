package measure

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// Median of the values, 0 of none.
func Median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// Ratios divides round by round, leaving out rounds of which either side is missing:
// what disturbs the machine for longer than a measurement disturbs both.
func Ratios(of, to []float64) []float64 {
	var out []float64
	for i := range min(len(of), len(to)) {
		if to[i] > 0 && of[i] > 0 {
			out = append(out, of[i]/to[i])
		}
	}
	return out
}

// Ratio of two figures, 0 if there is nothing to divide by.
func Ratio(of, to float64) float64 {
	if to == 0 {
		return 0
	}
	return of / to
}

// Spread is half the distance from the least to the greatest, relative to the median.
func Spread(of []float64) float64 {
	if len(of) < 2 {
		return 0
	}
	return Ratio((slices.Max(of)-slices.Min(of))/2, Median(of))
}

var (
	pingSummary = regexp.MustCompile(`= [0-9.]+/([0-9.]+)/`)
	pingReply   = regexp.MustCompile(`(?m)^\d+ bytes from .* time=([0-9.]+) ms`)
)

// PingMean is the mean round trip in µs that ping(8) reports at its end.
func PingMean(out string) (float64, error) {
	m := pingSummary.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("ping says %q", out)
	}
	ms, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fmt.Errorf("ping says %q: %w", m[1], err)
	}
	return ms * 1000, nil
}

// PingMedian is the median round trip in µs of the replies that ping(8) lists.
func PingMedian(out string) (float64, error) {
	var all []float64
	for _, m := range pingReply.FindAllStringSubmatch(out, -1) {
		ms, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, fmt.Errorf("ping says %q: %w", m[1], err)
		}
		all = append(all, ms*1000)
	}
	if len(all) == 0 {
		return 0, fmt.Errorf("no reply in %q", out)
	}
	return Median(all), nil
}
