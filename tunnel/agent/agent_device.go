package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"re6st/tunnel"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// device is a tunnel's interface. Its fields belong to the loop, but for those of the lane.
type device struct {
	id        control.TunnelID
	peer      tunnel.Peer
	lane      *lane
	mtu       int
	wg        wg.Device // nil until created
	psk       wg.Key    // of the last exchange
	remote    wg.Key    // the peer's public key
	connected bool      // has its peer
	quiet     bool      // has no keepalive yet
	answer    func()    // answers the peer's offer; nil: nothing to answer
	attached  bool      // the routing uses it
	broken    bool      // no key could be derived
}

// lane carries out the operations on one device in their order, in a goroutine that lives while there are some.
type lane struct {
	workers *sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	queue []func()
	busy  bool
}

func (l *lane) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, f)
	if !l.busy {
		l.busy = true
		l.workers.Go(l.run)
	}
}

func (l *lane) run() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.busy = false
			l.mu.Unlock()
			return
		}
		f := l.queue[0]
		l.queue = l.queue[1:]
		l.mu.Unlock()
		f()
	}
}

func (l *lane) isBusy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy
}

// create makes key and interface of a tunnel.
func (a *Agent) create(x tunnel.Create) {
	d := &device{id: x.Tunnel, peer: x.Peer, mtu: x.MTU, lane: &lane{workers: &a.workers}}
	a.devices[x.Tunnel] = d
	names := [3]string{a.randomName(), a.randomName(), a.randomName()}
	d.lane.do(func() {
		made, key, err := a.makeDevice(names, x)
		a.box.post(func(now time.Time) { a.created(now, d, made, key, err) })
	})
}

// randomName is drawn by the loop, for its source of chance is its own.
func (a *Agent) randomName() string { return fmt.Sprintf("re6st-%08x", a.config.Rand.Uint32()) }

// makeDevice tries several names: namespaces of one host share those of the control sockets.
func (a *Agent) makeDevice(names [3]string, x tunnel.Create) (wg.Device, wg.Key, error) {
	key, err := wg.NewKey()
	if err != nil {
		return nil, wg.Key{}, err
	}
	alias := ""
	if a.config.Alias != nil {
		alias = a.config.Alias(x.Peer.Name)
	}
	var made wg.Device
	for _, name := range names {
		made, err = a.config.Backend.Create(wg.Config{
			Name: name, Alias: alias, Group: a.config.Group, PrivateKey: key, Mark: a.config.Mark, MTU: x.MTU, LinkLocal: a.linkLocal,
		})
		if !errors.Is(err, wg.ErrNameTaken) {
			break
		}
	}
	return made, key.Public(), err
}

func (a *Agent) created(now time.Time, d *device, made wg.Device, key wg.Key, err error) {
	if err != nil {
		a.log.Warn("creating a tunnel interface", "peer", d.peer.Name, "err", err)
		if a.devices[d.id] == d {
			delete(a.devices, d.id)
		}
		a.manager.Created(now, d.id, control.Key{}, 0, err)
		return
	}
	d.wg = made
	if a.devices[d.id] != d { // it ended meanwhile
		d.lane.do(func() { a.closeDevice(d) })
		return
	}
	a.byIndex[made.Index()] = d
	a.manager.Created(now, d.id, control.Key(key), made.Port(), nil)
}

// connect gives a device its peer. An endpoint that cannot be set (of a family that the host does not have) is no end:
// the next one comes by itself.
func (a *Agent) connect(x tunnel.Connect) {
	d := a.devices[x.Tunnel]
	if d == nil || d.wg == nil || d.broken {
		return
	}
	answer := d.answer
	d.connected, d.answer = true, nil
	peer := wg.Peer{PublicKey: wg.Key(x.PublicKey), PresharedKey: d.psk, Endpoint: x.Endpoint, Keepalive: a.config.Keepalive}
	d.remote, d.quiet = peer.PublicKey, x.Quiet
	if x.Quiet {
		peer.Keepalive = 0 // the first one would begin a handshake
	}
	d.lane.do(func() {
		if err := d.wg.SetPeer(peer); err != nil {
			a.log.Debug("setting the peer of a tunnel", "peer", d.peer.Name, "iface", d.wg.Name(), "endpoint", x.Endpoint, "err", err)
		}
		if answer != nil {
			answer()
		}
	})
	a.due.handshakes = time.Time{}
}

