package kernel

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// The messages of traffic control that Filters needs, see linux/pkt_sched.h,
// linux/pkt_cls.h and linux/rtnetlink.h: a struct tcmsg and attributes.
const (
	tcmsgLen = 20

	clsactHandle = 0xffff << 16
	clsactParent = 0xfffffff1 // TC_H_CLSACT
	ingressHook  = 0xfffffff2 // TC_H_CLSACT and TC_H_MIN_INGRESS
	egressHook   = 0xfffffff3 // TC_H_CLSACT and TC_H_MIN_EGRESS

	tcaKind     = 1
	tcaOptions  = 2
	tcaBPFFD    = 6
	tcaBPFName  = 7
	tcaBPFFlags = 8

	bpfDirectAction = 1 // TCA_BPF_FLAG_ACT_DIRECT
	filterPriority  = 1
)

// tcObject is a qdisc or a filter: the part of struct tcmsg that says which, its
// kind, and the name that a filter of kind bpf has.
type tcObject struct {
	index                int
	handle, parent, info uint32
	kind, name           string
}

func (o tcObject) message(kind, flags uint16) message {
	fixed := make([]byte, 4, tcmsgLen)
	for _, n := range []uint32{uint32(o.index), o.handle, o.parent, o.info} {
		fixed = native.AppendUint32(fixed, n)
	}
	m := newMessage(kind, flags, fixed...)
	if o.kind == "" {
		return m
	}
	return m.attr(tcaKind, append([]byte(o.kind), 0)...)
}

func parseTCObject(body []byte) (o tcObject, err error) {
	if len(body) < tcmsgLen {
		return o, fmt.Errorf("%w: struct tcmsg of %d bytes", errMessage, len(body))
	}
	field := func(at int) uint32 { return native.Uint32(body[at:]) }
	o = tcObject{index: int(int32(field(4))), handle: field(8), parent: field(12), info: field(16)}
	var options []byte
	err = eachAttr(body[tcmsgLen:], func(kind uint16, v []byte) error {
		switch kind {
		case tcaKind:
			o.kind = cString(v)
		case tcaOptions:
			options = v
		}
		return nil
	})
	if err != nil || o.kind != "bpf" {
		return o, err
	}
	return o, eachAttr(options, func(kind uint16, v []byte) error {
		if kind == tcaBPFName {
			o.name = cString(v)
		}
		return nil
	})
}

func clsactOf(index int) tcObject {
	return tcObject{index: index, handle: clsactHandle, parent: clsactParent, kind: "clsact"}
}

// bpfFilter is a new one: the kernel chooses its handle.
func bpfFilter(index int, hook uint32, fd int, name string) message {
	all := native.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	f := tcObject{index: index, parent: hook, info: filterPriority<<16 | uint32(all), kind: "bpf"}
	named := append([]byte(name), 0)
	const number = attrLen + 4
	length := number + attrLen + (len(named)+3)&^3 + number
	return f.message(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL).attrHeader(tcaOptions, length).
		attrUint32(tcaBPFFD, uint32(fd)).attr(tcaBPFName, named...).attrUint32(tcaBPFFlags, bpfDirectAction)
}

// listTC lists qdiscs (RTM_GETQDISC) or the filters of a hook (RTM_GETTFILTER).
func (h *Host) listTC(request uint16, of tcObject) ([]tcObject, error) {
	var all []tcObject
	err := h.socket.dump(of.message(request, 0), func() { all = nil }, func(_ uint16, body []byte) error {
		o, err := parseTCObject(body)
		all = append(all, o)
		return err
	})
	return all, err
}

func (h *Host) askTC(m message) error { return h.socket.exchange([]message{m})[0] }
