package userspace

import (
	"encoding/binary"
	"net"
	"os"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun/tuntest"

	"re6st/tunnel/wg/userspace/device"
)

// An established tunnel loses less than one packet in a thousand while 10,000 bogus
// initiations come in each second.
//
//re6st:reduced 3 of 30 seconds; full in make soak
func TestP12_TunnelInAFlood(t *testing.T) {
	const perSecond, ownPerSecond = 10_000, 500
	seconds := 3
	if os.Getenv("RE6ST_SOAK") == "1" {
		seconds = 30
	}
	u := testUnderlay(t)
	a, b := newPeer(t, u, 1), newPeer(t, nil, 2)
	for i := range byte(4) {
		newPeer(t, u, 10+i) // whose MAC1 it could be
	}
	a.knows(b, "127.0.0.1")
	b.knows(a, "")
	a.reaches(b)
	b.reaches(a)
	flood, err := net.Dial("udp", "127.0.0.1:"+a.get("listen_port"))
	must(t, err)
	defer flood.Close()
	bad := make([]byte, device.MessageInitiationSize)
	bad[0] = byte(initiation)
	in, out := tuntest.Ping(a.inner, b.inner), tuntest.Ping(b.inner, a.inner)
	beforeA, beforeB := a.got.Load(), b.got.Load()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start, floods, sent := time.Now(), 0, 0
	for floods < perSecond*seconds {
		<-tick.C
		passed := time.Since(start).Seconds()
		// Where the machine stood still, what is due does not come at once.
		for n := 0; n < 15 && floods < perSecond*seconds && floods < int(passed*perSecond); n++ {
			binary.LittleEndian.PutUint32(bad[4:], uint32(floods))
			_, err := flood.Write(bad)
			must(t, err)
			floods++
		}
		if sent < int(passed*ownPerSecond) {
			b.tun.Outbound <- in
			a.tun.Outbound <- out
			sent++
		}
	}
	isThere := func(before, now int64) bool { return (now-before)*1000 > int64(sent)*999 }
	t.Cleanup(func() {
		t.Logf("%d bogus initiations in %v, %d packets each way: %d and %d arrived; dropped %v",
			floods, time.Since(start), sent, a.got.Load()-beforeA, b.got.Load()-beforeB, u.Dropped())
	})
	await(t, "all but one in a thousand have arrived", func() bool {
		return isThere(beforeA, a.got.Load()) && isThere(beforeB, b.got.Load())
	})
	await(t, "the flood was seen", func() bool { return u.lost.refused.Load() > uint64(floods)*9/10 })
}

// Bogus initiations do not disturb a session, nor a peer's new one.
func TestP12_FloodOfBadInitiations(t *testing.T) {
	u := testUnderlay(t)
	a, b := newPeer(t, u, 1), newPeer(t, nil, 2)
	late, caller := newPeer(t, u, 3), newPeer(t, nil, 4)
	a.knows(b, "127.0.0.1")
	b.knows(a, "")
	a.reaches(b)
	flood, err := net.Dial("udp", "127.0.0.1:"+a.get("listen_port"))
	must(t, err)
	defer flood.Close()
	bad := make([]byte, device.MessageInitiationSize)
	bad[0] = byte(initiation)
	const floods = 20_000
	for i := range floods {
		binary.LittleEndian.PutUint32(bad[4:], uint32(i))
		_, err := flood.Write(bad)
		must(t, err)
		if i%1000 == 0 {
			a.reaches(b)
		}
	}
	await(t, "the flood was seen", func() bool { return u.lost.refused.Load() > floods/2 })
	late.knows(caller, "127.0.0.1")
	caller.knows(late, "127.0.0.1")
	caller.reaches(late)
	b.reaches(a)
}

// With a right MAC1 but from nobody, a flood meets the device's own defence: cookies.
func TestP12_CookiesUnderLoad(t *testing.T) {
	u := testUnderlay(t)
	a, b := newPeer(t, u, 1), newPeer(t, nil, 2)
	a.knows(b, "127.0.0.1")
	b.knows(a, "")
	a.reaches(b)
	flood, err := net.Dial("udp", "127.0.0.1:"+a.get("listen_port"))
	must(t, err)
	defer flood.Close()
	replied := make(chan bool, 1)
	go func() {
		d := make([]byte, 2000)
		_ = flood.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := flood.Read(d)
		k, index := classify(d[:n])
		replied <- err == nil && k == cookieReply && index == 0x77777777
	}()
	d := make([]byte, device.MessageInitiationSize)
	d[0] = byte(initiation)
	binary.LittleEndian.PutUint32(d[4:], 0x77777777)
	var g device.CookieGenerator
	g.Init(a.public)
	for i := 0; ; i++ {
		binary.LittleEndian.PutUint32(d[8:], uint32(i))
		g.AddMacs(d)
		_, err := flood.Write(d)
		must(t, err)
		select {
		case ok := <-replied:
			if !ok {
				t.Error("no cookie for the sender's index")
			}
			a.reaches(b)
			b.reaches(a)
			return
		default:
		}
	}
}
