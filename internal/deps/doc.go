// Package deps holds no code: its tests are the house rules that a machine can
// keep.
//
// The import law says which of our packages may import which, who may use a
// library that reaches the kernel, and which packages are pure: no clock, no
// sockets, no files, no log, no goroutine, no mutable package variable, no
// randomness that was not handed in. The law is text, in law_test.go, and works
// both ways: an import that it does not permit fails, and so does a permission
// that nobody uses once both packages exist, so that the text stays true.
//
// The checks read the source with go/parser and resolve names with go/types
// inside one package at a time; foreign packages are left opaque. What they
// cannot see: a package variable that is changed through an alias (a slice
// assigned to a local first), and a library function that reads the clock by
// itself. Both are left to reading.
//
// Every kind of rule has a positive control in testdata: a small tree with a
// planted fault that the check must find, and with code beside it that it must
// leave alone.
//
// A rule is never relaxed to make a build pass. A new package gets its line in
// the law, with the reason where it is not plain.
package deps
