package solo

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A bound counts looks, not what the machine does between them.
func TestPollCountsRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := errors.New("never")
		for _, c := range []struct {
			look          time.Duration
			least, atMost time.Duration
		}{
			{0, time.Second, 1100 * time.Millisecond},
			{time.Second, 10 * time.Second, 12 * time.Second}, // ten rounds of 100 ms
		} {
			took, err := Poll(10*time.Millisecond, 100*time.Millisecond, time.Second, func() error { time.Sleep(c.look); return never })
			if err != never || took < c.least || took > c.atMost {
				t.Errorf("looks of %v: %v after %v", c.look, err, took)
			}
		}
		looks := 0
		took, err := Poll(10*time.Millisecond, time.Second, time.Second, func() error {
			if looks++; looks < 4 {
				return never
			}
			return nil
		})
		if err != nil || took != 30*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestAlone(t *testing.T) {
	if !Alone(t) {
		return
	}
	if links := Command(t, "ip -o link"); strings.Count(links, "\n") != 0 || !strings.Contains(links, "LOOPBACK,UP") {
		t.Errorf("links of a network of its own:\n%s", links)
	}
	if left, err := os.ReadDir("/run"); err != nil || len(left) != 0 {
		t.Errorf("/run has %v, %v", left, err)
	}
	if _, err := os.Stat("/sys/class/net/lo"); err != nil {
		t.Error(err)
	}
}
