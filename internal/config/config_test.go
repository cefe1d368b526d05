package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

type settings struct {
	config   string
	port     uint16
	refresh  time.Duration
	endpoint []string
	json     bool
}

func flagSet(s *settings) *pflag.FlagSet {
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.StringVar(&s.config, "config", "", "")
	f.Uint16Var(&s.port, "port", 6326, "")
	f.DurationVar(&s.refresh, "refresh", 0, "")
	f.StringArrayVar(&s.endpoint, "endpoint", nil, "")
	f.BoolVar(&s.json, "json", false, "")
	return f
}

func fill(t *testing.T, args []string, env map[string]string, file string) (settings, error) {
	t.Helper()
	var s settings
	f := flagSet(&s)
	if file != "" {
		path := filepath.Join(t.TempDir(), "node.toml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	err := Fill(f, "RE6ST_", func(name string) (string, bool) { v, ok := env[name]; return v, ok }, "json")
	s.config = ""
	return s, err
}

func TestPrecedenceOfFlagEnvironmentFile(t *testing.T) {
	file := "port = 3\nrefresh = '3s'\nendpoint = ['192.0.2.3:1', '[2001:db8::3]:1']\n"
	env := map[string]string{"RE6ST_PORT": "2", "RE6ST_REFRESH": "2s"}
	got, err := fill(t, []string{"--port", "1"}, env, file)
	if err != nil {
		t.Fatal(err)
	}
	want := settings{port: 1, refresh: 2 * time.Second, endpoint: []string{"192.0.2.3:1", "[2001:db8::3]:1"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestWrongSettings(t *testing.T) {
	for _, tt := range []struct {
		name, file, want string
		env              map[string]string
		inFile           bool
	}{
		{name: "unknown key", file: "prot = 1", want: `unknown key "prot"`, inFile: true},
		{name: "local flag", file: "json = true", want: `unknown key "json"`, inFile: true},
		{name: "number too large", file: "port = 70000", want: `port = "70000"`, inFile: true},
		{name: "list for one", file: "port = [1, 2]", want: "one value is wanted", inFile: true},
		{name: "table", file: "[port]\na = 1", want: "cannot be a setting", inFile: true},
		{name: "nested list", file: "endpoint = [['a']]", want: "a list within a list", inFile: true},
		{name: "syntax", file: "port = = 1", want: "line 1", inFile: true},
		{name: "checked though overridden", file: "refresh = 2026-01-01", want: "refresh", inFile: true, env: map[string]string{"RE6ST_REFRESH": "2s"}},
		{name: "environment", env: map[string]string{"RE6ST_PORT": "x"}, want: "RE6ST_PORT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := fill(t, nil, tt.env, tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			var file *FileError
			if errors.As(err, &file) != tt.inFile {
				t.Errorf("error %v: is a file error: %v, want %v", err, !tt.inFile, tt.inFile)
			}
		})
	}
}

func TestAbsentFile(t *testing.T) {
	var s settings
	f := flagSet(&s)
	_ = f.Parse([]string{"--config", filepath.Join(t.TempDir(), "absent.toml")})
	err := Fill(f, "RE6ST_", func(string) (string, bool) { return "", false })
	var file *FileError
	if !errors.As(err, &file) || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v, want a file error about an absent file", err)
	}
}

func FuzzT13_ParseConfiguration(f *testing.F) {
	f.Add([]byte("port = 1\n"))
	f.Add([]byte("a = [1, 'b', true]\n[c]\nd = 1979-05-27"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		values, err := parse(data)
		if err != nil {
			return
		}
		for _, v := range values {
			_, _ = texts(v)
		}
	})
}
