package envoy

import (
	"cmp"
	"context"
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// pair is Envoy and Weft, at one control plane.
type pair struct {
	cp          *meshtest.ControlPlane
	envoy, weft *side
	proxy       *process // Envoy's
	grpc        bool     // call by gRPC
	hosts       []string // that gRPC calls
	filters     []*hcmv3.HttpFilter
	inbound     bool // Weft is a server
	applied     int
}

// setup is what the two of a pair have from the beginning.
type setup struct {
	filters []*hcmv3.HttpFilter // before the router
	zone    string              // where both say they are
	local   string              // the cluster of which both say they are
	options []mesh.Option       // of Weft's client
}

func newPair(t *testing.T, grpc bool, hosts ...string) *pair {
	t.Helper()
	return setup{}.pair(t, grpc, hosts...)
}

func (s setup) pair(t *testing.T, grpc bool, hosts ...string) *pair {
	t.Helper()
	cp := meshtest.NewControlPlane(t)
	p := &pair{cp: cp, grpc: grpc, filters: s.filters}
	if grpc {
		p.hosts = hosts
	}
	p.proxy = startEnvoy(t, cp.Addr, s)
	p.envoy = envoySide(t, p.proxy)
	p.weft = weftSide(t, cp.Addr, s)
	return p
}

func (p *pair) sides() []*side { return []*side{p.envoy, p.weft} }

// call makes a request of one side.
func (p *pair) call(t *testing.T, s *side, r request) answer {
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	if p.grpc {
		return s.callGRPC(ctx, r)
	}
	return s.callHTTP(ctx, r)
}

// markerHost is a virtual host that every policy has.
const markerHost = "oracle-marker"

// apply has both sides go by a policy, and waits until they do. It returns false if
// both refuse it. That one refuses it fails the test.
func (p *pair) apply(t *testing.T, policy *policy) bool {
	t.Helper()
	p.applied++
	marker := fmt.Sprintf("/oracle.Marker/%d", p.applied)
	policy.filters, policy.inbound = p.filters, p.inbound
	policy.mark(marker)
	before := p.rejections()
	p.cp.Apply(policy.yaml(t, p.hosts))
	rejected := map[string]string{}
	for _, s := range p.sides() {
		node := envoyNode
		if s == p.weft {
			node = weftNode
		}
		await(t, s.name+" to go by the policy", func() bool {
			if now := p.rejections()[node]; now != "" && now != before[node] {
				rejected[s.name] = now
				return true
			}
			return p.marked(t, s, marker)
		})
	}
	switch len(rejected) {
	case 0:
		for _, c := range policy.clusters {
			if now := p.rejections()[envoyNode]; now != "" && now != before[envoyNode] {
				t.Fatalf("Envoy alone refuses a cluster: %v", now)
			}
			await(t, "Envoy to have "+c.GetName(), func() bool {
				return p.call(t, p.envoy, request{host: markerHost, path: readyPath + c.GetName()}).Refused != noCluster
			})
		}
		return true
	case 2:
		return false
	}
	t.Fatalf("only one refuses the policy: %v\n%s", rejected, describe(policy.routes))
	return false
}

// marked reports whether a side answers by the policy of the marker.
func (p *pair) marked(t *testing.T, s *side, marker string) bool {
	if !p.grpc {
		return p.call(t, s, request{host: markerHost, path: marker}).Body == marker
	}
	for _, host := range p.hosts {
		if p.call(t, s, request{host: host, path: marker}).Body != marker {
			return false
		}
	}
	return true
}

const (
	readyPath = "/oracle.Ready/"
	noCluster = "NC" // Envoy's flag; its route configuration may come before the clusters are warm
)

// mark gives every virtual host a first route that answers with the marker, and one more
// has routes to all clusters.
func (p *policy) mark(marker string) {
	h := &routev3.VirtualHost{Name: "marker", Domains: []string{markerHost}}
	p.routes.VirtualHosts = append(p.routes.VirtualHosts, h)
	unfiltered := map[string]*anypb.Any{} // filters have nothing to do with who waits for policy
	for _, f := range p.filters {
		if disabled, err := anypb.New(&routev3.FilterConfig{Disabled: true}); err == nil {
			unfiltered[f.GetName()] = disabled
		}
	}
	h.TypedPerFilterConfig = unfiltered
	for _, c := range p.clusters {
		h.Routes = append(h.Routes, &routev3.Route{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: readyPath + c.GetName()}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: c.GetName()}}},
		})
	}
	for _, h := range p.routes.GetVirtualHosts() {
		h.Routes = append([]*routev3.Route{{
			Match:                &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: marker}},
			Action:               &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 403, Body: inline(marker)}},
			TypedPerFilterConfig: unfiltered,
		}}, h.Routes...)
	}
}

// rejections are what the sides say of what they were sent last, by node.
func (p *pair) rejections() map[string]string {
	list := map[string]string{}
	for _, c := range p.cp.Clients() {
		for _, s := range c.Types {
			if s.Rejection != nil {
				list[c.Node] += fmt.Sprintln(s.Rejection.Time.UnixNano(), s.TypeURL, s.Rejection.Version, s.Rejection.Message)
			}
		}
	}
	return list
}

// compare makes a request of both and fails the test if the answers differ. Where
// policy draws lots between clusters, Weft is asked until it is the same one's turn.
func (p *pair) compare(t *testing.T, r request, why func() string) answer {
	t.Helper()
	want := p.call(t, p.envoy, r)
	got := p.call(t, p.weft, r)
	for i := 0; i < 200 && want.Seen != nil && got.Seen != nil && want.Seen.Backend != got.Seen.Backend; i++ {
		got = p.call(t, p.weft, r)
	}
	if p.inbound {
		want.inboundOnly()
		got.inboundOnly()
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%+v (-Envoy +Weft):\n%s\n%s", r, diff, why())
	}
	return want
}

// unlucky is how many times as much a test makes up, at most, until it has met what it is
// for.
const unlucky = 10

// describe shows a route configuration.
func describe(rc *routev3.RouteConfiguration) string {
	return cmp.Or(protojson.Format(rc), "(nothing)")
}
