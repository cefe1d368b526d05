package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Clsact attaches programs with the means of Linux before 6.6. They outlive us
// unless it removes them: it must know its own by the name it gives them.
// kernel.Filters is one.
type Clsact interface {
	// Attach puts a program, of a name that says what it does, on a hook of the
	// interface.
	Attach(index int, ingress bool, fd int, name string) error
	// Attached says whether it is still there.
	Attached(index int, ingress bool, name string) (bool, error)
	// Detach removes it; it is no error where it is gone.
	Detach(index int, ingress bool, name string) error
}

// hook is a program and its place on an interface.
type hook struct {
	ingress bool
	name    string
	program *ebpf.Program
	last    bool // after other programs on tcx, not before them
}

// attachment is the programs on their hooks.
type attachment interface {
	method() string
	check() error
	close() error
}

// attach takes tcx, or where there is none, clsact. The hooks are taken in order.
func attach(c Clsact, noTCX bool, index int, hooks []hook) (attachment, error) {
	if !noTCX {
		a, err := attachTCX(index, hooks)
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return a, err
		}
	}
	if c == nil {
		return nil, errors.New("this kernel has no tcx (Linux 6.6 and later have it)")
	}
	return attachClsact(c, index, hooks)
}

// tcxLinks end with our process: nothing of them has to be found again.
type tcxLinks []link.Link

func attachTCX(index int, hooks []hook) (attachment, error) {
	var links tcxLinks
	for _, h := range hooks {
		o := link.TCXOptions{Interface: index, Program: h.program, Attach: ebpf.AttachTCXEgress, Anchor: link.Head()}
		if h.ingress {
			o.Attach = ebpf.AttachTCXIngress
		}
		if h.last {
			o.Anchor = link.Tail()
		}
		l, err := link.AttachTCX(o)
		if err != nil {
			return nil, errors.Join(refusal("by tcx", err), links.close())
		}
		links = append(links, l)
	}
	return links, nil
}

func (tcxLinks) method() string { return "tcx" }

func (ls tcxLinks) check() error {
	for _, l := range ls {
		info, err := l.Info()
		if err != nil {
			return fmt.Errorf("asking for a tcx link: %w", err)
		}
		// The kernel sets the index to 0 when the interface goes.
		if tcx := info.TCX(); tcx == nil || tcx.Ifindex == 0 {
			return errors.New("somebody removed the program, or the interface went")
		}
	}
	return nil
}

func (ls tcxLinks) close() error {
	var failures []error
	for _, l := range ls {
		failures = append(failures, l.Close())
	}
	return errors.Join(failures...)
}

// filters are programs on clsact hooks.
type filters struct {
	clsact Clsact
	index  int
	hooks  []hook
}

func attachClsact(c Clsact, index int, hooks []hook) (attachment, error) {
	f := filters{c, index, hooks}
	for _, h := range hooks {
		if err := c.Attach(index, h.ingress, h.program.FD(), h.name); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

func (filters) method() string { return "clsact" }

func (f filters) check() error {
	for _, h := range f.hooks {
		there, err := f.clsact.Attached(f.index, h.ingress, h.name)
		if err != nil {
			return err
		}
		if !there {
			return errors.New("somebody removed the program")
		}
	}
	return nil
}

func (f filters) close() error {
	var failures []error
	for _, h := range f.hooks {
		failures = append(failures, f.clsact.Detach(f.index, h.ingress, h.name))
	}
	return errors.Join(failures...)
}
