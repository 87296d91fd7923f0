package mesh

import (
	"fmt"
	"log/slog"

	"google.golang.org/grpc/credentials"

	"github.com/weft-mesh/weft/filter"
)

// An Option configures [New]. What a call does is policy's business; options say
// only where policy comes from and what the process brings along.
type Option interface{ apply(*options) error }

type optionFunc func(*options) error

func (f optionFunc) apply(o *options) error { return f(o) }

type options struct {
	logger *slog.Logger
	creds  credentials.TransportCredentials
	open   opener // where policy comes from
	source string // the option that set open

	locality     Locality
	localCluster string

	kinds   []filter.Kind
	filters *filter.Registry // of these and of those that the mesh has
}

// opener makes the mesh's source of resources.
type opener func(*options) (*source, error)

// from is an option that names the mesh's source.
func from(name string, open opener) Option {
	return optionFunc(func(o *options) error {
		if o.source != "" {
			return fmt.Errorf("weft: %s and %s both name a source of policy; give one", o.source, name)
		}
		o.source, o.open = name, open
		return nil
	})
}

// WithLogger sends the mesh's log to l. The default is slog.Default() at the time
// of New.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(o *options) error {
		o.logger = l
		return nil
	})
}

// WithCredentials secures gRPC connections to endpoints for which policy asks
// nothing. The default is plaintext: policy that names no transport socket says so.
// Where policy asks for TLS, policy wins.
func WithCredentials(c credentials.TransportCredentials) Option {
	return optionFunc(func(o *options) error {
		o.creds = c
		return nil
	})
}

// WithFilter lets policy use the program's own kinds of filters, beside those that come
// with Weft: by the types of their configurations, for gRPC and HTTP. See package filter. A kind belongs to one mesh.
func WithFilter(kinds ...filter.Kind) Option {
	return optionFunc(func(o *options) error {
		o.kinds = append(o.kinds, kinds...)
		return nil
	})
}
