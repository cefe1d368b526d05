package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"re6st/internal/status"
)

func exampleTraffic() status.Traffic {
	stream := func(n float64) status.Stream {
		return status.Stream{BytesPerSecond: n, PacketsPerSecond: n / 1000, Bytes: uint64(n) * 60, Packets: uint64(n) / 16}
	}
	return status.Traffic{
		SchemaVersion: 1, Name: "otter", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Own: stream(1.2e6), Carried: stream(34e6),
		Tunnels: []status.TunnelTraffic{
			{Peer: "badger", Interface: "re6st-01234567", Received: stream(20e6), Sent: stream(15e6), Own: stream(1.2e6), Carried: stream(13.8e6)},
			{Peer: "weasel", Interface: "re6st-89abcdef", Received: stream(950), Sent: stream(20_200_000), Carried: stream(20.2e6)},
		},
		Destinations: []status.DestinationTraffic{
			{Prefix: "2001:db8:42:1::/64", Owner: "weasel", Via: "weasel", Carried: stream(20.2e6)},
			{Prefix: "2001:db8:42:2::/64", Owner: "stoat", Via: "badger", Own: stream(1.2e6), Carried: stream(13.8e6)},
		},
		Other: status.DestinationTraffic{Own: stream(0), Carried: stream(100_000)},
	}
}

func TestTopTable(t *testing.T) {
	const want = `otter  03:04:05 UTC
for others  34.0 MB/s, 34000 packets/s; 2.04 GB so far
own         1.20 MB/s, 1200 packets/s; 72.0 MB so far

TUNNEL  INTERFACE          IN/s    OUT/s    OWN/s  OTHERS/s  PACKETS/s
badger  re6st-01234567  20.0 MB  15.0 MB  1.20 MB   13.8 MB      35000
weasel  re6st-89abcdef    950 B  20.2 MB      0 B   20.2 MB      20201

DESTINATION         OWNER   VIA       OWN/s  OTHERS/s  PACKETS/s   SO FAR
2001:db8:42:1::/64  weasel  weasel      0 B   20.2 MB      20200  1.21 GB
2001:db8:42:2::/64  stoat   badger  1.20 MB   13.8 MB      15000   900 MB
other                                   0 B    100 kB        100  6.00 MB
`
	if got := renderTraffic(exampleTraffic(), 0, 0); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const narrow = `otter  03:04:05 UTC
for others  34.0 MB/s, 34000 packets/s;…
own         1.20 MB/s, 1200 packets/s; …

TUNNEL     IN/s    OUT/s  OTHERS/s
badger  20.0 MB  15.0 MB   13.8 MB
weasel    950 B  20.2 MB   20.2 MB

DESTINATION      OWNER   OWN/s  OTHERS/s
2001:db8:42:1:…  weasel    0 B   20.2 MB
and 2 more
`
	if got := renderTraffic(exampleTraffic(), 40, 11); got != narrow {
		t.Errorf("got\n%s\nwant\n%s", got, narrow)
	}
}

// Whatever the names and the size of the window: no line is longer, there are no
// more lines, and nothing in it moves the cursor.
func TestTopFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := exampleTraffic()
		doc.Name, doc.Unknown = rapid.String().Draw(t, "name"), rapid.String().Draw(t, "why")
		for range rapid.IntRange(0, 40).Draw(t, "tunnels") {
			doc.Tunnels = append(doc.Tunnels, status.TunnelTraffic{Peer: rapid.String().Draw(t, "peer"), Interface: "re6st-00000000"})
		}
		for range rapid.IntRange(0, 200).Draw(t, "destinations") {
			doc.Destinations = append(doc.Destinations, status.DestinationTraffic{
				Prefix: "2001:db8:1111:2222:3333:4444:5555:6666/128", Owner: rapid.String().Draw(t, "owner"),
				Own: status.Stream{BytesPerSecond: rapid.Float64Range(0, 1e20).Draw(t, "rate")},
			})
		}
		width, height := rapid.IntRange(1, 200).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
		text := renderTraffic(doc, width, height)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if len(lines) > height {
			t.Fatalf("%d lines in %d:\n%s", len(lines), height, text)
		}
		for _, l := range lines {
			if n := len([]rune(l)); n > width {
				t.Fatalf("%d characters in %d: %q", n, width, l)
			}
			if strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r > '~' && r != '…' }) {
				t.Fatalf("%q", l)
			}
		}
	})
}

