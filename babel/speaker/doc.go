// Package speaker runs one babel.Engine: a UDP socket for each interface, the
// clock, and a forwarding table. It knows no TLV and decides nothing about
// routes; the engine knows no socket.
//
//	socket --reader--> inbox --\
//	other goroutines -> posts ---> loop: Engine --> Reserve, FIB, sockets, log
//	clock --------------------/
//
// The loop alone touches the engine. Effects are carried out in the order of
// babel.Output: what must be durable, routes, packets, events. When there are many
// routes, Hellos go between them, and Updates wait. Everything else
// may be called by any goroutine, at any time: it is posted to the loop.
package speaker
