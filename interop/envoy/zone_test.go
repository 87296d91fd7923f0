package envoy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// localCluster is the cluster of which both sides say they are, in zone "a".
const localCluster = "callers-themselves"

// TestZones makes up where callers and endpoints are and which of these are well, and
// expects the same shares of the calls in each zone.
func TestZones(t *testing.T) {
	const layouts = 16
	g := newGenerator(t, seeded.Seed(t), false)
	p := setup{zone: "a", local: localCluster}.pair(t, false)
	var backends []*meshtest.Backend
	for i := range 8 {
		backends = append(backends, newBackend(t, fmt.Sprint("b", i)))
	}
	callers := newBackend(t, "caller")
	for n := range layouts {
		rules := &policy{routes: toCluster(fmt.Sprint("c", n), nil)}
		c := rules.cluster(t, fmt.Sprint("c", n), false)
		c.LbPolicy = pick(g, clusterv3.Cluster_ROUND_ROBIN, clusterv3.Cluster_RANDOM, clusterv3.Cluster_LEAST_REQUEST)
		zones := &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{MinClusterSize: wrapperspb.UInt64(pick(g, uint64(1), 4, 6))}
		if g.one(2) {
			zones.RoutingEnabled = &typev3.Percent{Value: pick(g, 50.0, 25.5, 0, 100)}
		}
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: zones}}
		rules.endpoints[0].Endpoints = g.zones(1+g.IntN(4), backends[:2+g.IntN(len(backends)-1)])

		// The callers are of no use but to be counted: one that is, and one port for each more.
		rules.cluster(t, localCluster, false)
		var peers []*endpointv3.LocalityLbEndpoints
		for _, zone := range []string{"a", "b", "c"}[:1+g.IntN(3)] {
			l := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: zone}}
			for range 1 + g.IntN(4) {
				e := endpoint(t, callers)
				e.GetEndpoint().GetAddress().GetSocketAddress().Address = fmt.Sprintf("127.0.%d.%d", n+1, 1+g.IntN(200))
				l.LbEndpoints = append(l.LbEndpoints, e)
			}
			peers = append(peers, l)
		}
		rules.endpoints[1].Endpoints = peers
		if !p.apply(t, rules) {
			t.Fatalf("both refuse it: %v", p.rejections())
		}
		await(t, "Envoy to know its peers", func() bool { return p.proxy.knows(localCluster, fmt.Sprintf("127.0.%d.", n+1)) })
		p.awaitShares(t, request{method: "GET", host: "shop", path: "/"}, func() string {
			return fmt.Sprint(c.GetLbPolicy(), zones, "\nendpoints ", zoneSizes(rules.endpoints[0].GetEndpoints()), "\ncallers ", zoneSizes(peers))
		})
	}
}

// zones divides endpoints among zones. Some are ill.
func (g *generator) zones(n int, backends []*meshtest.Backend) (list []*endpointv3.LocalityLbEndpoints) {
	for _, zone := range []string{"a", "b", "c", "d"}[:n] {
		list = append(list, &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: zone}})
	}
	ill := g.one(2)
	for _, b := range backends {
		e := endpoint(g.t, b)
		if ill && g.one(4) {
			e.HealthStatus = corev3.HealthStatus_UNHEALTHY
		}
		l := pick(g, list...)
		l.LbEndpoints = append(l.LbEndpoints, e)
	}
	return list
}

// zoneSizes tells who is where, and who is ill.
func zoneSizes(list []*endpointv3.LocalityLbEndpoints) string {
	var b strings.Builder
	for _, l := range list {
		fmt.Fprintf(&b, " %s:", l.GetLocality().GetZone())
		for _, e := range l.GetLbEndpoints() {
			b.WriteString(map[bool]string{true: "x", false: "o"}[e.GetHealthStatus() == corev3.HealthStatus_UNHEALTHY])
		}
	}
	return b.String()
}

// knows reports whether all hosts that a cluster has begin with a prefix.
func (p *process) knows(cluster, prefix string) bool {
	var all struct {
		Statuses []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Address string `json:"address"`
					} `json:"socket_address"`
				} `json:"address"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	resp, err := http.Get("http://" + p.admin + "/clusters?format=json")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if json.NewDecoder(resp.Body).Decode(&all) != nil {
		return false
	}
	for _, c := range all.Statuses {
		if c.Name != cluster {
			continue
		}
		for _, h := range c.Hosts {
			if !strings.HasPrefix(h.Address.Socket.Address, prefix) {
				return false
			}
		}
		return len(c.Hosts) > 0
	}
	return false
}
