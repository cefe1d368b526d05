package wg

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"re6st/internal/lab/solo"
)

// Every kernel has veth, on which the tests stand.
func TestAddLink(t *testing.T) {
	if !solo.Alone(t) {
		return
	}
	l, err := openLinks()
	must(t, err)
	defer l.close()
	must(t, addLink("re6st-t1", "veth"))
	link, err := l.handle.LinkByName("re6st-t1")
	must(t, err)
	if link.Type() != "veth" {
		t.Errorf("it is of kind %s", link.Type())
	}
	if err := addLink("re6st-t1", "veth"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a second one: %v", err)
	}
	if err := addLink("re6st-t2", "no-such"); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("an unknown kind: %v", err)
	}
	must(t, l.handle.LinkDel(link))
}
