package balancer

// OriginalDst says where the calls of a DiscoverOriginalDst cluster go
// (envoy.config.cluster.v3.Cluster.OriginalDstLbConfig). Its zero value is the
// address that the caller named.
type OriginalDst struct {
	// Header, unless empty, is the name, in lower case, of an HTTP header that says the
	// address instead, as ip:port. A call without it, or with something else in it, goes
	// where the caller said.
	Header string
	// Port, unless 0, takes the place of the port of the address, whoever gave that.
	Port uint16
}

// originalDst is the one endpoint of such a cluster. It has no address of its own:
// whoever connects knows what the caller named.
var originalDst = &Assignment{Localities: []LocalityEndpoints{{Weight: 1, Endpoints: []EndpointConfig{{}}}}}

// OriginalDst is not nil if the endpoint stands for whatever address the caller named:
// its Address is then empty, and a connection that cannot be made to one address says
// nothing of another.
func (e *Endpoint) OriginalDst() *OriginalDst { return e.original.Load() }
