package origin

import (
	"errors"
	"fmt"
	"net/netip"

	"re6st/addressing"
)

// The reasons for a refusal.
var (
	ErrOutside        = errors.New("the prefix is not one of the mesh")
	ErrWhole          = errors.New("the prefix covers a whole network of the mesh")
	ErrRouterID       = errors.New("the router-id is not the one of the prefix")
	ErrSourceSpecific = errors.New("a node prefix has no source prefix")
)

// Policy is what may be announced in a mesh.
type Policy struct {
	networks []netip.Prefix
}

// NewPolicy makes the policy of a mesh from the prefixes of its network.
func NewPolicy(networks []netip.Prefix) Policy {
	masked := make([]netip.Prefix, len(networks))
	for i, n := range networks {
		masked[i] = n.Masked()
	}
	return Policy{networks: masked}
}

// Check is nil where id may announce packets to prefix, from the source prefix
// from (invalid or of length 0: any source). Otherwise the error says why not.
func (p Policy) Check(prefix, from netip.Prefix, id addressing.RouterID) error {
	for _, network := range p.networks {
		if !network.Overlaps(prefix) {
			continue
		}
		if prefix.Bits() <= network.Bits() {
			return ErrWhole
		}
		if from.IsValid() && from.Bits() > 0 {
			return ErrSourceSpecific
		}
		if want := addressing.RouterIDOf(prefix.Masked()); want != id {
			return fmt.Errorf("%w: it is %v, not %v", ErrRouterID, want, id)
		}
		return nil
	}
	return ErrOutside
}
