// Package network is the network document: what all nodes of a network have to
// agree on, signed by the CA's key, with a version that only rises. Nodes get it
// from the registry or from any peer, so that nobody but the signature is
// trusted for it.
//
// It is pure: it signs, verifies, compares and describes documents. It neither
// fetches nor keeps them, and it does not apply parameters.
//
// A document is a JWS in compact serialization (RFC 7515, section 7.1) with
// ES256 (RFC 7518, section 3.4) over JSON. Members that we do not know are
// ignored, so that a newer registry can add some; what we know must be valid, as
// a node that applies half of a document is in no network at all.
package network
