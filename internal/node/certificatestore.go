package node

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"time"

	"re6st/internal/durable"
	"re6st/internal/identity"
)

const (
	certificatesFile = "certificates.pem"
	// saveCertificatesEvery is how much of what was learnt a crash may lose.
	saveCertificatesEvery = 30 * time.Second
	// Limits on the file: nodes beyond them are asked for again after a restart.
	certificatesKept     = 16384
	maxCertificatesBytes = 32 << 20
)

// certificateStore keeps others' certificates over a restart: without it a node
// that starts while the mesh is in trouble would use no default route.
type certificateStore struct {
	state     *state
	authority *identity.Authority
}

// load reads those that are still valid. What is damaged or has ended is left
// out: it can be had again.
func (s certificateStore) load(now time.Time) (nodes []identity.Node) {
	data, err := durable.ReadFile(s.state.path(certificatesFile), maxCertificatesBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		s.state.setAside(certificatesFile, err)
		return nil
	}
	nodes, damaged := s.parse(data, now)
	if damaged > 0 && len(nodes) == 0 {
		s.state.setAside(certificatesFile, errors.New("it holds no valid certificate"))
	} else if damaged > 0 {
		s.state.say("certificates of other nodes are damaged; they are asked for again", "file", s.state.path(certificatesFile), "count", damaged)
	}
	return nodes
}

// parse reads what is valid; damaged counts what is not, and not what has merely
// ended.
func (s certificateStore) parse(data []byte, now time.Time) (nodes []identity.Node, damaged int) {
	// The decoder passes over blocks that it cannot read.
	begun, read := bytes.Count(data, []byte("-----BEGIN ")), 0
	for read < certificatesKept {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		read++
		n, err := s.authority.Node(block.Bytes, now)
		switch {
		case block.Type != "CERTIFICATE" || err != nil && !errors.Is(err, identity.ErrExpired):
			damaged++
		case err == nil:
			nodes = append(nodes, n)
		}
	}
	damaged += max(begun-read, 0)
	if damaged == 0 && read == 0 && len(bytes.TrimSpace(data)) > 0 {
		damaged = 1
	}
	return nodes, damaged
}

// save writes the file anew, if there is something new.
func (k *keeper) save() {
	k.mu.Lock()
	isDirty := k.isDirty
	k.isDirty = false
	k.mu.Unlock()
	if !isDirty || k.store.state == nil {
		return
	}
	var b bytes.Buffer
	kept := 0
	for n := range k.claims.All() {
		if n.RouterID == k.self || kept == certificatesKept {
			continue
		}
		kept++
		b.Write(certificatePEM(n.Raw))
	}
	if err := k.store.state.write(certificatesFile, b.Bytes(), 0o644); err != nil {
		k.log.Error("keeping the certificates of other nodes", "err", err)
	}
}
