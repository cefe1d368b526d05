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
	err := put(k.instance, wants)
	text := ""
	if err == nil {
		text, err = inventory(k.instance)
	}
	if err != nil {
		k.isPut, k.nextPut = false, now.Add(retryPause)
		why := fmt.Sprintf("nftables table %s: %v", tableName(k.instance), err)
		if why != k.trouble {
			k.log.Error("making our nftables table", "err", err)
		}
		k.trouble = why
		return
	}
	k.has, k.isPut, k.text, k.trouble = wants, true, text, ""
	k.nextPut, k.nextCheck = time.Time{}, time.Time{}
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
