package ebpf

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// TranslatorConfig says what is translated and where.
type TranslatorConfig struct {
	Uplink string // interface to the outside
	Pairs  []Pair
	// Clsact attaches where the kernel has no tcx; without one such a kernel is
	// refused.
	Clsact Clsact
	// NoTCX takes Clsact whatever the kernel has: for tests.
	NoTCX bool
}

// A Translator is a pair of programs on an interface.
type Translator struct {
	uplink  net.Interface
	objects translateObjects

	mu       sync.Mutex // guards what follows
	attached attachment
	pairs    []Pair
}

// NewTranslator loads the programs and attaches them. From its return on no
// packet leaves by the uplink with a source inside.
func NewTranslator(c TranslatorConfig) (*Translator, error) {
	config, err := compile(c.Pairs)
	if err != nil {
		return nil, err
	}
	uplink, err := net.InterfaceByName(c.Uplink)
	if err != nil {
		return nil, fmt.Errorf("finding the uplink %q: %w", c.Uplink, err)
	}
	header, err := linkHeaderLen(c.Uplink)
	if err != nil {
		return nil, err
	}
	t := &Translator{uplink: *uplink, pairs: c.Pairs}
	if err := t.load(header); err != nil {
		return nil, err
	}
	if err := t.write(config); err != nil {
		return nil, errors.Join(err, t.objects.Close())
	}
	// Before all others: a program that ends the chain before us would let packets
	// out untranslated. Ingress comes first: an answer that comes in untranslated
	// would be lost, and nothing has left that could be answered.
	t.attached, err = attach(c.Clsact, c.NoTCX, uplink.Index, []hook{
		{ingress: true, name: "npt ingress", program: t.objects.Re6stIngress},
		{name: "npt egress", program: t.objects.Re6stEgress},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attaching prefix translation to %s: %w", c.Uplink, err), t.objects.Close())
	}
	return t, nil
}

// load makes programs and maps in the kernel.
func (t *Translator) load(header uint32) error {
	if err := prepare(); err != nil {
		return err
	}
	spec, err := loadTranslate()
	if err == nil {
		err = spec.Variables[translateVarLinkHeaderLen].Set(header)
	}
	if err == nil {
		err = spec.LoadAndAssign(&t.objects, nil)
	}
	if err != nil {
		return refusal("loading the prefix translation", err)
	}
	return nil
}

// Set changes the pairs. A packet sees the old ones or the new, never a mixture.
func (t *Translator) Set(pairs []Pair) error {
	config, err := compile(pairs)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.write(config); err != nil {
		return err
	}
	t.pairs = pairs
	return nil
}

// write fills the config that is not in use and turns to it. A program that runs
// at this moment goes on with the other, which is not written again before the
// next call: long after, as programs take microseconds.
func (t *Translator) write(config translateConfig) error {
	var active uint32
	if err := t.objects.Active.Get(&active); err != nil {
		return fmt.Errorf("reading which prefixes are in use: %w", err)
	}
	next := (active & 1) ^ 1
	if err := t.objects.Configs.Put(next, config); err != nil {
		return fmt.Errorf("writing the prefixes: %w", err)
	}
	if err := t.objects.Active.Set(next); err != nil {
		return fmt.Errorf("taking the new prefixes into use: %w", err)
	}
	return nil
}

// Pairs gives what is translated.
func (t *Translator) Pairs() []Pair {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pairs
}

// Method says how the programs are attached: tcx or clsact.
func (t *Translator) Method() string { return t.attached.method() }

// Check gives an error where the programs are no longer on the interface: it
// went, or somebody removed them. Then the translator is of no more use: Close it
// and make another. It asks the kernel twice and is cheap.
func (t *Translator) Check() error {
	if err := t.attached.check(); err != nil {
		return fmt.Errorf("prefix translation on %s: %w", t.uplink.Name, err)
	}
	return nil
}

// Close takes the programs from the interface and out of the kernel.
func (t *Translator) Close() error {
	return errors.Join(t.attached.close(), t.objects.Close())
}

// Counters are counts since the programs were loaded.
type Counters struct{ Egress, Ingress Direction }

// Direction counts what went one way.
type Direction struct {
	Packets    uint64 `json:"packets"` // translated, as they are on the wire
	Bytes      uint64 `json:"bytes"`
	Embedded   uint64 `json:"embedded"`   // addresses translated in packets that ICMPv6 errors quote
	Unmapped   uint64 `json:"unmapped"`   // dropped: the address has no counterpart
	Failed     uint64 `json:"failed"`     // dropped: the packet could not be written
	Hairpinned uint64 `json:"hairpinned"` // from inside to the outside prefix, turned back
}

// Counters reads them.
func (t *Translator) Counters() (Counters, error) {
	var c Counters
	for key, d := range map[uint32]*Direction{0: &c.Egress, 1: &c.Ingress} {
		var perCPU []translateCounters
		if err := t.objects.Counts.Lookup(key, &perCPU); err != nil {
			return c, fmt.Errorf("reading the counters of the prefix translation: %w", err)
		}
		for _, n := range perCPU {
			d.Packets += n.Packets
			d.Bytes += n.Bytes
			d.Embedded += n.Embedded
			d.Unmapped += n.Unmapped
			d.Failed += n.Failed
			d.Hairpinned += n.Hairpinned
		}
	}
	return c, nil
}
