package network

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written in seconds: 0.3 in JSON, 300ms for people.
type Duration time.Duration

// durationMax keeps seconds in the range where nanoseconds survive a float64:
// below 2^51 of them, 26 days, the two roundings on the way cannot add up to one.
const durationMax = 7 * 24 * time.Hour

// Seconds is the duration as a number of seconds.
func (d Duration) Seconds() float64 { return time.Duration(d).Seconds() }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes seconds, with as many decimals as needed.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, d.Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads a number of seconds.
func (d *Duration) UnmarshalJSON(text []byte) error {
	parsed, err := parseSeconds(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

func parseSeconds(s string) (Duration, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("duration %.40q: not a number of seconds", s)
	}
	if math.IsNaN(v) || v < 0 || v > durationMax.Seconds() {
		return 0, fmt.Errorf("duration %.40q: not between 0 and %v", s, durationMax)
	}
	return Duration(math.Round(v * float64(time.Second))), nil
}

// ParseDuration reads what a person types: seconds as a number, or a number with
// a unit ("300", "5m", "0.3s").
func ParseDuration(s string) (Duration, error) {
	if s == "" {
		return 0, errors.New("empty duration")
	}
	if strings.Trim(s, "0123456789.") == "" {
		return parseSeconds(s)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("duration %.40q: not a number of seconds, nor a number with a unit such as 5m", s)
	}
	if v < 0 || v > durationMax {
		return 0, fmt.Errorf("duration %.40q: not between 0 and %v", s, durationMax)
	}
	return Duration(v), nil
}
