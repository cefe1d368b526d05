package registry

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"re6st/addressing"
	"re6st/internal/durable"
	"re6st/registry/api"
	"re6st/registry/ca"
	"re6st/registry/network"
	"re6st/registry/store"
)

// firstTokenTTL is the lifetime of the token that Init makes.
const firstTokenTTL = 24 * time.Hour

// InitOptions say what the network shall be.
type InitOptions struct {
	State      string
	Network    netip.Prefix
	IPv4       netip.Prefix // zero: none
	IPv4Prefix int          // length of a node's IPv4 subnet; 0: what fits, 24 where it does
	NodePrefix int
	Domain     string
	URLs       []string
	Now        func() time.Time
}

// Init makes a new network: CA, database, and a first token, whose text it
// gives. A directory that an Init left half-written is begun anew; any other
// that is not empty is refused.
func Init(ctx context.Context, o InitOptions) (string, error) {
	if err := o.check(); err != nil {
		return "", err
	}
	lock, err := o.prepare()
	if err != nil {
		return "", explain(o.State, err)
	}
	err = o.write(ctx)
	lock.Close()
	if err != nil {
		return "", explain(o.State, err)
	}
	r, err := Open(ctx, Options{State: o.State, Now: o.Now})
	if err != nil {
		return "", err
	}
	defer r.Close()
	token, err := r.CreateToken(ctx, api.TokenRequest{Uses: 1, TTLSeconds: int64(firstTokenTTL / time.Second)})
	if err != nil {
		return "", err
	}
	return token.Token, nil
}

func (o *InitOptions) check() error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := addressing.CheckPrefix(o.Network); err != nil || !o.Network.Addr().Is6() {
		return fail(Usage, "for a private network take a random /48 in fd00::/8", "--network: an IPv6 prefix is wanted, such as 2001:db8:42::/48")
	}
	if addressing.IsSpecial(o.Network) {
		return fail(Usage, "for a private network take a random /48 in fd00::/8", "--network %s: not a prefix of unicast addresses", o.Network)
	}
	if o.NodePrefix <= o.Network.Bits() || o.NodePrefix > 128 {
		return fail(Usage, "a /64 for each node is usual", "--node-prefix %d: a length from %d to 128 is wanted in a network of length %d", o.NodePrefix, o.Network.Bits()+1, o.Network.Bits())
	}
	if o.IPv4.IsValid() {
		if err := addressing.CheckPrefix(o.IPv4); err != nil || !o.IPv4.Addr().Is4() || o.IPv4.Bits() < 4 || o.IPv4.Bits() > 30 {
			return fail(Usage, "", "--ipv4: an IPv4 prefix of length 4 to 30 is wanted, such as 10.42.0.0/16")
		}
		if addressing.IsSpecial(o.IPv4) {
			return fail(Usage, "for a private network take one of 10.0.0.0/8", "--ipv4 %s: not a prefix of unicast addresses", o.IPv4)
		}
		if o.IPv4Prefix == 0 {
			o.IPv4Prefix = addressing.IPv4Length(o.IPv4)
		}
		if o.IPv4Prefix <= o.IPv4.Bits() || o.IPv4Prefix > 32 {
			return fail(Usage, "a /24 for each node is usual", "--ipv4-prefix %d: a length from %d to 32 is wanted in a network of length %d", o.IPv4Prefix, o.IPv4.Bits()+1, o.IPv4.Bits())
		}
	} else if o.IPv4Prefix != 0 {
		return fail(Usage, "give the network's IPv4 prefix, too: --ipv4 10.42.0.0/16", "--ipv4-prefix: the network has no IPv4 prefix")
	}
	if o.Domain != "" && !addressing.ValidDomain(o.Domain) {
		return fail(Usage, "", "--domain %q: not a domain name in lower case", o.Domain)
	}
	if err := (api.Token{URLs: o.URLs}).Check(); err != nil {
		return fail(Usage, "nodes find the registry by it: --url https://host:8443", "--url: %w", err)
	}
	return nil
}

