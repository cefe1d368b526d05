package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"re6st/addressing"
	"re6st/registry/api"
	"re6st/registry/ca"
	"re6st/registry/network"
	"re6st/registry/store"
)

// CreateToken makes a token. Its text is in the answer alone; the database has a
// hash of it.
func (r *Registry) CreateToken(ctx context.Context, t api.TokenRequest) (api.NewToken, error) {
	settings, now := r.settings.Load(), r.now()
	if t.PrefixLength == 0 {
		t.PrefixLength = settings.NodePrefix
	}
	if err := r.checkTokenRequest(t); err != nil {
		return api.NewToken{}, err
	}
	token := api.Token{URLs: settings.Registries, Pin: r.authority.identity.Pin(), Secret: newSecret()}
	id, err := r.store.CreateToken(ctx, now, token.Secret, t)
	if err != nil {
		return api.NewToken{}, r.problem(err)
	}
	r.log.Info("token created", "id", id, "uses", t.Uses, "ttl", time.Duration(t.TTLSeconds)*time.Second, "name", t.Name)
	return api.NewToken{
		SchemaVersion: api.SchemaVersion, ID: id, Token: token.Reveal(),
		Expires: now.Add(time.Duration(t.TTLSeconds) * time.Second).UTC().Truncate(time.Millisecond),
	}, nil
}

func (r *Registry) checkTokenRequest(t api.TokenRequest) error {
	network := r.settings.Load().Prefix
	if t.PrefixLength <= network.Bits() || t.PrefixLength > 128 {
		return errUsage("prefix length %d: one from %d to 128 is wanted in network %s", t.PrefixLength, network.Bits()+1, network)
	}
	if t.Name != "" {
		if err := api.CheckName(t.Name); err != nil {
			return errUsage("%w", err)
		}
		if t.Uses != 1 {
			return errUsage("a token with a name is for one node: it cannot have %d uses", t.Uses)
		}
	}
	if err := r.checkIPv4Length(t.IPv4Length); err != nil {
		return err
	}
	if err := r.checkAnnounced(t.Announce); err != nil {
		return err
	}
	if _, err := addressing.MarshalRights(addressing.Rights{Announce: t.Announce, Gateway: t.Gateway}); err != nil {
		return errUsage("announced prefixes: %w", err)
	}
	return nil
}

func (r *Registry) checkIPv4Length(length *int) error {
	network := r.settings.Load().IPv4
	switch {
	case length == nil || *length == 0:
	case !network.IsValid():
		return errUsage("IPv4 length %d: the network has no IPv4 prefix", *length)
	case *length <= network.Bits() || *length > 32:
		return errUsage("IPv4 length %d: 0 for none, or one from %d to 32 is wanted in network %s", *length, network.Bits()+1, network)
	}
	return nil
}

// checkAnnounced: what a node may originate beside its own is outside of the
// network, or it would take the prefixes of others. Several tokens may have the
// same: then the nearest node answers (anycast).
func (r *Registry) checkAnnounced(prefixes []netip.Prefix) error {
	for i, p := range prefixes {
		if err := addressing.CheckPrefix(p); err != nil {
			return errUsage("announced prefix: %w", err)
		}
		if p.Bits() == 0 {
			return errUsage("announced prefix %s is the default route: that is the right of a gateway, asked for with --gateway", p)
		}
		if addressing.IsSpecial(p) {
			return errUsage("announced prefix %s: not a prefix of unicast addresses", p)
		}
		for _, n := range r.networks {
			switch {
			case addressing.Covers(n, p):
				return errUsage("announced prefix %s is inside the network's own %s: a node announces its own prefix anyhow, and no other", p, n)
			case addressing.Covers(p, n):
				return errUsage("announced prefix %s contains the network's own %s", p, n)
			}
		}
		if slices.Contains(prefixes[:i], p) {
			return errUsage("announced prefix %s is named twice", p)
		}
	}
	return nil
}

// Tokens lists them.
func (r *Registry) Tokens(ctx context.Context) (api.TokenList, error) {
	all, err := r.store.Tokens(ctx, r.now())
	return api.TokenList{SchemaVersion: api.SchemaVersion, Tokens: all}, r.problem(err)
}

// RevokeToken ends a token. Certificates that it gave stay. It can be repeated.
func (r *Registry) RevokeToken(ctx context.Context, id int64) (api.TokenInfo, error) {
	now := r.now()
	if err := r.store.RevokeToken(ctx, now, id); err != nil {
		return api.TokenInfo{}, r.notFound(err, "no token has the number", "re6stregistry token list shows all")
	}
	r.log.Info("token revoked", "id", id)
	t, err := r.store.Token(ctx, now, id)
	return t, r.problem(err)
}

// Nodes lists them.
func (r *Registry) Nodes(ctx context.Context) (api.NodeList, error) {
	all, err := r.store.Nodes(ctx)
	return api.NodeList{SchemaVersion: api.SchemaVersion, Nodes: all}, r.problem(err)
}

