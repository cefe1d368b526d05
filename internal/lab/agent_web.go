package lab

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"
)

// Web starts a web server on the address. Its page names the host and tells
// the client's address; /drip?kb=N&ms=M sends N KiB, one each M milliseconds,
// and then a last line: a transfer that takes its time.
func (a *Agent) Web(listen string, _ *struct{}) error {
	l, err := a.listen(listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.page)
	mux.HandleFunc("GET /drip", drip)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	return nil
}

func (a *Agent) page(w http.ResponseWriter, r *http.Request) {
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "This is %s. You are %v.\n", a.name, client.Addr().Unmap())
}

// dripEnd is the last line of a whole transfer.
const dripEnd = "That was all.\n"

func drip(w http.ResponseWriter, r *http.Request) {
	count, err1 := strconv.Atoi(r.FormValue("kb"))
	pause, err2 := strconv.Atoi(r.FormValue("ms"))
	if err1 != nil || err2 != nil || pause < 1 {
		http.Error(w, "want kb and ms", http.StatusBadRequest)
		return
	}
	tick := time.NewTicker(time.Duration(pause) * time.Millisecond)
	defer tick.Stop()
	chunk := bytes.Repeat([]byte("x"), 1024)
	out := http.NewResponseController(w)
	for range count {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		w.Write(chunk)
		out.Flush()
	}
	fmt.Fprint(w, dripEnd)
}

// Web starts a web server on the host, until Unserve.
func (h *Host) Web(listen string) {
	h.Lab.TB.Helper()
	Must(h.Lab.TB, h.call("Web", listen, &struct{}{}))
}

// Page fetches the page of a web server with curl, and returns the address with
// which the server saw the host.
func (h *Host) Page(from netip.Addr, timeout time.Duration) (seen netip.Addr, err error) {
	out, err := h.Try("curl", "-sS", "-g", "--max-time", fmt.Sprintf("%.1f", timeout.Seconds()), webURL(from, "/"))
	if err != nil {
		return seen, err
	}
	var name, text string
	if _, err := fmt.Sscanf(out, "This is %s You are %s", &name, &text); err != nil {
		return seen, fmt.Errorf("%s: the page of %v is %q", h.Name, from, out)
	}
	return netip.ParseAddr(text[:len(text)-1])
}

func webURL(server netip.Addr, path string) string {
	return "http://" + netip.AddrPortFrom(server, 80).String() + path
}

// Transfer is a download that takes its time.
type Transfer struct {
	proc *Proc
	path string
	size int
}

// Transfer starts to download, over one TCP connection, so long at 50 KiB a
// second.
func (h *Host) Transfer(from netip.Addr, length time.Duration) *Transfer {
	h.Lab.TB.Helper()
	const pause = 20 * time.Millisecond
	count := int(length / pause)
	t := &Transfer{path: h.Path(fmt.Sprintf("transfer-%d", len(h.Lab.procs))), size: count*1024 + len(dripEnd)}
	t.proc = h.Start("curl", "curl", "-sS", "-g", "-o", t.path, webURL(from, fmt.Sprintf("/drip?kb=%d&ms=%d", count, pause.Milliseconds())))
	return t
}

// Wait waits for the end of the transfer, and is content if all of it came.
func (t *Transfer) Wait(timeout time.Duration) error {
	code, err := t.proc.Wait(timeout)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(t.path)
	if err != nil {
		return err
	}
	if code != 0 || len(b) != t.size || !bytes.HasSuffix(b, []byte(dripEnd)) {
		return fmt.Errorf("%s: status %d, %d of %d bytes: %s", t.proc.Name, code, len(b), t.size, t.proc.Output())
	}
	return nil
}

// Ended says whether the transfer is over, well or not.
func (t *Transfer) Ended() bool { return t.proc.Exited() }
