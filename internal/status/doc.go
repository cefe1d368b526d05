// Package status is the operator's view of a running node: the documents that
// the commands print, and the local socket over which they are asked for.
//
// The socket speaks HTTP on /run/re6st/<hash of the state directory>.sock, mode
// 0660, group re6st where that group exists. It is reachable from this host
// alone, and by root and that group alone: what is asked here is not for peers.
//
// The JSON field names are stable; SchemaVersion rises when one changes its
// meaning or goes. Times are RFC 3339 in UTC; durations are seconds unless the
// name ends in _ms. The package only carries the documents: internal/node
// fills them in.
package status
