// Package mac authenticates Babel packets: RFC 8967, with the relaxed packet
// counters of RFC 9467. It is pure: time and randomness are arguments.
//
// An Interface has a set of keys and does both directions. Seal ends a packet
//
//	header | TLVs ... | PC TLV || MAC TLV for each key (the trailer)
//
// with a packet counter that no other packet of this interface has, and Verify
// judges one that has arrived:
//
//	no MAC TLV in the trailer, or none that a key of ours makes   refused
//	a Challenge Reply with the nonce that we sent                 accepted
//	index unknown, or another than the peer's                     refused, challenge it
//	counter seen before, or older than the window                 refused
//	otherwise                                                     accepted
//
// A peer's life:
//
//	nothing known -- packet with a good MAC --> challenged (nonce, 30 s)
//	challenged -- reply with the nonce --> known (index, counters)
//	known -- packet with another index --> known and challenged
//	known -- 5 minutes without an accepted packet --> nothing known
//
// # What an outsider can do
//
// Whoever has no key makes us compute one MAC for each of our keys, and remember
// nothing. Replayed packets have a good MAC, but their source is covered by it:
// each address that ever used the key may cost one entry of a bounded table, and
// one packet of ours in 300 ms. An entry with a challenge that may still be
// answered is not given up for another, and one that is known never.
//
// # What it does not do
//
// It hides nothing, and it does not tell those who have the key from each other.
package mac
