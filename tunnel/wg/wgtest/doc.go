// Package wgtest is the in-memory twin of tunnel/wg's backends: devices without
// interfaces, for tests of what uses tunnels.
//
// All backends of one Network can reach each other. Two devices have a session
// as soon as each has the other as its peer, with the right keys and the same
// pre-shared key, and at least one knows the other's endpoint; the handshake is
// immediate. Stats show it, with the time of the moment (that of the bubble in
// testing/synctest), as the real ones would.
//
// It carries no packets: Deliver counts some as if they had passed. It makes no
// goroutines and is safe for several.
package wgtest
