// Package interop holds no code: its tests let our Babel router talk to those
// that Debian has, babeld and bird2, in every position of chains, diamonds and
// rings. What the peers cannot do, or do in another way than the standards say,
// is not asked of them; docs/babel.md lists it.
package interop
