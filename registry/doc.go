// Package registry is the service that lets machines into the network: it
// enrols them, keeps their leases, the directory and the network document, and
// answers over HTTP. What it must not forget is in registry/store, what it
// signs is made in registry/ca.
//
// # Doors
//
// One API, three doors, told apart by the connection and never by an argument or
// a header: anyone over TLS (the token's secret is then checked by enrolment
// itself), a node over TLS with its certificate, the operator on the unix
// socket. The table in routes.go says which door leads to which route; what is
// not in it is denied.
//
// # Enrolment
//
// Requests are checked cheapest first: the budget of the source, the form, the
// request's signature, the token. Then Store.Issue, the CA's signature, the
// journal, the answer, in this order; registry/store says what a crash between
// them leaves. The same key with the same token gets the same certificate.
//
// The package does not parse flags, and is no node: it never imports their side.
package registry
