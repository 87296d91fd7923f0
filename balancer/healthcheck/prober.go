package healthcheck

import (
	"bytes"

	"github.com/weft-mesh/weft/balancer"
)

// userAgent is what probes call themselves.
const userAgent = "weft-health-check"

// New returns the prober of an endpoint by its check's protocol.
func New(t balancer.CheckTarget) balancer.Prober {
	switch {
	case t.Check.HTTP != nil:
		return newHTTP(t)
	case t.Check.GRPC != nil:
		return &grpcProber{target: t}
	default:
		return &tcpProber{target: t}
	}
}

// found reports whether data has the parts, one after the other, whatever is between
// them (Envoy's PayloadMatcher).
func found(parts [][]byte, data []byte) bool {
	for _, part := range parts {
		i := bytes.Index(data, part)
		if i < 0 {
			return false
		}
		data = data[i+len(part):]
	}
	return true
}
