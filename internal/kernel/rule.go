package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// rule is one policy rule as far as ours go. It is comparable.
//
// Rules are composed here as well: the library leaves out suppress_prefixlength
// for every table above 255, and "lookup 326" without it captures everything.
type rule struct {
	family   uint8
	priority uint32
	mark     uint32 // 0: any
	invert   bool   // "not": of the whole rule
	to, from netip.Prefix
	table    uint32 // 0 where jump or unreachable is set
	jump     uint32 // goto
	suppress bool   // suppress_prefixlength 0: default routes do not count
	protocol uint8

	unreachable bool // answers instead of a lookup; table is 0
}

// Attributes of linux/fib_rules.h, and the values that we use.
const (
	fraDst               = 1
	fraSrc               = 2
	fraIifname           = 3
	fraGoto              = 4
	fraPriority          = 6
	fraFwmark            = 10
	fraSuppressPrefixlen = 14
	fraTable             = 15
	fraFwmask            = 16
	fraOifname           = 17
	fraProtocol          = 21

	frActToTable     = 1
	frActGoto        = 2
	frActUnreachable = 7

	fibRuleInvert = 2

	// fib_rule_hdr: family, destination length, source length, tos, table, two
	// reserved, action, u32 flags.
	ruleHeaderLen = 12
)

func (r rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", r.priority)
	if r.invert {
		b.WriteString(" not")
	}
	if r.from.IsValid() {
		fmt.Fprintf(&b, " from %v", r.from)
	} else {
		b.WriteString(" from all")
	}
	if r.to.IsValid() {
		fmt.Fprintf(&b, " to %v", r.to)
	}
	if r.mark != 0 {
		fmt.Fprintf(&b, " fwmark %#x", r.mark)
	}
	switch {
	case r.jump != 0:
		fmt.Fprintf(&b, " goto %d", r.jump)
	case r.unreachable:
		b.WriteString(" unreachable")
	default:
		fmt.Fprintf(&b, " lookup %d", r.table)
	}
	if r.suppress {
		b.WriteString(" suppress_prefixlength 0")
	}
	return b.String()
}