func (a *Agent) attach(x tunnel.Attach) {
	d := a.devices[x.Tunnel]
	if d == nil || d.wg == nil {
		return
	}
	d.attached = true
	if d.quiet {
		d.quiet = false
		// Without an endpoint: the one from where the peer came stays.
		peer := wg.Peer{PublicKey: d.remote, PresharedKey: d.psk, Keepalive: a.config.Keepalive}
		d.lane.do(func() {
			if err := d.wg.SetPeer(peer); err != nil {
				a.log.Debug("keeping a tunnel alive", "peer", d.peer.Name, "iface", d.wg.Name(), "err", err)
			}
		})
	}
	d.lane.do(func() {
		if err := a.config.Routing.AddInterface(d.wg.Index(), d.wg.Name(), d.mtu, a.linkLocal); err != nil {
			err = fmt.Errorf("routing over %s: %w", d.wg.Name(), err)
			a.log.Warn("tunnel is of no use", "peer", d.peer.Name, "err", err)
			a.box.post(func(now time.Time) { a.manager.DeviceFailed(now, d.id, err) })
		}
	})
	a.neighbours[d.peer.ID()] = d.peer
	a.due.routes = time.Time{}
	a.greet(d)
}

func (a *Agent) setCost(x tunnel.SetCost) {
	if d := a.devices[x.Tunnel]; d != nil && d.wg != nil {
		a.due.routes = time.Time{}
		d.lane.do(func() { a.config.Routing.SetExtraCost(d.wg.Index(), x.Extra) })
	}
}

// detach takes a tunnel from the routing. done, if there is one, counts it.
func (a *Agent) detach(x tunnel.Detach, done *sync.WaitGroup) {
	d := a.devices[x.Tunnel]
	if d == nil || d.wg == nil || !d.attached {
		return
	}
	d.attached = false
	delete(a.neighbours, d.peer.ID())
	if done != nil {
		done.Add(1)
	}
	d.lane.do(func() {
		a.config.Routing.RemoveInterface(d.wg.Index())
		if done != nil {
			done.Done()
		}
	})
}

func (a *Agent) destroy(id control.TunnelID, done *sync.WaitGroup) {
	d := a.devices[id]
	if d == nil {
		return
	}
	delete(a.devices, id)
	if d.wg == nil {
		return // being made: see created
	}
	delete(a.byIndex, d.wg.Index())
	if done != nil {
		done.Add(1)
	}
	d.lane.do(func() {
		a.closeDevice(d)
		if done != nil {
			done.Done()
		}
	})
}

func (a *Agent) closeDevice(d *device) {
	if err := d.wg.Close(); err != nil {
		a.log.Warn("removing a tunnel interface", "peer", d.peer.Name, "iface", d.wg.Name(), "err", err)
	}
}

func (a *Agent) hasHandshakes() bool {
	for _, d := range a.devices {
		if d.connected && !d.attached {
			return true
		}
	}
	return false
}

// pollStats asks those devices that are not busy. A device that has gone is the end of its tunnel.
func (a *Agent) pollStats(which func(*device) bool) {
	for _, d := range a.devices {
		if d.wg == nil || !d.connected || !which(d) || d.lane.isBusy() {
			continue
		}
		d.lane.do(func() {
			s, err := d.wg.Stats()
			a.box.post(func(now time.Time) { a.observed(now, d, s, err) })
		})
	}
}

func (a *Agent) observed(now time.Time, d *device, s wg.Stats, err error) {
	if a.devices[d.id] != d {
		return
	}
	if err != nil {
		a.log.Warn("tunnel interface is gone", "peer", d.peer.Name, "iface", d.wg.Name(), "err", err)
		a.manager.DeviceFailed(now, d.id, err)
		return
	}
	a.manager.Observed(now, d.id, tunnel.Stats{
		LastHandshake: s.LastHandshake, RxBytes: s.RxBytes, TxBytes: s.TxBytes, Endpoint: s.Endpoint,
	})
}

// callID is what the loop knows a waiting offer by.
func (a *Agent) callID() uint64 {
	a.nextCall++
	return a.nextCall
}

// idPrefix shortens a tunnel's id for the log.
func idPrefix(id control.TunnelID) string {
	return fmt.Sprintf("%08x", binary.BigEndian.Uint32(id[:]))
}
