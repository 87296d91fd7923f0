package resolver

import (
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
)

// BreakerMetadata is the name under which a cluster's metadata carry its breakers, for
// which xDS has no field. Who does not know it ignores it. What is in it is known to the
// last field: others, and values out of their range, are refused.
//
//	endpoint:                    a breaker for each endpoint
//	  consecutive_failures: 5    1 to 2^32-1; opens after so many failures in a row
//	  failure_percent: 50        above 0, up to 100; opens when so much of the calls failed
//	  minimum_requests: 20       0 to 2^32-1; that are needed for failure_percent. Default 20
//	  interval: 10s              100ms or more; which failure_percent looks at. Default 10s
//	  open_time: 30s             1ms or more; until a probe is let through. Default 30s
//	  probes: 1                  1 to 2^32-1; that have to succeed for it to close. Default 1
//	cluster: {...}               the same for one breaker of all calls to the cluster
//
// One of consecutive_failures and failure_percent must be there, and minimum_requests and
// interval only with the latter. Durations are text, as time.ParseDuration reads it.
const BreakerMetadata = "weft.breaker"

// The defaults of BreakerMetadata.
const (
	breakerMinimumRequests = 20
	breakerInterval        = 10 * time.Second
	breakerOpenTime        = 30 * time.Second

	breakerLeastInterval = 100 * time.Millisecond
	breakerLeastOpenTime = time.Millisecond
)

// breakers reads a cluster's breakers.
func (p *path) breakers(m *clusterv3.Cluster, c *balancer.Config) error {
	s := m.GetMetadata().GetFilterMetadata()[BreakerMetadata]
	if s == nil {
		return nil
	}
	p = p.to("metadata").to(BreakerMetadata)
	if isAggregate(m) {
		p.warn() // its calls are those of its clusters
		return nil
	}
	var err error
	for name, v := range fieldsOf(s) {
		q := p.to(name)
		switch name {
		case "endpoint":
			c.EndpointBreaker, err = q.breaker(v)
		case "cluster":
			c.ClusterBreaker, err = q.breaker(v)
		default:
			err = q.errorf("is not known: endpoint, cluster")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *path) breaker(v *structpb.Value) (*resilience.BreakerConfig, error) {
	s := v.GetStructValue()
	if s == nil {
		return nil, p.errorf("is not a struct")
	}
	b := &resilience.BreakerConfig{OpenTime: breakerOpenTime, Probes: 1}
	minimum, interval := uint32(breakerMinimumRequests), breakerInterval
	var ratioOnly string
	for name, v := range fieldsOf(s) {
		q := p.to(name)
		var err error
		switch name {
		case "consecutive_failures":
			b.ConsecutiveFailures, err = q.whole(v, 1)
		case "failure_percent":
			b.FailurePercent, err = q.failurePercent(v)
		case "minimum_requests":
			minimum, err = q.whole(v, 0)
			ratioOnly = name
		case "interval":
			interval, err = q.textDuration(v, breakerLeastInterval)
			ratioOnly = name
		case "open_time":
			b.OpenTime, err = q.textDuration(v, breakerLeastOpenTime)
		case "probes":
			b.Probes, err = q.whole(v, 1)
		default:
			err = q.errorf("is not known: consecutive_failures, failure_percent, minimum_requests, interval, open_time, probes")
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case b.FailurePercent > 0:
		b.MinimumRequests, b.Interval = minimum, interval
	case ratioOnly != "":
		return nil, p.to(ratioOnly).errorf("is only for failure_percent")
	case b.ConsecutiveFailures == 0:
		return nil, p.errorf("never opens: one of consecutive_failures and failure_percent must be set")
	}
	return b, nil
}

// fieldsOf are the fields of a struct in the order of their names, so that of several that
// are wrong it is always the same that is named.
func fieldsOf(s *structpb.Struct) iter.Seq2[string, *structpb.Value] {
	return func(yield func(string, *structpb.Value) bool) {
		for _, name := range slices.Sorted(maps.Keys(s.GetFields())) {
			if !yield(name, s.GetFields()[name]) {
				return
			}
		}
	}
}

// whole reads a whole number of at least so much.
func (p *path) whole(v *structpb.Value, least uint32) (uint32, error) {
	n, ok := v.GetKind().(*structpb.Value_NumberValue)
	if !ok || !(n.NumberValue >= float64(least) && n.NumberValue <= math.MaxUint32) || n.NumberValue != math.Trunc(n.NumberValue) {
		return 0, p.errorf("%v is not a whole number from %d to %d", v.AsInterface(), least, uint32(math.MaxUint32))
	}
	return uint32(n.NumberValue), nil
}

func (p *path) failurePercent(v *structpb.Value) (float64, error) {
	n, ok := v.GetKind().(*structpb.Value_NumberValue)
	if !ok || !(n.NumberValue > 0 && n.NumberValue <= 100) {
		return 0, p.errorf("%v is not a percentage above 0", v.AsInterface())
	}
	return n.NumberValue, nil
}

// textDuration reads a duration of at least so much.
func (p *path) textDuration(v *structpb.Value, least time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(v.GetStringValue())
	if err != nil || d < least {
		return 0, p.errorf("%v is not a duration of %s or more, such as \"10s\"", v.AsInterface(), least)
	}
	return min(d, longestTime), nil
}
