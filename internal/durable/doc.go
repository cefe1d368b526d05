// Package durable writes files that survive: when a call has returned without an
// error, the content is on the disk under its name, and a crash at any moment
// before leaves what was there, whole.
//
// It is an edge of one kind of I/O: the files of a state directory. It knows
// nothing of what they hold, keeps no state but held locks, and retries nothing.
package durable
