package userspace

import (
	"encoding/hex"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// Who receives may send, and who sends may be who reads the TUN: none of them waits
// for one who opens, closes or configures, and who waits for them.
func TestTrafficWhileDevicesChange(t *testing.T) {
	u, v := testUnderlay(t), testUnderlay(t)
	var ours, others []*peer
	for i := range byte(2) {
		a, b := newPeer(t, u, 2*i+1), newPeer(t, v, 2*i+2)
		a.knows(b, "127.0.0.1")
		b.knows(a, "")
		a.reaches(b)
		ours, others = append(ours, a), append(others, b)
	}
	done := make(chan struct{})
	var streams, changes sync.WaitGroup
	stream := func(from, to *peer) {
		packet := tuntest.Ping(to.inner, from.inner)
		streams.Go(func() {
			for {
				select {
				case from.tun.Outbound <- packet:
				case <-done:
					return
				}
			}
		})
	}
	for i := range ours {
		stream(ours[i], others[i])
		stream(others[i], ours[i])
	}
	change := func(lasts time.Duration, f func()) {
		changes.Go(func() {
			for end := time.Now().Add(lasts); time.Now().Before(end); {
				f()
			}
		})
	}
	const lasts = time.Second
	a, b := ours[0], others[0]
	change(lasts, func() { _ = a.device.Down(); _ = a.device.Up() })
	change(lasts, func() { _ = ours[1].device.Down(); _ = ours[1].device.Up() }) // so that the socket closes now and then
	change(lasts, func() { _ = a.device.IpcSet("fwmark=0\n"); _ = a.device.IpcSet("listen_port=0\n") })
	change(lasts, func() {
		_ = b.device.IpcSet("public_key=" + hex.EncodeToString(a.public[:]) + "\nremove=true\n")
		_ = b.device.IpcSet("public_key=" + hex.EncodeToString(a.public[:]) + "\nallowed_ip=" + a.inner.String() + "/32\n")
	})
	change(lasts, func() { _, _ = a.device.IpcGet() })
	changed := make(chan struct{})
	go func() { changes.Wait(); close(changed) }()
	select {
	case <-changed:
	case <-time.After(50 * time.Second):
		panic("somebody waits for one who waits for him") // with all goroutines
	}
	close(done)
	streams.Wait()
	a.knows(b, "127.0.0.1")
	b.knows(a, "")
	a.reaches(b)
	b.reaches(a)
	ours[1].reaches(others[1])
}
