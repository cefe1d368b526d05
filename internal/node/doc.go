// Package node is the daemon: it puts the parts together and takes no decision
// about a protocol.
//
// Join enrols this machine and fills a state directory. Run brings the node up
// from it: kernel plan, tunnels, Babel, the registry's directory, the local
// socket; each is a task that ends when its context does. On the way out the
// order is the reverse of what others rely on: routes are retracted while the
// tunnels still carry, tunnels are closed next, the kernel is put back last.
//
// The state directory holds
//
//	key.pem      the node's identity key; its loss is the only fatal one
//	cert.pem     the certificate; written last by Join, so it says that all is there
//	ca.pem       the mesh's certificate authority
//	network.jws  the newest network document
//	registry.json  where the registry is, and the pin of its key
//	peers.json   peers that were seen, so that the mesh is found without a registry
//	seqno        the first Babel seqno that was never used
//	undo.json    what the host's settings were before us
//	dhcp-IFACE.json  who has which IPv4 address on a local network
//	version      the format of this directory
//	lock         held by the one process that works on it
//
// A file that is damaged is set aside under another name, said in the log, and
// done without, or read from its copy.
package node
