// Package agent is the loop at the edge of the tunnels: it owns one tunnel.Manager, and carries out what that decides.
//
// It speaks the control API with other nodes (HTTP/3 and HTTP/2 with mutual TLS, transport*.go), creates and removes
// WireGuard devices (tunnel/wg), tells the routing about interfaces, and reads the clock. It takes no decision about
// which tunnels to have or when one ends: those are in package tunnel. It knows nothing of Babel but the few methods of
// Routing.
//
// One goroutine owns the machine. Everything else (a server's handler, a call's result, a device's statistics) is posted
// to it. Calls and device operations run in goroutines of their own, a bounded number at a time, and the loop waits for
// all of them before Run returns.
package agent
