// Package oracle has tests only. They send the same packets through a relay twice,
// by the host's IP stack and with the shortcuts (the eBPF one, and the relay inside
// the process), and compare what comes out on every interface and what comes back.
// The stack is the oracle: what it does is right, whatever it is.
//
// What is not here: whether the shortcut's parts are right by themselves (ebpf,
// internal/fib), and what nodes do with it (internal/e2e).
package oracle