func (r rule) message(kind uint16) message {
	fixed := make([]byte, ruleHeaderLen)
	fixed[0], fixed[7] = r.family, frActToTable
	switch {
	case r.jump != 0:
		fixed[7] = frActGoto
	case r.unreachable:
		fixed[7] = frActUnreachable
	}
	if r.invert {
		native.PutUint32(fixed[8:], fibRuleInvert)
	}
	if r.to.IsValid() {
		fixed[1] = uint8(r.to.Bits())
	}
	if r.from.IsValid() {
		fixed[2] = uint8(r.from.Bits())
	}
	flags := uint16(unix.NLM_F_ACK)
	if kind == unix.RTM_NEWRULE {
		flags |= unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	m := newMessage(kind, flags, fixed...)
	if r.to.IsValid() {
		m = m.attr(fraDst, r.to.Addr().AsSlice()...)
	}
	if r.from.IsValid() {
		m = m.attr(fraSrc, r.from.Addr().AsSlice()...)
	}
	m = m.attrUint32(fraPriority, r.priority)
	if r.mark != 0 {
		m = m.attrUint32(fraFwmark, r.mark).attrUint32(fraFwmask, 0xffffffff)
	}
	switch {
	case r.jump != 0:
		m = m.attrUint32(fraGoto, r.jump)
	case !r.unreachable:
		m = m.attrUint32(fraTable, r.table)
	}
	if r.suppress {
		m = m.attrUint32(fraSuppressPrefixlen, 0)
	}
	return m.attr(fraProtocol, r.protocol)
}

// parseRule reads the body of RTM_NEWRULE. What our rules never have makes it
// foreign: it compares equal to none of ours.
func parseRule(b []byte) (r rule, foreign bool, err error) {
	if len(b) < ruleHeaderLen {
		return rule{}, false, fmt.Errorf("%w: rule of %d bytes", errMessage, len(b))
	}
	dst, src, err := unspecified(b[0])
	if err != nil {
		return rule{}, false, err
	}
	r.family, r.table = b[0], uint32(b[4])
	r.invert = native.Uint32(b[8:])&fibRuleInvert != 0
	r.unreachable = b[7] == frActUnreachable
	foreign = b[3] != 0 || (b[7] != frActToTable && b[7] != frActGoto && !r.unreachable)
	err = eachAttr(b[ruleHeaderLen:], func(kind uint16, v []byte) (err error) {
		n := uint32(0)
		switch kind {
		case fraDst:
			dst, err = addrLike(dst, v)
		case fraSrc:
			src, err = addrLike(src, v)
		case fraGoto:
			r.jump, err = uint32Of(v)
		case fraPriority:
			r.priority, err = uint32Of(v)
		case fraFwmark:
			r.mark, err = uint32Of(v)
		case fraFwmask:
			n, err = uint32Of(v)
			foreign = foreign || (n != 0 && n != 0xffffffff)
		case fraTable:
			r.table, err = uint32Of(v)
		case fraSuppressPrefixlen:
			n, err = uint32Of(v)
			r.suppress = n == 0
			foreign = foreign || (n != 0 && n != 0xffffffff)
		case fraProtocol:
			if len(v) != 1 {
				return fmt.Errorf("%w: protocol of %d bytes", errMessage, len(v))
			}
			r.protocol = v[0]
		case fraIifname, fraOifname:
			foreign = true
		}
		return err
	})
	if err != nil {
		return rule{}, false, err
	}
	if b[1] != 0 {
		if r.to, err = dst.Prefix(int(b[1])); err != nil {
			return rule{}, false, fmt.Errorf("%w: destination: %w", errMessage, err)
		}
	}
	if b[2] != 0 {
		if r.from, err = src.Prefix(int(b[2])); err != nil {
			return rule{}, false, fmt.Errorf("%w: source: %w", errMessage, err)
		}
	}
	if r.jump != 0 || r.unreachable {
		r.table = 0
	}
	return r, foreign, nil
}

// rulesOf lists the rules of protocol 42 with one of the priorities: ours.
func (h *Host) rulesOf(priorities func(uint32) bool) (ours, strange []rule, err error) {
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		start, startStrange := len(ours), len(strange)
		fixed := make([]byte, ruleHeaderLen)
		fixed[0] = fam
		reset := func() { ours, strange = ours[:start], strange[:startStrange] }
		err := h.socket.dump(newMessage(unix.RTM_GETRULE, 0, fixed...), reset, func(kind uint16, body []byte) error {
			if kind != unix.RTM_NEWRULE {
				return nil
			}
			r, foreign, err := parseRule(body)
			switch {
			case err != nil:
				return err
			case r.protocol != Protocol || !priorities(r.priority):
			case foreign:
				strange = append(strange, r)
			default:
				ours = append(ours, r)
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("listing rules: %w", err)
		}
	}
	return ours, strange, nil
}

// syncRules makes the rules of protocol 42 at our priorities exactly the wanted
// ones. It says which were missing.
func (h *Host) syncRules(priorities func(uint32) bool, wanted []rule) (missing []rule, err error) {
	found, strange, err := h.rulesOf(priorities)
	if err != nil {
		return nil, err
	}
	have := make(map[rule]bool, len(found))
	want := make(map[rule]bool, len(wanted))
	for _, r := range wanted {
		want[r] = true
	}
	var requests []message
	var about []string
	surplus := strange
	for _, r := range found {
		if have[r] || !want[r] {
			surplus = append(surplus, r)
		}
		have[r] = true
	}
	// Add before deleting: between the two no packet may slip past all rules.
	for _, r := range wanted {
		if !have[r] {
			missing = append(missing, r)
			requests, about = append(requests, r.message(unix.RTM_NEWRULE)), append(about, "adding rule "+r.String())
		}
	}
	for _, r := range surplus {
		requests, about = append(requests, r.message(unix.RTM_DELRULE)), append(about, "deleting rule "+r.String())
	}
	var failures []error
	for i, err := range h.socket.exchange(requests) {
		if err != nil && !errors.Is(err, unix.EEXIST) && !isAbsent(err) {
			failures = append(failures, fmt.Errorf("%s: %w", about[i], err))
		}
	}
	return missing, errors.Join(failures...)
}
