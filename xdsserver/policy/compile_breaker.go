package policy

import (
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// breakerMetadata is what clusters carry their breakers under (resolver.BreakerMetadata).
const breakerMetadata = "weft.breaker"

// defaultConsecutiveFailures are Envoy's of outlier detection.
const defaultConsecutiveFailures = 5

// setBreakers adds the breakers to the cluster's metadata, which others may be in already.
func setBreakers(cluster *clusterv3.Cluster, b *Breakers) {
	if b == nil {
		return
	}
	fields := map[string]*structpb.Value{}
	for name, one := range map[string]*Breaker{"endpoint": b.Endpoint, "cluster": b.Cluster} {
		if one != nil {
			fields[name] = one.compile()
		}
	}
	m := metadata(breakerMetadata, fields)
	if cluster.Metadata == nil {
		cluster.Metadata = m
		return
	}
	cluster.Metadata.FilterMetadata[breakerMetadata] = m.FilterMetadata[breakerMetadata]
}

func (b *Breaker) compile() *structpb.Value {
	fields := map[string]*structpb.Value{}
	number := func(name string, n *uint32) {
		if n != nil {
			fields[name] = structpb.NewNumberValue(float64(*n))
		}
	}
	duration := func(name string, d *time.Duration) {
		if d != nil {
			fields[name] = structpb.NewStringValue(d.String())
		}
	}
	number("consecutive_failures", b.ConsecutiveFailures)
	if b.FailurePercent != nil {
		fields["failure_percent"] = structpb.NewNumberValue(float64(*b.FailurePercent) / 10_000)
	} else if b.ConsecutiveFailures == nil {
		fields["consecutive_failures"] = structpb.NewNumberValue(defaultConsecutiveFailures)
	}
	number("minimum_requests", b.MinimumRequests)
	duration("interval", b.Interval)
	duration("open_time", b.OpenTime)
	number("probes", b.Probes)
	return structpb.NewStructValue(&structpb.Struct{Fields: fields})
}
