package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"re6st/internal/config"
	"re6st/internal/durable"
	"re6st/internal/status"
	"re6st/registry"
	"re6st/registry/client"
)

// The rules of what an operator sees: one error is one line with its cause,
// and one line "hint:" with what to do. Nothing else goes to stderr but logs.

// Exit statuses; docs and service units rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
	exitConfig      = 78
)

// A hinted error has its exit status and what to do.
type hinted struct {
	status int
	hint   string
	err    error
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func usage(hint, format string, args ...any) error {
	return &hinted{status: exitUsage, hint: hint, err: fmt.Errorf(format, args...)}
}

// diagnose finds the exit status and the hint of an error.
func diagnose(err error) (exit int, hint string) {
	var own *hinted
	var file *config.FileError
	var state *registry.Error
	var answer *client.Error
	switch {
	case err == nil:
		return exitDone, ""
	case errors.As(err, &own):
		return own.status, own.hint
	case errors.As(err, &file):
		return exitConfig, "the keys are the long flags of the command, see --help"
	case errors.As(err, &answer):
		return exitOf(answer), answer.Hint
	case errors.As(err, &state):
		return map[registry.Kind]int{registry.Failed: exitFailed, registry.Usage: exitUsage, registry.BadState: exitConfig}[state.Kind], state.Hint
	case errors.Is(err, syscall.EADDRINUSE):
		return exitFailed, "another program listens there: ss -ltnp shows which; take another port with --listen"
	case errors.Is(err, syscall.EACCES):
		return exitFailed, "run as root, or as a user that may do this"
	case errors.Is(err, durable.ErrLocked), errors.Is(err, status.ErrNotRunning):
		return exitUnreachable, ""
	}
	return exitFailed, ""
}

// exitOf: what is wrong with an argument shows only at the registry.
func exitOf(e *client.Error) int {
	switch {
	case e.Problem != nil && e.Problem.Code == "invalid-request":
		return exitUsage
	case e.Problem != nil && e.Problem.Status == 404:
		return exitFailed
	case errors.Is(e, client.ErrRefused):
		return exitRefused
	case e.Problem != nil:
		return exitFailed
	}
	return exitUnreachable
}

// report prints an error, and gives the exit status.
func report(w io.Writer, err error) int {
	exit, hint := diagnose(err)
	if err == nil {
		return exit
	}
	fmt.Fprintf(w, "re6stregistry: %s\n", oneLine(err.Error()))
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", oneLine(hint))
	}
	return exit
}

// oneLine keeps an error on its line, whatever it quotes.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ';'
		case r < 0x20 || r == 0x7f:
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}

// printJSON prints a document of the API unchanged.
func printJSON(w io.Writer, document any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(document)
}

// list joins values for a table's cell.
func list[T fmt.Stringer](values []T) string {
	if len(values) == 0 {
		return "-"
	}
	var texts []string
	for _, v := range values {
		texts = append(texts, v.String())
	}
	return strings.Join(texts, ",")
}

// orDash fills an empty cell.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
