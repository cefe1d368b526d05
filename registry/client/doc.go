// Package client talks to the registry: a node's requests over HTTPS, and the
// operator's over the unix socket.
//
// The registry is known by the pin of its CA's key alone. The TLS handshake ends
// before the first byte of a request, so that a registry with another key does
// not get one byte of a secret. URLs are tried in order; an answer that refuses
// ends the search, since another URL is the same registry.
//
// The package keeps no state but connections, and does not repeat a request by
// itself: who calls knows when to try again.
package client
