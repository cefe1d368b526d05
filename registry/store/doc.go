// Package store keeps what the registry must not forget: SQLite, its schema and
// migrations, the transactions, and the issuance journal beside the database.
//
// # Issuing
//
// One immediate transaction consumes a use of the token, draws a prefix, takes
// a serial and stores the bytes to be signed. Then the caller signs, which is
// deterministic, then Record appends the record to the journal and syncs it,
// then the answer may leave. What is found after a crash:
//
//	before the commit            nothing: the token has its use, no lease exists
//	commit .. journal synced     the database is ahead; Open appends what misses.
//	                             The certificate never left, or leaves at the retry
//	after the journal            the retry of the same key and token gets the
//	                             same certificate, signed anew with the same bytes
//
// A journal that is ahead of its database means that the database is an older
// copy: leases exist that it does not know. Then nothing is issued until Replay
// has put them back.
//
// # Ownership
//
// One connection writes, under Store.writer; it owns the space of free prefixes
// and the queue of records that the journal lacks. A pool of read-only
// connections serves everything else. The state directory is locked for the
// Store's lifetime.
//
// The package does not sign, knows no HTTP, and never frees a lease.
package store
