package network

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Every field has a row, every row a field: none can be forgotten.
func TestTable(t *testing.T) {
	fields := reflect.TypeFor[Parameters]()
	if n := len(Table()); n != fields.NumField() {
		t.Fatalf("%d rows, %d fields", n, fields.NumField())
	}
	defaults := Defaults()
	for i, row := range Table() {
		if tag := fields.Field(i).Tag.Get("json"); tag != row.Name {
			t.Errorf("row %d is %s, the field %s", i, row.Name, tag)
		}
		if row.Meaning == "" || strings.HasSuffix(row.Meaning, ".") {
			t.Errorf("%s means %q", row.Name, row.Meaning)
		}
		if got, err := defaults.Get(row.Name); err != nil || got != row.Default {
			t.Errorf("the default of %s is %q, %v, in the table %q", row.Name, got, err, row.Default)
		}
		for _, value := range []string{row.Default, row.Min, row.Max} {
			var alone Parameters
			if err := row.kind.set(&alone, value); err != nil {
				t.Errorf("%s=%s: %v", row.Name, value, err)
			}
			if got := row.kind.format(alone); got != value {
				t.Errorf("%s=%s is written %s", row.Name, value, got)
			}
			if err := row.kind.check(alone, row.Min, row.Max); err != nil {
				t.Errorf("%s=%s: %v", row.Name, value, err)
			}
		}
	}
	if err := defaults.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestParametersSet(t *testing.T) {
	for _, test := range []struct{ name, value, want, wantErr string }{
		{name: "tunnels", value: "40", want: "40"},
		{name: "tunnels", value: "41", wantErr: "not between 1 and 40"},
		{name: "tunnels", value: "0", wantErr: "not between"},
		{name: "tunnels", value: "-1", wantErr: "not between"},
		{name: "tunnels", value: "3.5", wantErr: "not a whole number"},
		{name: "tunnels", value: "99999999999999999999", wantErr: "not a whole number"},
		{name: "refresh", value: "5", want: "5s"},
		{name: "refresh", value: "10m", want: "10m0s"},
		{name: "refresh", value: "24h", want: "24h0m0s"},
		{name: "refresh", value: "4.9s", wantErr: "not between 5s and 24h0m0s"},
		{name: "refresh", value: "86401", wantErr: "not between"},
		{name: "refresh", value: "", wantErr: "empty"},
		{name: "refresh", value: "-5m", wantErr: "not between"},
		{name: "refresh", value: "soon", wantErr: "not a number of seconds"},
		{name: "refresh", value: "9999999999999999999h", wantErr: "not a number"},
		{name: "refresh", value: "NaN", wantErr: "not a number"},
		{name: "refresh", value: "1..5", wantErr: "not a number"},
		{name: "hello_active", value: "0.3", want: "300ms"},
		{name: "hello_active", value: "49ms", wantErr: "not between 50ms and 1m0s"},
		{name: "hello_active", value: "5s", wantErr: "longer than hello_idle"},
		{name: "hello_idle", value: "100ms", wantErr: "longer than hello_idle"},
		{name: "min_protocol", value: "2", want: "2"},
		{name: "demand_tunnels", value: "0", want: "0"},
		{name: "demand_tunnels", value: "10", want: "10"},
		{name: "demand_tunnels", value: "11", wantErr: "not between 0 and 10"},
		{name: "nat64", value: "64:ff9b::/96", want: "64:ff9b::/96"},
		{name: "nat64", value: "", want: ""},
		{name: "nat64", value: "64:ff9b::/64", wantErr: "not of length 96"},
		{name: "nat64", value: "64:ff9b::1/96", want: "", wantErr: "bits beyond"},
		{name: "nat64", value: "192.0.2.0/24", wantErr: "not an IPv6 prefix"},
		{name: "nat64", value: "::ffff:0:0/96", wantErr: "not for addresses of hosts"},
		{name: "nat64", value: "::/96", wantErr: "not for addresses of hosts"},
		{name: "nat64", value: "ff0e::/96", wantErr: "not for addresses of hosts"},
		{name: "nat64", value: "fe80::/96", wantErr: "not for addresses of hosts"},
		{name: "nat64", value: "2001:db8:0:0:100::/96", wantErr: "bits 64 to 71"},
		{name: "nat64", value: "on", wantErr: "not a prefix such as"},
		{name: "Tunnels", value: "3", wantErr: "unknown, not one of tunnels, refresh"},
	} {
		p := Defaults()
		err := p.Set(test.name, test.value)
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%s=%s: %v, want an error with %q", test.name, test.value, err, test.wantErr)
			}
			if p != Defaults() {
				t.Errorf("%s=%s was refused and changed %+v", test.name, test.value, p)
			}
			continue
		}
		if got, _ := p.Get(test.name); err != nil || got != test.want {
			t.Errorf("%s=%s is %s, %v, want %s", test.name, test.value, got, err, test.want)
		}
	}
	if _, err := Defaults().Get("absent"); err == nil {
		t.Error("an absent parameter has a value")
	}
}

// Two parameters that limit each other can reach any valid pair of values from
// any other, in one of the two orders.
func TestParametersSetInSomeOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := drawParameters(t), drawParameters(t)
		set := func(names ...string) bool {
			p := from
			for _, name := range names {
				text, err := to.Get(name)
				if err != nil {
					t.Fatal(err)
				}
				if p.Set(name, text) != nil {
					return false
				}
				if err := p.Validate(); err != nil {
					t.Errorf("after %s=%s: %v", name, text, err)
				}
			}
			return true
		}
		if !set("hello_idle", "hello_active") && !set("hello_active", "hello_idle") {
			t.Errorf("no way from %+v to %+v", from, to)
		}
	})
}

func TestDurationIsSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		300 * time.Millisecond: "0.3", 5 * time.Minute: "300", 0: "0", time.Nanosecond: "0.000000001",
	} {
		if got, err := json.Marshal(Duration(d)); err != nil || string(got) != want {
			t.Errorf("%v is %s, %v, want %s", d, got, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Range(0, int64(durationMax/time.Millisecond)).Draw(t, "ms")) * Duration(time.Millisecond)
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Duration
		if err := json.Unmarshal(text, &back); err != nil || back != d {
			t.Errorf("%v came back from %s as %v, %v", d, text, back, err)
		}
		if back, err := ParseDuration(d.String()); err != nil || back != d {
			t.Errorf("%v came back as %v, %v", d, back, err)
		}
	})
	for _, bad := range []string{`"5m"`, "-1", "1e300", "true", "[]", `""`} {
		var d Duration
		if err := json.Unmarshal([]byte(bad), &d); err == nil {
			t.Errorf("%s is %v", bad, d)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"300", "0.3", "5m", "1h30m", "-1", "1e9", "9223372036.9", ".", "µs", "3µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 || time.Duration(d) > durationMax {
			t.Errorf("%q is %v", s, d)
		}
		if back, err := ParseDuration(d.String()); err != nil || back != d {
			t.Errorf("%q is %v and came back as %v, %v", s, d, back, err)
		}
	})
}
