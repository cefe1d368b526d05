// Package addressing says what follows from a node's prefix: its address, its
// router-id and its link-local addresses, how prefixes and rights are written in
// a certificate, and which prefixes of the network are free.
//
// It is pure: values in, values out. It knows neither leases' owners nor
// certificates, and it decides nothing: who may originate what is the business
// of internal/identity and internal/origin.
//
// What it rests on: RFC 4291 (addresses), RFC 3779 (IP address blocks in
// certificates), RFC 8966, section 2.8 (router-ids), RFC 1035 and 1123 (names).
package addressing
