package envoy

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// inboundPair is Envoy in front of a server, and a server that goes by Weft itself. Calls
// come from the address that they name as their host.
func (s setup) inboundPair(t *testing.T, grpc bool) *pair {
	t.Helper()
	cp := meshtest.NewControlPlane(t)
	p := &pair{cp: cp, grpc: grpc, filters: s.filters, inbound: true}
	if grpc {
		p.hosts = callerAddresses
	}
	p.proxy = startEnvoy(t, cp.Addr, s)
	p.envoy = envoySide(t, p.proxy)
	p.envoy.callFromHosts(t, p.proxy.http)
	p.weft = &side{name: "Weft", refused: func(*answer, error) {}}
	p.weft.callFromHosts(t, weftServer(t, cp.Addr, grpc).Addr)
	p.weft.closeAtEnd(t)
	return p
}

// callFromHosts has calls go to an address, from the address that is their host.
func (s *side) callFromHosts(t *testing.T, to string) {
	dial := func(ctx context.Context, host string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
		return d.DialContext(ctx, "tcp", to)
	}
	base := &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return dial(ctx, host)
	}}
	t.Cleanup(base.CloseIdleConnections)
	s.http = base
	s.dial = func(host string) (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+host, grpc.WithAuthority(host), grpc.WithContextDialer(dial),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
}

// weftServer is one that tells what it saw of a request as other backends do.
func weftServer(t *testing.T, xds string, overGRPC bool) *meshtest.Backend {
	t.Helper()
	bootstrap, err := json.Marshal(object{
		"xds_servers": []object{{
			"server_uri":      xds,
			"channel_creds":   []object{{"type": "insecure"}},
			"server_features": []string{"trusted_xds_server"}, // it may name rate limit services
		}},
		"node": object{"id": weftNode, "cluster": t.Name()},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := meshtest.New(t, mesh.WithBootstrap(bootstrap), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if !overGRPC {
		return meshtest.HTTP(t, m.Handler(inboundName, telling(t, "a", func(seen) {})))
	}
	return meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, append(m.ServerOptions(inboundName),
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
				return err
			}
			md, _ := metadata.FromIncomingContext(s.Context())
			header := http.Header{}
			for name, values := range md {
				for _, v := range values {
					header.Add(name, v)
				}
			}
			text, err := json.Marshal(seen{Backend: "a", Header: header})
			if err != nil {
				return err
			}
			return s.SendMsg(wrapperspb.String(string(text)))
		}))...)
}

// inboundName is the server's.
const inboundName = "shop"

// answerFilter is by which Weft's server answers what in Envoy is a direct response, which
// servers do not have (gRFC A36).
const answerFilter = "answer"

// inboundListener is that of Weft's server: the same filters and routes, but what Envoy
// forwards it answers itself.
func (p *policy) inboundListener(t *testing.T) *listenerv3.Listener {
	own := proto.CloneOf(p.routes)
	for _, h := range own.GetVirtualHosts() {
		for _, r := range h.GetRoutes() {
			if d := r.GetDirectResponse(); d != nil {
				r.TypedPerFilterConfig = maps.Clone(r.GetTypedPerFilterConfig())
				if r.TypedPerFilterConfig == nil {
					r.TypedPerFilterConfig = map[string]*anypb.Any{}
				}
				r.TypedPerFilterConfig[answerFilter] = pack(t, &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
					ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: d.GetStatus()},
					Percentage: &typev3.FractionalPercent{Numerator: 100}, ResponseBody: d.GetBody().GetInlineString(),
				}})
			}
			r.Action = &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}}
		}
	}
	answers := &hcmv3.HttpFilter{Name: answerFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &faultv3.HTTPFault{})}}
	manager := pack(t, &hcmv3.HttpConnectionManager{
		StatPrefix:     "in",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: own},
		HttpFilters:    withRouter(t, append([]*hcmv3.HttpFilter{answers}, p.filters...)),
	})
	return &listenerv3.Listener{
		Name: "inbound/" + inboundName,
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "0.0.0.0", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: manager},
		}}}},
	}
}

// inboundOnly is what of an answer a limit on a server has a say in.
func (a *answer) inboundOnly() {
	if a.Seen != nil {
		a.Seen = &seen{Backend: a.Seen.Backend, Header: http.Header{"X-A": a.Seen.Header["X-A"], "X-Z": a.Seen.Header["X-Z"]}}
	}
}
