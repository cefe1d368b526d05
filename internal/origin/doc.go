// Package origin answers one question of Babel's import filter: may this
// router-id announce this prefix?
//
// Distance-vector updates are rewritten at each hop, so that the neighbour is
// authenticated says nothing about the origin. Two things say it. For a node's
// own prefix it is the address plan: the router-id is a function of the prefix
// (package addressing), so the update tells by itself who may originate it. For
// all else it is the certificate of that router-id, which lists what the node may
// originate, exactly: its IPv4 subnet, prefixes from outside of the network, and
// whether it may originate default routes. Claims is the set of certificates that
// are at hand, and the answer that follows from them.
//
// It is pure: it neither verifies certificates (internal/identity does), nor
// fetches them, nor knows a routing protocol, nor reads a clock. What no
// certificate can vouch for is refused; what one that is not at hand might is
// Unknown, and the caller goes and gets it.
//
// It does not stop a member that forges the router-id of its victim too; that
// takes signatures of the originators.
package origin
