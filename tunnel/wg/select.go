package wg

import (
	"errors"
	"fmt"
	"log/slog"
)

// Select gives the backend of a kind, and for the log a sentence that says which
// and why. Kinds are Auto, Kernel and Userspace. Where the kind asked for is not
// to be had, the error wraps ErrUnsupported and says what helps.
func Select(kind string, ports PortRange, log *slog.Logger) (b Backend, reason string, err error) {
	switch kind {
	case Kernel:
		b, err = newKernel(ports)
		return b, "kernel WireGuard, as configured", err
	case Userspace:
		b, err = newUserspace(ports, log)
		return b, "wireguard-go in this process, as configured", err
	case Auto, "":
		return selectAuto(ports, log)
	}
	return nil, "", fmt.Errorf("WireGuard backend %q: want %s, %s or %s", kind, Auto, Kernel, Userspace)
}

func selectAuto(ports PortRange, log *slog.Logger) (Backend, string, error) {
	b, kernelErr := newKernel(ports)
	if kernelErr == nil {
		return b, "kernel WireGuard: a probe interface could be made", nil
	}
	if !errors.Is(kernelErr, ErrUnsupported) {
		return nil, "", kernelErr
	}
	u, err := newUserspace(ports, log)
	if err != nil {
		return nil, "", errors.Join(kernelErr, err)
	}
	return u, fmt.Sprintf("wireguard-go in this process: %v", kernelErr), nil
}
