package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"

	toml "github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
)

// FileFlag is the flag that names the TOML file. It cannot stand in the file.
const FileFlag = "config"

// maxFileBytes bounds a configuration file; a larger one is a mistake.
const maxFileBytes = 1 << 20

// A FileError says what is wrong with a configuration file. Commands exit with
// status 78 for it, so that a service manager does not restart them in vain.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("configuration file %q: %v", e.Path, e.Err) }

// Unwrap gives the cause.
func (e *FileError) Unwrap() error { return e.Err }

// Fill sets each flag that the command line left alone: from the environment
// (prefix + name in capitals, dashes as underscores), else from the TOML file
// that the flag "config" names, if it names one. The names in local are flags
// that say what this one call shall do (such as --json): neither the
// environment nor the file sets them.
func Fill(flags *pflag.FlagSet, prefix string, lookup func(string) (string, bool), local ...string) error {
	var errs []error
	set := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			set[f.Name] = true
			return
		}
		if slices.Contains(local, f.Name) {
			return
		}
		name := EnvName(prefix, f.Name)
		value, ok := lookup(name)
		if !ok {
			return
		}
		set[f.Name] = true
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s=%q: %w", name, value, cause(err)))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	path := flags.Lookup(FileFlag)
	if path == nil || path.Value.String() == "" {
		return nil
	}
	if err := fillFromFile(flags, path.Value.String(), set, local); err != nil {
		return &FileError{Path: path.Value.String(), Err: err}
	}
	return nil
}

// EnvName is the environment variable of a flag.
func EnvName(prefix, flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func fillFromFile(flags *pflag.FlagSet, path string, set map[string]bool, local []string) error {
	values, err := readFile(path)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names) // one error, and always the same one
	for _, name := range names {
		if flags.Lookup(name) == nil || name == FileFlag || name == "help" || slices.Contains(local, name) {
			return fmt.Errorf("unknown key %q (the keys are the long flags of the command)", name)
		}
		texts, err := texts(values[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if set[name] {
			continue // checked, but a flag or the environment wins
		}
		if err := setAll(flags, name, texts); err != nil {
			return err
		}
	}
	return nil
}

func setAll(flags *pflag.FlagSet, name string, texts []string) error {
	if _, isList := flags.Lookup(name).Value.(pflag.SliceValue); !isList && len(texts) != 1 {
		return fmt.Errorf("%s: one value is wanted, not a list", name)
	}
	for _, text := range texts {
		if err := flags.Set(name, text); err != nil {
			return fmt.Errorf("%s = %q: %w", name, text, cause(err))
		}
	}
	return nil
}

func readFile(path string) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("larger than %d bytes", maxFileBytes)
	}
	return parse(data)
}

// parse reads flat TOML: keys with strings, numbers, booleans, or lists of them.
func parse(data []byte) (map[string]any, error) {
	var values map[string]any
	if err := toml.NewDecoder(bytes.NewReader(data)).Decode(&values); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, col := at.Position()
			return nil, fmt.Errorf("line %d, column %d: %w", row, col, err)
		}
		return nil, err
	}
	return values, nil
}

// texts writes a TOML value as the flag's own syntax.
func texts(value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case int64, float64, bool:
		return []string{fmt.Sprint(v)}, nil
	case []any:
		var all []string
		for _, item := range v {
			if _, nested := item.([]any); nested {
				return nil, errors.New("a list within a list")
			}
			one, err := texts(item)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
		return all, nil
	default:
		return nil, fmt.Errorf("a value of type %T cannot be a setting", value)
	}
}

// cause strips pflag's own sentence about "argument for --flag": the value may
// not have come from a flag.
func cause(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return errors.Unwrap(invalid)
	}
	return err
}
