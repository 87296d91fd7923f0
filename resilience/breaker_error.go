package resilience

import (
	"errors"
	"fmt"
)

// ErrBreaker is what every *BreakerError is to errors.Is.
var ErrBreaker = errors.New("a breaker is open")

// BreakerError says which breaker refused a call.
type BreakerError struct {
	Cluster string
	// Endpoint is the address of an endpoint whose breaker it is; empty if it is the
	// cluster's.
	Endpoint string
	// Endpoints is how many endpoints there are whose breakers let nothing through.
	Endpoints int
}

// Error names the breaker.
func (e *BreakerError) Error() string {
	switch {
	case e.Endpoint == "":
		return fmt.Sprintf("cluster %q: its breaker is open", e.Cluster)
	case e.Endpoints > 1:
		return fmt.Sprintf("cluster %q: no endpoint is left; the breakers of %d are open, such as that of %s", e.Cluster, e.Endpoints, e.Endpoint)
	}
	return fmt.Sprintf("cluster %q: no endpoint is left; the breaker of %s is open", e.Cluster, e.Endpoint)
}

// Is reports whether target is ErrBreaker.
func (e *BreakerError) Is(target error) bool { return target == ErrBreaker }
