package balancer

import (
	"math"
	"math/rand/v2"
	"time"
)

// backoff is an exponential backoff with jitter.
type backoff struct {
	base, max  time.Duration
	multiplier float64
	jitter     float64 // the share of a delay that is random
}

// retryBackoff is how long a failed endpoint is left alone where connections are
// made on demand: gRPC's connection backoff
// (https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md), so that an
// endpoint comes back equally soon for both protocols.
var retryBackoff = backoff{base: time.Second, max: 2 * time.Minute, multiplier: 1.6, jitter: 0.2}

// delay returns how long to wait after so many failures in a row, at least one.
func (b backoff) delay(failures int) time.Duration {
	d := min(float64(b.base)*math.Pow(b.multiplier, float64(failures-1)), float64(b.max))
	return time.Duration(d * (1 + b.jitter*(2*rand.Float64()-1)))
}
