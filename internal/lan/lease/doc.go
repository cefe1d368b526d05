// Package lease decides which IPv4 address a machine of a local network gets: the
// server's side of DHCP (RFC 2131, section 4.3) without its packets.
//
// A Table holds the leases of one network and answers requests. It is a machine
// without I/O: internal/lan reads and writes packets and keeps the leases on
// disk, which must be done before a machine is told that it has one.
//
// It answers for its own subnet alone. To a machine that has an address of
// another subnet it says nothing, where RFC 2131 would let it refuse: on a LAN
// with another DHCP server that would take away the address it has from there.
package lease
