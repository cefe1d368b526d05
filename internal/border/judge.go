package border

import (
	"fmt"
	"net/netip"
	"strings"
)

// Upstream is what was seen of a family's way out.
type Upstream struct {
	Interface string     // empty: there is none
	Exists    bool       // the interface does
	Carrier   bool       // up, with a carrier
	Default   bool       // main has a default route by it
	NextHop   netip.Addr // invalid: the link has none
	Neighbour Sign       // of the next hop; Alive where there is none to ask
	Checks    []Check    // what the operator wants asked beyond it
	Missing   string     // what the way out lacks besides, if anything
}

// Check is a host beyond the upstream, and whether it answers.
type Check struct {
	Target netip.Addr
	Sign   Sign
}

// Judge says whether packets can leave by an upstream, and if not, why. One check
// that answers is enough: a host far away may be down for reasons of its own.
func Judge(u Upstream) (isWell bool, why string) {
	switch {
	case u.Missing != "":
		return false, u.Missing
	case u.Interface == "":
		return false, "no default route in the main table"
	case !u.Exists:
		return false, fmt.Sprintf("interface %s does not exist", u.Interface)
	case !u.Carrier:
		return false, fmt.Sprintf("interface %s is down, or has no carrier", u.Interface)
	case !u.Default:
		return false, fmt.Sprintf("no default route by %s in the main table", u.Interface)
	case u.Neighbour == Dead:
		return false, fmt.Sprintf("the next hop %v on %s does not answer", u.NextHop, u.Interface)
	case u.Neighbour == Unknown:
		return false, fmt.Sprintf("the next hop %v on %s has not answered yet", u.NextHop, u.Interface)
	}
	return judgeChecks(u.Checks)
}

func judgeChecks(checks []Check) (isWell bool, why string) {
	if len(checks) == 0 {
		return true, ""
	}
	var silent []string
	isEarly := false
	for _, c := range checks {
		if c.Sign == Alive {
			return true, ""
		}
		isEarly = isEarly || c.Sign == Unknown
		silent = append(silent, c.Target.String())
	}
	if isEarly {
		return false, "no answer yet from " + strings.Join(silent, ", ")
	}
	return false, "no answer from " + strings.Join(silent, ", ")
}
