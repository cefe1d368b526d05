// Package config lets a command take its settings from three places that mean
// the same: flags, RE6ST_* environment variables and a TOML file, in falling
// order of precedence.
//
// The flag set is the only description of what can be set. A flag `--tunnel-ports`
// is RE6ST_TUNNEL_PORTS in the environment and `tunnel-ports` in the file. So the
// three cannot drift apart, and a name that no flag has is an error.
//
// The package knows no setting by name and checks no meaning: that is for the
// command that owns the flags.
package config
