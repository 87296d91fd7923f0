package mesh

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/weft-mesh/weft/balancer"
)

// HTTPClient returns a client whose requests go by the mesh's policy:
// Transport(nil) in an http.Client. Clients of one mesh share their connections.
func (m *Mesh) HTTPClient() *http.Client {
	return &http.Client{Transport: m.Transport(nil)}
}

// Transport returns a RoundTripper whose requests go by the mesh's policy. The host
// of a request's URL, with its port if it has one, is the target:
// http://orders:8080/ is "orders:8080". The request is left alone: its Host, headers and
// resp.Request stay the caller's. Where policy changes them, a copy is sent.
//
// Connections are made by clones of base, one for each endpoint, which keep base's
// dialer, timeouts and pool sizes. A nil base means http.DefaultTransport. base's
// proxy and custom TLS dialer do not apply: policy says where a connection goes. A
// MaxIdleConnsPerHost of 0 means MaxIdleConns, because a clone has just one host.
// They are kept by the mesh, by the same rules, where the URL is http and neither base nor
// policy bounds the connections of an endpoint; else by the clone.
// HTTP/1.1 or HTTP/2 is the cluster's choice. What the cluster says of idle times, sizes
// and pings counts more than what base does. Where policy counts connections, a clone of
// base stands for each.
//
// An https URL is encrypted by the client itself, as base.TLSClientConfig says,
// unless policy secures the endpoint; then policy wins.
//
// Transports of one mesh over the same base are the same.
func (m *Mesh) Transport(base *http.Transport) http.RoundTripper {
	if base == nil {
		base, _ = http.DefaultTransport.(*http.Transport)
		if base == nil { // replaced by the program
			base = &http.Transport{}
		}
	}
	if t, ok := m.transports.Load(base); ok {
		return t.(*transport)
	}
	t, _ := m.transports.LoadOrStore(base, &transport{mesh: m, base: base, id: rand.Uint64() | 1})
	return t.(*transport)
}

// transport is the mesh's RoundTripper over one base.
type transport struct {
	mesh *Mesh
	base *http.Transport
	id   uint64 // random: what the transport is to hash policies

	views   atomic.Pointer[clusterViews] // nil before the first
	opening sync.Mutex                   // held by those who add views
	conns   sync.Map                     // *endpointConn → struct{}: those that are open
}

// clusterViews is copied when it changes.
type clusterViews struct {
	byCluster map[*balancer.Cluster]*balancer.View
	few       [fewViews]clusterView // of them; it is quicker to look through these first
}

type clusterView struct {
	cluster *balancer.Cluster
	view    *balancer.View
}

// fewViews are, with the map, two cache lines.
const fewViews = 7

// view returns the transport's connections to a cluster.
func (t *transport) view(c *balancer.Cluster) *balancer.View {
	views := t.views.Load()
	if views == nil {
		return t.openView(c)
	}
	for i := range views.few {
		if f := &views.few[i]; f.cluster == c {
			return f.view
		}
	}
	if v := views.byCluster[c]; v != nil {
		return v
	}
	return t.openView(c)
}

// CloseIdleConnections closes the connections that no request uses; http.Client
// calls it by this name.
func (t *transport) CloseIdleConnections() {
	t.conns.Range(func(c, _ any) bool {
		c.(*endpointConn).closeIdle()
		return true
	})
}
