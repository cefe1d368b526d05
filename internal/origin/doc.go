// Package origin answers one question of Babel's import filter: may this
// router-id announce this prefix?
//
// Distance-vector updates are rewritten at each hop, so that the neighbour is
// authenticated says nothing about the origin. What says it is the address
// plan: a node's router-id is a function of its prefix (package addressing),
// so an update for a node prefix tells by itself which router-id may originate
// it. Whatever the plan does not prove is refused: an announcement that nobody
// can vouch for must not attract packets.
//
// The package holds no state and knows no routing protocol. It does not stop a
// member that forges the router-id of its victim too; that takes certificates
// and signatures of the originators.
package origin
