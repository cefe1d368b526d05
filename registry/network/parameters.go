package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Parameters are the values that the whole network uses. They apply at once to
// running nodes; a flag of the same name on a node wins over the network's value.
type Parameters struct {
	Tunnels        int      `json:"tunnels"`
	Refresh        Duration `json:"refresh"`
	HelloIdle      Duration `json:"hello_idle"`
	HelloActive    Duration `json:"hello_active"`
	UpdateInterval Duration `json:"update_interval"`
	MinProtocol    int      `json:"min_protocol"`

	// DemandTunnels are opened beyond Tunnels while much traffic goes to a node; 0: none.
	DemandTunnels int `json:"demand_tunnels"`

	// NAT64 is where nodes find the IPv4 Internet in the IPv6 one; invalid: nowhere.
	NAT64 netip.Prefix `json:"nat64"`
}

// Parameter is one row of the table: all that is known about a parameter.
type Parameter struct {
	Name    string
	Meaning string
	Default string
	Min     string
	Max     string
	kind    kind
}

// kind reads and writes one parameter as text.
type kind interface {
	set(p *Parameters, text string) error
	format(p Parameters) string
	check(p Parameters, min, max string) error
}

// Table lists the parameters in the order in which people see them.
func Table() []Parameter {
	return []Parameter{
		{
			"tunnels", "random tunnels that each node opens and keeps", "10", "1", "40",
			count{func(p *Parameters) *int { return &p.Tunnels }},
		},
		{
			"refresh", "time after which a node replaces one of its tunnels", "5m0s", "5s", "24h0m0s",
			span{func(p *Parameters) *Duration { return &p.Refresh }},
		},
		{
			"hello_idle", "time between Babel Hellos on a tunnel that carries little", "4s", "100ms", "1m0s",
			span{func(p *Parameters) *Duration { return &p.HelloIdle }},
		},
		{
			"hello_active", "time between Babel Hellos on a tunnel that carries traffic", "300ms", "50ms", "1m0s",
			span{func(p *Parameters) *Duration { return &p.HelloActive }},
		},
		{
			"update_interval", "time between full Babel updates", "5m0s", "1s", "10m0s",
			span{func(p *Parameters) *Duration { return &p.UpdateInterval }},
		},
		{
			"min_protocol", "oldest version of the control protocol that may take part", "1", "1", "65535",
			count{func(p *Parameters) *int { return &p.MinProtocol }},
		},
		{
			"demand_tunnels", "tunnels that each node opens and accepts beyond the others while much traffic goes there; 0: none", "2", "0", "10",
			count{func(p *Parameters) *int { return &p.DemandTunnels }},
		},
		{
			"nat64", "prefix of length 96 under which gateways with --nat64 show the IPv4 Internet, such as 64:ff9b::/96; empty: none", "", "", "",
			translation{func(p *Parameters) *netip.Prefix { return &p.NAT64 }},
		},
	}
}

// Defaults are the parameters of a new network.
func Defaults() Parameters {
	return Parameters{
		Tunnels:        10,
		Refresh:        Duration(300 * time.Second),
		HelloIdle:      Duration(4 * time.Second),
		HelloActive:    Duration(300 * time.Millisecond),
		UpdateInterval: Duration(300 * time.Second),
		MinProtocol:    1,
		DemandTunnels:  2,
	}
}

// Set changes one parameter from text, or nothing. Valid parameters stay valid, so
// of two that limit each other the wider one has to be set first; an order in
// which each step is valid always exists.
func (p *Parameters) Set(name, value string) error {
	row, err := find(name)
	if err != nil {
		return err
	}
	changed := *p
	if err := row.kind.set(&changed, value); err != nil {
		return fmt.Errorf("parameter %s: %w", name, err)
	}
	if err := changed.Validate(); err != nil {
		return err
	}
	*p = changed
	return nil
}

// Get formats one parameter in the way that Set reads.
func (p Parameters) Get(name string) (string, error) {
	row, err := find(name)
	if err != nil {
		return "", err
	}
	return row.kind.format(p), nil
}

func find(name string) (Parameter, error) {
	var names []string
	for _, row := range Table() {
		if row.Name == name {
			return row, nil
		}
		names = append(names, row.Name)
	}
	return Parameter{}, fmt.Errorf("parameter %.40q: unknown, not one of %s", name, strings.Join(names, ", "))
}

// Validate compares all parameters with their limits, and with each other.
func (p Parameters) Validate() error {
	for _, row := range Table() {
		if err := row.kind.check(p, row.Min, row.Max); err != nil {
			return fmt.Errorf("parameter %s: %w", row.Name, err)
		}
	}
	if p.HelloActive > p.HelloIdle {
		return fmt.Errorf("parameter hello_active: %v is longer than hello_idle, %v", p.HelloActive, p.HelloIdle)
	}
	return nil
}

// count is a parameter that is a whole number.
type count struct{ of func(*Parameters) *int }

func (c count) set(p *Parameters, text string) error {
	v, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%.40q is not a whole number", text)
	}
	*c.of(p) = v
	return nil
}

func (c count) format(p Parameters) string { return strconv.Itoa(*c.of(&p)) }

func (c count) check(p Parameters, min, max string) error {
	var low, high Parameters
	if err := c.set(&low, min); err != nil {
		return err
	}
	if err := c.set(&high, max); err != nil {
		return err
	}
	if v := *c.of(&p); v < *c.of(&low) || v > *c.of(&high) {
		return fmt.Errorf("%d is not between %s and %s", v, min, max)
	}
	return nil
}

// span is a parameter that is a duration.
type span struct{ of func(*Parameters) *Duration }

func (s span) set(p *Parameters, text string) error {
	v, err := ParseDuration(text)
	if err != nil {
		return err
	}
	*s.of(p) = v
	return nil
}

func (s span) format(p Parameters) string { return s.of(&p).String() }

func (s span) check(p Parameters, min, max string) error {
	var low, high Parameters
	if err := s.set(&low, min); err != nil {
		return err
	}
	if err := s.set(&high, max); err != nil {
		return err
	}
	if v := *s.of(&p); v < *s.of(&low) || v > *s.of(&high) {
		return fmt.Errorf("%v is not between %s and %s", v, min, max)
	}
	return nil
}
