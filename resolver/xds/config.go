package xds

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Config is what a [Client] needs. It is not changed by the client and must not
// be changed by anyone once it was given to [New].
type Config struct {
	// Node introduces the process to the control plane. The client adds its user
	// agent, if there is none, and the client features that it implements. Nil
	// sends a node without id, which most control planes refuse.
	Node *corev3.Node

	// Servers serve the resources whose names have no authority: every name that
	// does not begin with "xdstp:". In order of preference; the first is used.
	// May be empty when Authorities is not.
	Servers []ServerConfig

	// Authorities serve the "xdstp://AUTHORITY/TYPE/ID" names (gRFC A47), by
	// authority. A name whose authority is not here cannot be watched.
	Authorities map[string]Authority

	// Types are the resources that can be watched, in the order in which requests
	// for them are sent when several are due. At least one.
	Types []ResourceType

	// Transport connects to a server. Required.
	Transport TransportBuilder

	// WatchExpiry is how long after it was asked for a resource is taken not to
	// exist. Zero means 15 s, the time of the xDS protocol; a server with
	// ResourceTimerIsTransientFailure gets twice as long (gRFC A88).
	WatchExpiry time.Duration

	// Backoff gives the time to wait before the next stream, where attempt counts
	// from 0 the streams that failed since one brought a response (gRFC A57). Nil
	// means ExponentialBackoff(time.Second, 30*time.Second).
	Backoff func(attempt int) time.Duration

	// Logger hears of connections, NACKs and deletions. Nil drops them.
	Logger *slog.Logger
}

// Authority is where the resources of one authority come from (gRFC A47).
type Authority struct {
	// Servers in order of preference; the first is used. Empty means
	// [Config.Servers]. A server that stands in several lists has one stream.
	Servers []ServerConfig
}

// ResourceType is one kind of resource: how it is asked for and how it is read.
type ResourceType struct {
	// URL is the type URL, "type.googleapis.com/envoy.config.cluster.v3.Cluster".
	URL string
	// Name is what people call it, "Cluster"; used in errors and logs.
	Name string
	// AllRequiredInSotW says that a state-of-the-world response lists every
	// resource of the type that was asked for, so that one left out is deleted:
	// Listener and Cluster, by the xDS protocol.
	AllRequiredInSotW bool
	// Decode turns a serialized resource into an immutable value. The name is
	// returned even when the resource is bad, if it can be read at all. The error
	// carries the path of the bad field; it reaches the control plane, the log and
	// the watchers. Decode may keep raw but not change it. It is called by one
	// goroutine a server, outside of the client's locks; a panic is taken for an
	// error.
	Decode func(raw []byte) (name string, value any, err error)
}

// ExponentialBackoff returns a backoff with full jitter: a random time between
// zero and a bound that starts at base and grows by 1.6 with each attempt up to
// maximum, the growth of gRPC's connection backoff.
func ExponentialBackoff(base, maximum time.Duration) func(attempt int) time.Duration {
	return func(attempt int) time.Duration {
		bound := min(float64(base)*math.Pow(1.6, float64(attempt)), float64(maximum))
		return time.Duration(rand.Float64() * bound)
	}
}

func (c *Config) validate() error {
	if c.Transport == nil {
		return errors.New("xds: Config.Transport is missing")
	}
	if len(c.Servers) == 0 && len(c.Authorities) == 0 {
		return errors.New("xds: Config.Servers is empty and there are no authorities")
	}
	if len(c.Types) == 0 {
		return errors.New("xds: Config.Types is empty")
	}
	seen := make(map[string]bool, len(c.Types))
	for i, t := range c.Types {
		switch {
		case t.URL == "":
			return fmt.Errorf("xds: Config.Types[%d].URL is empty", i)
		case seen[t.URL]:
			return fmt.Errorf("xds: Config.Types[%d]: %s stands in it twice", i, t.URL)
		case t.Decode == nil:
			return fmt.Errorf("xds: Config.Types[%d].Decode is missing (%s)", i, t.URL)
		}
		seen[t.URL] = true
	}
	for name, a := range c.Authorities {
		if len(a.Servers) == 0 && len(c.Servers) == 0 {
			return fmt.Errorf("xds: authority %q has no servers and there are no default ones", name)
		}
	}
	return nil
}
