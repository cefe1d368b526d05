package kernel

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ErrClaimed: another instance that runs on this host uses the same table or
// the same rule priorities.
var ErrClaimed = errors.New("in use by another instance of re6st on this host")

// claim is held while we use a table and a range of priorities: what stands at
// one of them is taken for ours. It is an
// abstract socket: such names are per network namespace, as the tables are, and
// end with their process, however it ends.
type claim struct{ sockets []*net.UnixListener }

func takeClaim(p Plan) (*claim, error) {
	c := &claim{}
	names := map[string]string{fmt.Sprintf("table %d", p.Table): "table"}
	for offset := range uint32(offsetOf + 1) {
		if p.RulePriority != 0 { // a lone router has no rules
			names[fmt.Sprintf("rule priority %d", p.RulePriority+offset)] = "rule priority"
		}
	}
	for name, hint := range names {
		l, err := claimName("@re6st " + name)
		if err != nil {
			c.release()
			return nil, fmt.Errorf("%s: %w; give this one another %s", name, err, hint)
		}
		if l != nil {
			c.sockets = append(c.sockets, l)
		}
	}
	return c, nil
}

// claimName gives no listener and no error where a stranger has the name:
// abstract names have no owner, so that any user could keep us from starting.
func claimName(name string) (*net.UnixListener, error) {
	addr := &net.UnixAddr{Name: name, Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("claiming it: %w", err)
	}
	conn, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		return nil, ErrClaimed
	}
	defer conn.Close()
	if uid, err := peerUID(conn); err == nil && uid != uint32(os.Geteuid()) && uid != 0 {
		return nil, nil
	}
	return nil, ErrClaimed
}

func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

func (c *claim) release() {
	for _, s := range c.sockets {
		_ = s.Close()
	}
	c.sockets = nil
}
