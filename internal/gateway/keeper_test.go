package gateway

import (
	"log/slog"
	"testing"
	"time"
)

// Somebody takes the table away before it was looked at: what is found then must
// not count as what was put.
func TestKeeperIsNotFooledBetweenPutAndLook(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	k := keeper{instance: instance, log: slog.New(slog.DiscardHandler)}
	now := time.Now()
	k.keep(now, someContent())
	if !k.isPut || k.trouble != "" || !k.deadline().IsZero() {
		t.Fatalf("after putting: %+v", k)
	}
	nft(t, "flush ruleset")
	k.taken("", nil, size{rules: 1}, now) // as put finds it
	now = now.Add(checkPause)
	if at := k.deadline(); at.IsZero() || at.After(now) {
		t.Fatalf("the next look is at %v", at)
	}
	k.keep(now, someContent())
	if text, err := inventory(instance); err != nil || text == "" || text != k.text {
		t.Errorf("the table is not back: %q, %v", text, err)
	}
}