// daemonWith answers for a state directory, which it returns, until the test ends.
func daemonWith(t *testing.T, doc status.Traffic) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("the local socket lies in /run: root is needed")
		}
		t.Skip("the local socket lies in /run: root is needed")
	}
	state := t.TempDir()
	l, err := status.Listen(state)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- status.Serve(ctx, l, status.Documents{"traffic": func() (any, error) { return doc, nil }}, nil)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return state
}

// execTop runs `top` until ctx ends, with its output in a file.
func execTop(ctx context.Context, out io.Writer, args ...string) error {
	root := rootCommand()
	root.SetArgs(append([]string{"top"}, args...))
	root.SetOut(out)
	return root.ExecuteContext(ctx)
}

func TestTopOnce(t *testing.T) {
	state := daemonWith(t, exampleTraffic())
	var text strings.Builder
	if err := execTop(t.Context(), &text, "--once", "--state", state); err != nil || text.String() != renderTraffic(exampleTraffic(), 0, 0) {
		t.Errorf("%v\n%s", err, text.String())
	}
	text.Reset()
	if err := execTop(t.Context(), &text, "--once", "--json", "--state", state); err != nil {
		t.Fatal(err)
	}
	var got status.Traffic
	if err := json.Unmarshal([]byte(text.String()), &got); err != nil || got.Destinations[1].Owner != "stoat" {
		t.Errorf("%v\n%s", err, text.String())
	}
	for _, field := range []string{`"schema_version": 1`, `"bytes_per_second": 34000000`, `"carried"`, `"destinations"`, `"tunnels"`, `"time": "2026-01-02T03:04:05Z"`} {
		if !strings.Contains(text.String(), field) {
			t.Errorf("no %s in\n%s", field, text.String())
		}
	}
}

// Live JSON is a document a line, for a pipe.
func TestTopLiveJSON(t *testing.T) {
	state := daemonWith(t, exampleTraffic())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- execTop(ctx, w, "--json", "--interval", "100ms", "--state", state)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	for i := range 3 {
		if !lines.Scan() {
			t.Fatalf("it ended after %d lines", i)
		}
		var doc status.Traffic
		if err := json.Unmarshal(lines.Bytes(), &doc); err != nil || doc.Name != "otter" {
			t.Errorf("line %d: %v: %s", i, err, lines.Text())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTopRefuses(t *testing.T) {
	for _, args := range [][]string{{"--interval", "1ms"}, {"extra"}, {"--interval", "soon"}} {
		if err := execTop(t.Context(), io.Discard, args...); report(io.Discard, err) != 2 {
			t.Errorf("%v: %v", args, err)
		}
	}
	if err := execTop(t.Context(), io.Discard, "--once", "--state", t.TempDir()); report(io.Discard, err) != 3 {
		t.Errorf("no daemon: %v", err)
	}
}

// pseudoTerminal is a terminal of so many columns and lines with both its ends.
func pseudoTerminal(t *testing.T, columns, lines uint16) (controller, terminal *os.File) {
	t.Helper()
	controller, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { controller.Close() })
	fd := int(controller.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: lines}); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return controller, terminal
}

// On a terminal it uses the other screen, within its width, and leaves the
// terminal as it was: screen, cursor and settings.
func TestTopLeavesTheTerminalAsItWas(t *testing.T) {
	state := daemonWith(t, exampleTraffic())
	controller, terminal := pseudoTerminal(t, 60, 12)
	before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- execTop(ctx, terminal, "--interval", "100ms", "--state", state) }()
	var seen strings.Builder
	read := func(until string) {
		t.Helper()
		buffer := make([]byte, 4096)
		for !strings.Contains(seen.String(), until) {
			n, err := controller.Read(buffer)
			if err != nil {
				t.Fatalf("%v after %q", err, seen.String())
			}
			seen.Write(buffer[:n])
		}
	}
	read(restOfScreen)
	first := seen.String()
	if !strings.HasPrefix(first, otherScreen) || !strings.Contains(first, "DESTINATION") {
		t.Errorf("it begins with %q", first)
	}
	text := strings.NewReplacer(otherScreen, "", topLeft, "", restOfLine, "", restOfScreen, "").Replace(first[:strings.Index(first, restOfScreen)])
	lines := strings.Split(strings.ReplaceAll(text, "\r", ""), "\n") // the terminal adds some
	if len(lines) > 12 {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len([]rune(l)) > 60 || strings.Contains(l, "\x1b") {
			t.Errorf("line %q", l)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	read(formerScreen)
	if !strings.HasSuffix(seen.String(), formerScreen) {
		t.Errorf("it ends with %q", seen.String()[max(0, seen.Len()-40):])
	}
	if after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS); err != nil || *after != *before {
		t.Errorf("the terminal's settings changed: %v", err)
	}
}