// prepare gives an empty directory with the mark that it is half-written.
func (o *InitOptions) prepare() (*durable.Lock, error) {
	if err := os.MkdirAll(o.State, 0o700); err != nil {
		return nil, fmt.Errorf("making state directory: %w", err)
	}
	entries, err := os.ReadDir(o.State)
	if err != nil {
		return nil, fmt.Errorf("reading state directory: %w", err)
	}
	partial := filepath.Join(o.State, partialFile)
	if len(entries) > 0 && !exists(partial) {
		if exists(filepath.Join(o.State, versionFile)) {
			return nil, fail(BadState, "make a token: re6stregistry token create --state "+o.State, "state directory %q has a network already", o.State)
		}
		return nil, fail(BadState, "name an empty or a new directory with --state", "state directory %q is not empty", o.State)
	}
	if err := os.Chmod(o.State, 0o700); err != nil {
		return nil, fmt.Errorf("protecting state directory: %w", err)
	}
	// The mark first: a crash while the rest goes away leaves it. It is the lock
	// against a second Init, too.
	lock, err := durable.NewLock(partial)
	if err != nil {
		return nil, err
	}
	if err := o.clear(); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// clear removes what an Init that did not end has made.
func (o *InitOptions) clear() error {
	for _, name := range []string{keyFile, caFile, versionFile, "registry.db", "registry.db-wal", "registry.db-shm", "journal", "lock"} {
		if err := os.Remove(filepath.Join(o.State, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clearing state directory: %w", err)
		}
	}
	if err := durable.Clean(o.State); err != nil {
		return err
	}
	return durable.SyncDir(o.State)
}

// write makes all files; the mark goes last.
func (o *InitOptions) write(ctx context.Context) error {
	now := o.Now()
	networks := []netip.Prefix{o.Network.Masked()}
	if o.IPv4.IsValid() {
		networks = append(networks, o.IPv4.Masked())
	}
	authority, key, err := ca.NewCA("re6st "+o.Network.String(), networks, now)
	if err != nil {
		return err
	}
	text, err := ca.EncodeKey(key)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(o.State, keyFile), text, 0o600); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(o.State, caFile), ca.EncodeCertificate(authority.Raw()), 0o644); err != nil {
		return err
	}
	if err := o.writeDatabase(ctx, authority, now); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(o.State, versionFile), []byte(strconv.Itoa(stateVersion)+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(o.State, partialFile)); err != nil {
		return fmt.Errorf("ending init: %w", err)
	}
	return durable.SyncDir(o.State)
}

func (o *InitOptions) writeDatabase(ctx context.Context, c *ca.CA, now time.Time) (err error) {
	a, err := loadCA(o.State)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{Dir: o.State, Genesis: a.genesis(), Rand: newRand(), Create: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	parameters, err := json.Marshal(network.Defaults())
	if err != nil {
		return fmt.Errorf("encoding parameters: %w", err)
	}
	settings := store.Settings{
		Prefix: o.Network, IPv4: o.IPv4, IPv4Prefix: o.IPv4Prefix, NodePrefix: o.NodePrefix, Domain: o.Domain, Registries: o.URLs,
		Parameters: parameters, Version: 1, Issued: now.UTC().Truncate(time.Millisecond),
	}
	if settings.Document, err = network.Sign(documentOf(settings, network.Defaults()), c.Signer()); err != nil {
		return err
	}
	return s.Init(ctx, settings)
}

// documentOf is what the settings say to nodes.
func documentOf(s store.Settings, p network.Parameters) network.Document {
	d := network.Document{
		Version: s.Version, Prefixes: []netip.Prefix{s.Prefix}, Domain: s.Domain,
		Registries: s.Registries, Parameters: p, Issued: s.Issued.UTC().Truncate(time.Millisecond),
	}
	if s.IPv4.IsValid() {
		d.IPv4 = []netip.Prefix{s.IPv4}
	}
	return d
}

// newSecret is 128 bits that nobody guesses.
func newSecret() api.Secret {
	var s api.Secret
	rand.Read(s[:]) // never fails: the process ends where there is no randomness
	return s
}
