package node

import (
	"log/slog"
	"sync"

	"re6st/internal/identity"
	"re6st/registry/network"
)

// documents holds the newest network document. It is offered from the
// registry's answers and from peers, by several goroutines.
type documents struct {
	authority *identity.Authority
	store     func(jws string) error
	changed   func(network.Document) // called with mu held: in order, each version once
	log       *slog.Logger

	mu     sync.Mutex
	newest network.Document
	jws    string
}

// offer takes a signed document where it is newer than the one at hand. It says
// whether it took it; an older or equal one is no error.
func (d *documents) offer(jws string) (bool, error) {
	doc, err := d.authority.Document(jws)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !network.Newer(doc, d.newest) {
		return false, nil
	}
	if err := d.store(jws); err != nil {
		// It holds for this run all the same; the next start gets it again.
		d.log.Error("keeping the network document", "err", err)
	}
	d.newest, d.jws = doc, jws
	d.log.Info("network document", "version", doc.Version)
	d.changed(doc)
	return true, nil
}

// current is the newest document, and its signed form, empty where there is none.
func (d *documents) current() (network.Document, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest, d.jws
}
