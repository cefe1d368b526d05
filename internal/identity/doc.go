// Package identity says who is at the other end: it verifies certificates of
// nodes and of the registry against the network's CA, and makes the tls.Config
// of every connection between them.
//
// It is pure: certificates and the time go in, a Node or an error comes out. It
// holds no keys, opens no connections and remembers nothing, so that whoever
// keeps a connection for long asks again with PeerOf.
//
// The rules, whose other half is the profile of registry/ca:
//
//   - Keys are ECDSA P-256, of the CA too. TLS is 1.3.
//   - A node's certificate has one IPv6 prefix and at most one IPv4 prefix, as a
//     critical RFC 3779 block inside the CA's blocks. Its one address is the one
//     that follows from the prefix; its one DNS name begins with its name.
//   - What it may originate beyond its prefix stands in the rights extension, and
//     nowhere else.
//   - The registry's server certificate has the role extension and no blocks; a
//     node's has no role. Neither passes as the other.
//
// All checks run in tls.Config.VerifyConnection. VerifyPeerCertificate is not
// called for a resumed session, and the verification that crypto/tls does by
// itself fails on the critical block, which crypto/x509 does not know. Sessions
// are never resumed: what was verified once may have expired or been revoked.
package identity
