package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// keeper keeps our table in the kernel as it is wanted, whoever takes it away.
// One goroutine owns it.
type keeper struct {
	instance string
	log      *slog.Logger

	has       content
	isPut     bool
	text      string    // inventory of what was put
	nextPut   time.Time // after a refusal
	nextCheck time.Time // zero: nothing happened
	lastCheck time.Time
	repairs   int
	trouble   string // why the table is not there
}

// notOurs is equal to no inventory.
const notOurs = "not ours"

// heed notes that something happened in nftables, our own doings among it.
func (k *keeper) heed(now time.Time) {
	if !k.nextCheck.IsZero() {
		return
	}
	if k.nextCheck = k.lastCheck.Add(checkPause); k.nextCheck.Before(now) {
		k.nextCheck = now
	}
}

// keep does what is due.
func (k *keeper) keep(now time.Time, wants content) {
	switch {
	case !k.isPut || !wants.equal(k.has):
		if !now.Before(k.nextPut) {
			k.put(now, wants)
		}
	case !k.nextCheck.IsZero() && !now.Before(k.nextCheck):
		k.check(now)
	}
}

// deadline is when keep has something to do; zero: when something happens.
func (k *keeper) deadline() time.Time {
	if !k.isPut {
		return k.nextPut
	}
	return k.nextCheck
}

func (k *keeper) put(now time.Time, wants content) {
	want, err := put(k.instance, wants)
	if err != nil {
		k.isPut, k.nextPut = false, now.Add(retryPause)
		why := fmt.Sprintf("nftables table %s: %v", tableName(k.instance), err)
		if why != k.trouble {
			k.log.Error("making our nftables table", "err", err)
		}
		k.trouble = why
		return
	}
	k.has, k.isPut, k.trouble, k.nextPut = wants, true, "", time.Time{}
	text, err := inventory(k.instance)
	k.taken(text, err, want, now)
}

// taken notes what was found after putting.
func (k *keeper) taken(text string, err error, want size, now time.Time) {
	k.text, k.nextCheck = text, time.Time{}
	if err != nil || sizeOf(text) != want {
		// Somebody was faster than our look, or takes the table away during it:
		// what is there now is not what we put.
		k.text, k.nextCheck = notOurs, now.Add(checkPause)
	}
}

// check puts the table back where another changed it.
func (k *keeper) check(now time.Time) {
	k.nextCheck, k.lastCheck = time.Time{}, now
	text, err := inventory(k.instance)
	if err != nil {
		k.nextCheck = now.Add(checkPause)
		return
	}
	if text == k.text {
		return
	}
	level := slog.LevelDebug
	if k.repairs == 0 {
		level = slog.LevelWarn
	}
	k.repairs++
	k.log.Log(context.Background(), level, "another program changed our nftables table, put it back (further cases at debug level)", "table", tableName(k.instance))
	k.put(now, k.has)
}
