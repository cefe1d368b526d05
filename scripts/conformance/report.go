package main

import (
	"errors"
	"fmt"
	"io"
)

// report says how many numbers are shown and how many are excused. Its error
// names everything that is wrong.
func report(w io.Writer, demands []demand, excuses map[int]string, tests []test, res results) error {
	shown, problems := map[int]bool{}, []error{}
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(format, args...))
	}
	tried, failed := map[int]string{}, map[int]bool{}
	for _, t := range tests {
		for _, n := range t.numbers {
			if n < 1 || n > len(demands) {
				wrong("%s %s: there is no number %03d", t.pkg, t.name, n)
				continue
			}
			tried[n] = t.name
			switch res[t.id()] {
			case "pass":
				shown[n] = true
			case "fail":
				failed[n] = true
				wrong("%03d: %s failed", n, t.name)
			}
		}
	}
	for n := range excuses {
		if n < 1 || n > len(demands) {
			wrong("docs/babel.md: there is no number %03d", n)
		}
	}
	passed, excused := 0, 0
	for _, d := range demands {
		why, isExcused := excuses[d.number]
		switch {
		case failed[d.number]:
		case shown[d.number]:
			passed++
		case tried[d.number] != "":
			wrong("%03d: %s was not run: %s", d.number, tried[d.number], d.text)
		case isExcused && d.isOptional():
			excused++
			fmt.Fprintf(w, "%03d not done: %s\n", d.number, why)
		case isExcused:
			wrong("%03d is %s and cannot be excused: %s", d.number, d.level, d.text)
		default:
			wrong("%03d has no test: %s", d.number, d.text)
		}
	}
	fmt.Fprintf(w, "%d numbers: %d shown by tests, %d not done and said why\n", len(demands), passed, excused)
	return errors.Join(problems...)
}
