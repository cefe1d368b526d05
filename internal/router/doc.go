// Package router is the Babel engine alone: it makes any Linux machine a Babel
// router, without a mesh, certificates or a registry. It is an assembly, of
// babel/speaker with the kernel's tables, links and sysctls; it decides nothing
// about routes.
//
//	kernel.Watch --links, addresses--> interfaces --up, down, MTU--> speaker
//	speaker --routes--> kernel.Apply      speaker --snapshots--> local socket
//
// # What it puts into the kernel, and how it is known to be ours
//
// Routes in one table (main by default), of protocol 42 and of the kernel's
// metric Priority: no other program uses the two together, so that cleaning up
// after a SIGKILL takes our routes and nobody else's, in a table that is shared
// with other daemons, and so that replacing a route of ours never replaces
// another's. Sysctls as internal/kernel has them: forwarding on, accept_ra=2 where
// an interface would stop listening. What it announces it does not install: that
// is the host's own.
//
// # The state directory
//
//	lock       held while it runs
//	router-id  drawn at random once
//	seqno      the first Babel seqno that was never used
//	undo.json  what to take back from the kernel after a crash
package router
