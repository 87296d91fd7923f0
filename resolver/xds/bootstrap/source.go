package bootstrap

import (
	"errors"
	"fmt"
	"os"
)

// The environment variables that gRPC reads, and Weft with it (gRFC A27).
const (
	EnvFile   = "GRPC_XDS_BOOTSTRAP"        // a file's name
	EnvInline = "GRPC_XDS_BOOTSTRAP_CONFIG" // the content itself
)

// ErrNotSet is returned by [FromEnv] when there is no bootstrap in the environment.
var ErrNotSet = errors.New("bootstrap: neither " + EnvFile + " nor " + EnvInline + " is set")

// FromFile reads the bootstrap in a file.
func FromFile(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, path)
	}
	return c, nil
}

// FromEnv reads the bootstrap that the environment names. With both variables set
// GRPC_XDS_BOOTSTRAP is used, as by every gRPC in the same process (gRFC A27); with
// neither the error is [ErrNotSet]. Other errors name the variable.
func FromEnv() (*Config, error) {
	if path := os.Getenv(EnvFile); path != "" {
		c, err := FromFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", EnvFile, err)
		}
		return c, nil
	}
	if inline := os.Getenv(EnvInline); inline != "" {
		c, err := Parse([]byte(inline))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", EnvInline, err)
		}
		return c, nil
	}
	return nil, ErrNotSet
}