// Node finds one by name, serial, prefix or address.
func (r *Registry) Node(ctx context.Context, which string) (api.NodeDetail, error) {
	n, err := r.store.FindNode(ctx, which)
	if err != nil {
		return api.NodeDetail{}, r.notFound(err, "no node has this name, serial or prefix", "re6stregistry node list shows all")
	}
	tbs, err := r.store.LastTBS(ctx, n.Name)
	if err != nil {
		return api.NodeDetail{}, r.problem(err)
	}
	der, err := r.authority.signNode(tbs)
	if err != nil {
		return api.NodeDetail{}, r.problem(err)
	}
	return api.NodeDetail{SchemaVersion: api.SchemaVersion, Node: n, Certificate: string(ca.EncodeCertificate(der))}, nil
}

// Network tells what the network is, and all parameters with their meaning.
func (r *Registry) Network(context.Context) (api.NetworkInfo, error) {
	s := r.settings.Load()
	p, err := parametersOf(*s)
	if err != nil {
		return api.NetworkInfo{}, r.problem(err)
	}
	out := api.NetworkInfo{
		SchemaVersion: api.SchemaVersion, Version: s.Version, Issued: s.Issued, Domain: s.Domain,
		Prefixes: []netip.Prefix{s.Prefix}, IPv4: []netip.Prefix{}, NodePrefix: s.NodePrefix, IPv4Prefix: s.IPv4Prefix, Registries: s.Registries,
	}
	if s.IPv4.IsValid() {
		out.IPv4 = append(out.IPv4, s.IPv4)
	}
	for _, row := range network.Table() {
		value, err := p.Get(row.Name)
		if err != nil {
			return api.NetworkInfo{}, r.problem(err)
		}
		out.Parameters = append(out.Parameters, api.Parameter{
			Name: row.Name, Value: value, Default: row.Default, Min: row.Min, Max: row.Max, Meaning: row.Meaning,
		})
	}
	return out, nil
}

// parametersOf reads the stored parameters; what an older version did not know
// has its default.
func parametersOf(s store.Settings) (network.Parameters, error) {
	p := network.Defaults()
	if err := json.Unmarshal(s.Parameters, &p); err != nil {
		return network.Parameters{}, fmt.Errorf("reading parameters: %w: %w", store.ErrCorrupt, err)
	}
	return p, nil
}

// SetNetwork changes parameters: all that are named, or none. The document's
// version rises only where a value differs, so that it can be repeated.
func (r *Registry) SetNetwork(ctx context.Context, set api.NetworkSet) (api.NetworkInfo, error) {
	now := r.now()
	settings, err := r.store.ChangeSettings(ctx, func(s *store.Settings) (bool, error) {
		p, err := parametersOf(*s)
		if err != nil {
			return false, err
		}
		before := p
		if err := setAll(&p, set.Parameters); err != nil {
			return false, err
		}
		if p == before {
			return false, nil
		}
		if s.Parameters, err = json.Marshal(p); err != nil {
			return false, err
		}
		s.Issued = now.UTC().Truncate(time.Millisecond)
		document := documentOf(*s, p)
		if err := document.Validate(); err != nil {
			return false, errUsage("%w", err) // a parameter that does not go with this network
		}
		s.Document, err = network.Sign(document, r.authority.ca.Signer())
		return true, err
	})
	if err != nil {
		return api.NetworkInfo{}, r.problem(err)
	}
	r.settings.Store(&settings)
	r.log.Info("network parameters", "version", settings.Version)
	return r.Network(ctx)
}

// setAll sets each, in an order in which every step is valid, where there is
// one: two that limit each other may only be valid together.
func setAll(p *network.Parameters, values map[string]string) error {
	left := map[string]string{}
	for name, value := range values {
		left[name] = value
	}
	for len(left) > 0 {
		var last error
		progress := false
		for _, row := range namesOf(left) {
			if err := p.Set(row, left[row]); err != nil {
				last = err
				continue
			}
			delete(left, row)
			progress = true
		}
		if !progress {
			return errUsage("%w", last)
		}
	}
	return nil
}

// namesOf is in the table's order, unknown names last: errors do not depend on
// the order of a map.
func namesOf(values map[string]string) []string {
	var names []string
	known := map[string]bool{}
	for _, row := range network.Table() {
		known[row.Name] = true
		if _, ok := values[row.Name]; ok {
			names = append(names, row.Name)
		}
	}
	for name := range values {
		if !known[name] {
			names = append(names, name)
		}
	}
	return names
}

// Health says whether all is well.
func (r *Registry) Health(context.Context) (api.Health, error) {
	h := api.Health{SchemaVersion: api.SchemaVersion, Status: "ok", Issuing: true, Time: r.now().UTC()}
	if r.store.Stopped() != "" {
		h.Status, h.Issuing, h.Reason = "stopped", false, "issuing is stopped; the registry's log says why"
	}
	return h, nil
}

func errUsage(format string, args ...any) error {
	return api.NewProblem(http.StatusUnprocessableEntity, api.CodeInvalid, fmt.Errorf(format, args...).Error(), "")
}

func (r *Registry) notFound(err error, detail, hint string) error {
	if errors.Is(err, store.ErrNotFound) {
		return api.NewProblem(http.StatusNotFound, api.CodeNotFound, detail, hint)
	}
	return r.problem(err)
}
