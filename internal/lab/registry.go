package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// RegistryPort is where a lab's registry listens.
const RegistryPort = 8443

// Registry is a re6stregistry on a host.
type Registry struct {
	Host  *Host
	State string
	Token string // the first, that init printed
	Proc  *Proc
	urls  []string
}

// Registry makes the state of a registry for the network, with the host's
// addresses as URLs.
func (l *Lab) Registry(h *Host, network string, addrs ...netip.Addr) *Registry {
	l.TB.Helper()
	return l.RegistryWith(h, network, nil, addrs...)
}

// RegistryWith is Registry with more flags of init.
func (l *Lab) RegistryWith(h *Host, network string, flags []string, addrs ...netip.Addr) *Registry {
	l.TB.Helper()
	r := &Registry{Host: h, State: h.Path("registry")}
	args := append([]string{l.Binary("re6stregistry"), "init", "--state", r.State, "--network", network}, flags...)
	for _, a := range addrs {
		if a.IsValid() {
			r.urls = append(r.urls, fmt.Sprintf("https://%v", netip.AddrPortFrom(a, RegistryPort)))
			args = append(args, "--url", r.urls[len(r.urls)-1])
		}
	}
	r.Token = strings.TrimSpace(h.Run(args...))
	return r
}

// Serve starts the server and waits until it listens.
func (r *Registry) Serve() {
	l := r.Host.Lab
	l.TB.Helper()
	r.Proc = r.Host.Start("re6stregistry", l.Binary("re6stregistry"), "serve",
		"--state", r.State, "--listen", fmt.Sprintf(":%d", RegistryPort))
	l.Await("the registry to listen", 20*time.Second, func() error {
		if r.Proc.Exited() {
			return fmt.Errorf("it has ended: %s", r.Proc.Status())
		}
		return r.Host.Dial(netip.AddrPortFrom(netip.IPv6Loopback(), RegistryPort), time.Second)
	})
}

// NewToken makes a token for so many joins, with more flags of token create.
func (r *Registry) NewToken(uses int, flags ...string) string {
	r.Host.Lab.TB.Helper()
	args := []string{"token", "create", "--state", r.State, "--uses", fmt.Sprint(uses)}
	return strings.TrimSpace(r.Admin(append(args, flags...)...))
}

// Admin runs one of the registry's commands.
func (r *Registry) Admin(args ...string) string {
	r.Host.Lab.TB.Helper()
	return r.Host.Run(append([]string{r.Host.Lab.Binary("re6stregistry")}, args...)...)
}

// Kill ends the server at once.
func (r *Registry) Kill() { r.Proc.Kill() }

// Stop ends the server in an orderly way.
func (r *Registry) Stop() {
	r.Host.Lab.TB.Helper()
	if _, err := r.Proc.Stop(syscall.SIGTERM); err != nil {
		r.Host.Lab.TB.Errorf("%v", err)
	}
}
