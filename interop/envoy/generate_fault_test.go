package envoy

import (
	"fmt"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	faultFilter = "fault"
	// wantFault is a header without which there are no faults: those who ask which policy a
	// side goes by do not have it.
	wantFault = "x-fault"
)

func (g *generator) faultFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: faultFilter, Disabled: g.one(6),
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(g.t, g.fault())},
	}
}

// faultOverride makes up what one level says of faults.
func (g *generator) faultOverride() map[string]*anypb.Any {
	if g.one(2) {
		return nil
	}
	var config proto.Message = g.fault()
	switch g.IntN(6) {
	case 0:
		config = &routev3.FilterConfig{Disabled: true}
	case 1:
		config = &routev3.FilterConfig{Config: pack(g.t, config)}
	}
	return map[string]*anypb.Any{faultFilter: pack(g.t, config)}
}

// fault makes up a fault that all calls meet, or none.
func (g *generator) fault() *faultv3.HTTPFault {
	f := &faultv3.HTTPFault{Headers: []*routev3.HeaderMatcher{{Name: wantFault}}}
	if g.one(2) {
		f.Delay = &faultcommonv3.FaultDelay{Percentage: g.allOrNone()}
		f.Delay.FaultDelaySecifier = &faultcommonv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(time.Duration(1+g.IntN(3)) * time.Millisecond)}
		if g.one(2) {
			f.Delay.FaultDelaySecifier = &faultcommonv3.FaultDelay_HeaderDelay_{HeaderDelay: &faultcommonv3.FaultDelay_HeaderDelay{}}
		}
	}
	if !g.one(5) {
		f.Abort = &faultv3.FaultAbort{Percentage: g.allOrNone(), ResponseBody: pick(g, "", "", "no")}
		switch g.IntN(5) {
		case 0:
			f.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: pick(g, uint32(200), 301, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504, 599)}
		case 1:
			f.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: uint32(1 + g.IntN(16))}
		default:
			f.Abort.ErrorType = &faultv3.FaultAbort_HeaderAbort_{HeaderAbort: &faultv3.FaultAbort_HeaderAbort{}}
		}
	}
	if g.one(3) {
		f.ResponseRateLimit = &faultcommonv3.FaultRateLimit{Percentage: g.allOrNone()}
		f.ResponseRateLimit.LimitType = &faultcommonv3.FaultRateLimit_FixedLimit_{FixedLimit: &faultcommonv3.FaultRateLimit_FixedLimit{LimitKbps: 10_000}}
		if g.one(2) {
			f.ResponseRateLimit.LimitType = &faultcommonv3.FaultRateLimit_HeaderLimit_{HeaderLimit: &faultcommonv3.FaultRateLimit_HeaderLimit{}}
		}
	}
	if g.one(4) {
		f.Headers = append(f.Headers, g.headerMatcher())
	}
	if g.one(6) {
		f.UpstreamCluster = pick(g, g.clusters...)
	}
	if g.one(6) {
		f.DownstreamNodes = []string{"n1", pick(g, "n2", "n3")}
	}
	if g.one(4) {
		f.MaxActiveFaults = wrapperspb.UInt32(pick(g, uint32(0), 1, 1, 100))
	}
	return f
}

func (g *generator) allOrNone() *typev3.FractionalPercent {
	if g.one(5) {
		return pick(g, nil, &typev3.FractionalPercent{}, &typev3.FractionalPercent{Denominator: typev3.FractionalPercent_MILLION})
	}
	return pick(g,
		&typev3.FractionalPercent{Numerator: 100}, &typev3.FractionalPercent{Numerator: 100}, &typev3.FractionalPercent{Numerator: 150},
		&typev3.FractionalPercent{Numerator: 10_000, Denominator: typev3.FractionalPercent_TEN_THOUSAND},
		&typev3.FractionalPercent{Numerator: 1_000_000, Denominator: typev3.FractionalPercent_MILLION})
}

// faultRoutes makes up a virtual host whose routes differ in what overrides faults.
func (g *generator) faultRoutes() *routev3.RouteConfiguration {
	h := &routev3.VirtualHost{Name: "h", Domains: []string{"*"}, TypedPerFilterConfig: g.faultOverride()}
	for i, prefix := range []string{"/a", "/b", "/list", "/v1", "/"} {
		r := &routev3.Route{
			Name:                 fmt.Sprint("route-", i),
			Match:                &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}},
			TypedPerFilterConfig: g.faultOverride(),
		}
		if g.one(8) {
			r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 403, Body: inline("direct")}}
		} else {
			clusters := g.weightedClusters()
			for _, c := range clusters.WeightedClusters.GetClusters() {
				c.TypedPerFilterConfig = g.faultOverride()
			}
			r.Action = &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: clusters}}
			if len(clusters.WeightedClusters.GetClusters()) > 1 {
				// Which cluster is drawn decides what becomes of a call: let it be known.
				clusters.WeightedClusters.Clusters = clusters.WeightedClusters.GetClusters()[:1]
			}
			for _, c := range clusters.WeightedClusters.GetClusters() {
				c.Weight = wrapperspb.UInt32(1)
			}
		}
		h.Routes = append(h.Routes, r)
	}
	return &routev3.RouteConfiguration{Name: routesName, TypedPerFilterConfig: g.faultOverride(), VirtualHosts: []*routev3.VirtualHost{h}}
}

// faultRequest makes up a call that asks for faults.
func (g *generator) faultRequest() request {
	r := g.request()
	r.host = "shop"
	if !g.one(8) {
		r.header = append(r.header, wantFault, "1")
	}
	add := func(n int, name string, values ...string) {
		if g.one(n) {
			r.header = append(r.header, "x-envoy-fault-"+name, pick(g, values...))
			if g.one(8) {
				r.header = append(r.header, "x-envoy-fault-"+name, pick(g, values...))
			}
		}
	}
	percent := []string{"0", "0", "100", "1000000", "-1", "ten", "+0", "4294967296", "0.5"}
	add(3, "delay-request", "1", "2", "0", "-1", "+3", "x", "1.5", "0x1")
	add(4, "delay-request-percentage", percent...)
	add(2, "abort-request", "503", "404", "200", "429", "199", "600", "x", "-1", "+500", "1e2", "99999999999999999999")
	add(2, "abort-grpc-request", "1", "5", "14", "16", "x", "-1", "+7")
	add(4, "abort-request-percentage", percent...)
	add(3, "throughput-response", "100000", "0", "x", "-1")
	add(4, "throughput-response-percentage", percent...)
	if g.one(3) {
		r.header = append(r.header, "x-envoy-downstream-service-node", pick(g, "n1", "n2", "n3", ""))
	}
	return r
}
