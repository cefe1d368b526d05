// Package ca is the certificate profile of a network and the hand that signs it.
// It says what stands in the CA's certificate, a node's and the registry's own,
// and which keys get one.
//
// Issuing is in two steps, so that no signature exists of which the database
// does not know: Prepare* makes the bytes to be signed, the caller stores them,
// and Sign signs what was stored. Signing is deterministic (RFC 6979): the same
// bytes give the same certificate, however often and whenever they are signed.
//
// It allocates nothing, stores nothing and reads no clock. How certificates are
// verified is internal/identity's: the two share no code but the codec of the
// extensions, so that each is a test of the other.
//
// What it rests on: RFC 5280 (certificates), RFC 3779 (IP address blocks), RFC
// 2986 (certification requests).
package ca
