// Package measure is what the benchmark programs of scripts/ have in common: what
// a process has cost, medians and ratios of rounds, and the forms in which figures
// are printed and stored. It makes no load, and knows nothing of what is measured.
//
// No part of the product imports it.
package measure
