package device

import (
	"os/exec"
	"testing"
)

// The files are what upstream's and the patches give.
func TestGenerated(t *testing.T) {
	if out, err := exec.Command("../../../../scripts/wireguard-device", "check").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
