package router

import (
	"fmt"
	"os"
	"strings"

	"re6st/babel/mac"
	"re6st/internal/durable"
)

const maxKeyFileBytes = 64 << 10

// Key is a shared secret with its algorithm.
type Key = mac.Key

// ParseKey reads ALG:HEX.
func ParseKey(text string) (mac.Key, error) { return mac.ParseKey(text) }

// ReadKeys reads a file of MAC keys, one a line; empty lines and those that begin
// with # do not count. Nobody but its owner may be able to read it. Errors do
// not repeat what is in it.
func ReadKeys(path string) ([]mac.Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%q can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	data, err := durable.ReadFile(path, maxKeyFileBytes)
	if err != nil {
		return nil, err
	}
	var keys []mac.Key
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := mac.ParseKey(line)
		if err != nil {
			return nil, fmt.Errorf("%q, line %d: %w", path, n, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%q has no key", path)
	}
	return keys, nil
}
