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

// tcxLinks end with our process: nothing of them has to be found again.
type tcxLinks []link.Link

// attachTCX puts the programs before all others on their hooks: a program that
// ends the chain before us would let packets out untranslated.
func attachTCX(index int, egress, ingress *ebpf.Program) (attachment, error) {
	var links tcxLinks
	for _, o := range []link.TCXOptions{
		{Interface: index, Program: ingress, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()},
		{Interface: index, Program: egress, Attach: ebpf.AttachTCXEgress, Anchor: link.Head()},
	} {
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
}

// hooks of a translator: ingress first, see attach.
var hooks = []struct {
	ingress bool
	name    string
}{{true, "npt ingress"}, {false, "npt egress"}}

func attachClsact(c Clsact, index int, egress, ingress *ebpf.Program) (attachment, error) {
	f := filters{c, index}
	for _, h := range hooks {
		program := egress
		if h.ingress {
			program = ingress
		}
		if err := c.Attach(index, h.ingress, program.FD(), h.name); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

func (filters) method() string { return "clsact" }

func (f filters) check() error {
	for _, h := range hooks {
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
	for _, h := range hooks {
		failures = append(failures, f.clsact.Detach(f.index, h.ingress, h.name))
	}
	return errors.Join(failures...)
}
