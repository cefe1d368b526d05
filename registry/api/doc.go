// Package api has what passes between the registry and those who talk to it:
// the token, the requests and answers of the HTTP API under /v1, and its
// problem documents (RFC 9457). Both sides check with the functions here, so
// that they cannot differ about what is valid.
//
// Three doors lead in. The token's secret: POST /v1/enrol. The node's
// certificate: PUT /v1/node, a node about itself. The unix socket, for the
// commands of the operator: tokens, nodes, the network's parameters. Two
// routes are open to all: GET /v1/network, GET /v1/health.
//
// The package does no I/O and keeps no state. A secret prints as "[secret]"
// whatever the verb, in logs and in JSON that is not a request; Reveal is the
// one way to its text.
package api
