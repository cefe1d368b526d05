// Package control holds the messages of the control API between nodes: what they say, how they look as JSON, and what
// of them is believed.
//
//	GET    /v1/node           NodeInfo        who I am, what I have room for
//	PUT    /v1/tunnels/{id}   Offer, Answer   open a tunnel; idempotent
//	PATCH  /v1/tunnels/{id}   Patch           drain it
//	DELETE /v1/tunnels/{id}                   close it
//	GET    /v1/peers          Peers           a sample of the nodes that the answerer knows
//	GET    /v1/documents      DocumentList    the signed documents of the network
//	POST   /v1/documents      DocumentList    here is a newer one
//	GET    /v1/certificates/{router-id}       Certificates     one node's certificate
//	POST   /v1/certificates   CertificatesWanted, Certificates  those of many
//	GET    /v1/next-hop       NextHop         where a packet goes from here: ?to=ADDRESS&from=ADDRESS
//
// A refusal of any of them is a Refusal.
//
// No message says who sent it. The peer is known by its certificate (mutual TLS), and what is said here about a third
// node is a hint, to be verified by talking to it. Everything that arrives goes through the Parse functions: they bound
// the size before they look, bound every count, and drop endpoints that must never be dialled. Members that they do not
// know are ignored on purpose, so that a later version can add some.
//
// The package holds no state, does no I/O and imports no transport.
package control
