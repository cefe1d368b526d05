package kernel

import (
	"fmt"
	"testing"
	"time"
)

// Of two carriers that are lost one after the other, the kernel would tell of the
// second one a second after the first.
func TestCarriersAreLostTogether(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	watch(t, h)
	s, err := h.SubscribeLinks()
	must(t, err)
	defer s.Close()
	isUp := make(map[string]bool)
	wait := func(name string, up bool) time.Duration {
		state := map[bool]string{true: "up", false: "down"}[up]
		return await(t, name+" is told as "+state, 15*time.Second, func() bool {
			for _, e := range s.Take() {
				isUp[e.Link.Name] = e.Link.Up
			}
			return isUp[name] == up
		})
	}
	// Ends with the same index are to the kernel like a network card.
	ip(t, "netns add far")
	for name, index := range map[string]int{"d0": 1000, "d1": 1001} {
		ip(t, fmt.Sprintf("link add %s index %d type veth peer name %s index %d netns far", name, index, name, index))
		ip(t, "link set "+name+" up")
		ip(t, "-n far link set "+name+" up")
	}
	// The kernel's own pace is the same each time, a busy machine's is not.
	const rounds = 3
	least := time.Hour
	for range rounds {
		wait("d0", true)
		wait("d1", true)
		ip(t, "-n far link set d0 down")
		wait("d0", false)
		ip(t, "-n far link set d1 down")
		least = min(least, wait("d1", false))
		ip(t, "-n far link set d0 up")
		ip(t, "-n far link set d1 up")
	}
	if least > 500*time.Millisecond {
		t.Errorf("the second carrier was told as lost after %v at the least", least)
	}
	t.Logf("the second carrier is told as lost after %v at the least", least)
}

func TestCarriersAreAskedForAWhile(t *testing.T) {
	at := time.Unix(1000, 0)
	far := at.Add(time.Minute)
	var c carriers
	if c.isDue(at) || c.before(far) != far {
		t.Fatal("something is due, and no carrier was lost")
	}
	c.lost(at)
	asked := 0
	for now := at; now.Before(far); now = c.before(far) {
		if c.isDue(now) {
			asked++
		}
	}
	if asked < 20 || asked > 25 {
		t.Errorf("asked %d times, want once in %v for %v", asked, carrierPause, carrierTime)
	}
	if c.isDue(far) {
		t.Error("there is no end of it")
	}
}
