package main

import (
	"io"

	"re6st/internal/lab"
)

func forwarding(t lab.TB, c config, r *report) {}
func (r *report) forwardTable(w io.Writer)     {}
