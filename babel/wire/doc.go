// Package wire is the codec of the Babel routing protocol: datagrams to TLVs
// and back. It holds what the standards call parser state (default prefix,
// router-id, next hop), so that a caller sees complete Updates only. It has no
// opinion on routes, neighbours or time.
//
// A packet (RFC 8966, section 4.2) is
//
//	magic 42 | version 2 | body length (2) | body: TLVs | trailer: TLVs
//
// and a TLV (section 4.3)
//
//	type | length | payload ... | sub-TLVs ...
//
// with Pad1, a single zero octet, as the exception. There is one table of TLVs
// and one of sub-TLVs; a single walker checks the framing of both. Everything is
// decoded before anything is acted upon, and each TLV has one of three results:
// good, ignored alone, or the end of what can be read of the packet.
//
// The reader is lax where the standard says so: unknown TLVs, reserved fields,
// unknown flags and the content of padding are skipped. The writer is strict.
//
// Read: RFC 8966 (Babel), RFC 9079 (Source Prefix), RFC 9229 (AE 4, v4-via-v6),
// RFC 9616 (Timestamp), RFC 8967 (MAC). The TLVs of RFC 8967 have no part in
// Parse: whoever checks them does so before, with Split and Each.
package wire
