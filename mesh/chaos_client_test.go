package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// chaosClient is who makes calls in a chaos run: what a policy file says of its services,
// and of its routes.
type chaosClient struct{ name, service, route string }

const (
	chaosLimits   = ", balance: {policy: least_request}, limits: {maxRequests: 1000, retryBudget: {budgetPercent: 20%, minRetryConcurrency: 3}}"
	chaosEjection = ", outlierDetection: {interval: 100ms, baseEjectionTime: 500ms, maxEjectionTime: 1s, maxEjectionPercent: 60, consecutive5xx: 5}"
	chaosBreakers = ", breaker: {endpoint: {consecutiveFailures: 3, openTime: 50ms}, cluster: {failurePercent: 80%, minimumRequests: 10, interval: 200ms, openTime: 20ms}}"
	chaosRetry    = ", retry: {attempts: 4, on: [gateway-error, reset, unavailable], perTryTimeout: 200ms, backOff: {baseInterval: 5ms}}"
	chaosHedge    = ", hedge: {delay: 40ms}"
)

// chaosClients are each given one thing more than the one before.
var chaosClients = []chaosClient{
	{name: stock},
	{"retries", chaosLimits, chaosRetry},
	{"hedges", chaosLimits, chaosRetry + chaosHedge},
	{"all", chaosLimits + chaosEjection + chaosBreakers, chaosRetry + chaosHedge},
}

// stock clients are grpc-go's round_robin, and an http.Client with the addresses in turn.
const stock = "stock"

// chaosPolicy gives each client services of its own at the same addresses.
func chaosPolicy(addresses []string) []byte {
	list := `"` + strings.Join(addresses, `", "`) + `"`
	var services, routes strings.Builder
	for _, c := range chaosClients {
		for name, protocol := range map[string]string{"grpc": "grpc", "http": "http", "h2c": "http2"} {
			fmt.Fprintf(&services, "  %s-%s: {protocol: %s, endpoints: [%s]%s}\n", c.name, name, protocol, list, c.service)
			fmt.Fprintf(&routes, "  %[1]s-%[2]s: [{to: %[1]s-%[2]s%[3]s}]\n", c.name, name, c.route)
		}
	}
	return []byte("services:\n" + services.String() + "routes:\n" + routes.String())
}

// chaosKind is a kind of call. It sends a text and expects it back.
type chaosKind struct {
	name string
	call func(ctx context.Context, client, text string) (string, error)
}

// overGRPC returns a call by gRPC, over a channel of its own for each client.
func (r *chaosRun) overGRPC(call func(context.Context, *grpc.ClientConn, string) (string, error)) func(context.Context, string, string) (string, error) {
	dial := grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return r.net.dial(ctx, "tcp", address)
	})
	channels := map[string]*grpc.ClientConn{}
	for _, c := range chaosClients {
		open := r.stockGRPC
		if c.name != stock {
			open = func(dial grpc.DialOption) (*grpc.ClientConn, error) { return r.mesh.Dial(c.name+"-grpc", dial) }
		}
		conn, err := open(dial)
		if err != nil {
			r.Fatal(err)
		}
		channels[c.name] = conn
		r.conns = append(r.conns, conn)
	}
	return func(ctx context.Context, client, text string) (string, error) {
		return call(metadata.AppendToOutgoingContext(ctx, "client", client), channels[client], text)
	}
}

func (r *chaosRun) stockGRPC(dial grpc.DialOption) (*grpc.ClientConn, error) {
	var endpoints []resolver.Endpoint
	for _, a := range r.addresses {
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	addresses := manual.NewBuilderWithScheme("addresses")
	addresses.InitialState(resolver.State{Endpoints: endpoints})
	return grpc.NewClient("addresses:///", dial, grpc.WithResolvers(addresses), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`))
}

func chaosUnary(ctx context.Context, conn *grpc.ClientConn, text string) (string, error) {
	reply := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, "/a/unary", wrapperspb.String(text), reply)
	return reply.GetValue(), err
}

// chaosStream sends a text in three messages.
func chaosStream(ctx context.Context, conn *grpc.ClientConn, text string) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a/stream")
	if err != nil {
		return "", err
	}
	var got strings.Builder
	for part := range slices.Chunk([]byte(text), (len(text)+2)/3) {
		if err := s.SendMsg(wrapperspb.String(string(part))); err != nil {
			break // receiving says why
		}
	}
	if err := s.CloseSend(); err != nil {
		return "", err
	}
	for {
		m := new(wrapperspb.StringValue)
		if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
			return got.String(), nil
		} else if err != nil {
			return "", err
		}
		got.WriteString(m.GetValue())
	}
}

// overHTTP returns a call by HTTP, every other of which has a body that cannot be had again.
func (r *chaosRun) overHTTP(protocol string) func(context.Context, string, string) (string, error) {
	base := &http.Transport{DialContext: r.net.dial, MaxIdleConns: 100}
	byMesh := &http.Client{Transport: r.mesh.Transport(base)}
	if protocol == "h2c" {
		base = base.Clone()
		base.Protocols = new(http.Protocols)
		base.Protocols.SetUnencryptedHTTP2(true)
	}
	byStock := &http.Client{Transport: &inTurn{base: base, addresses: r.addresses}}
	r.clients = append(r.clients, byMesh, byStock)
	return func(ctx context.Context, client, text string) (string, error) {
		var body io.Reader = strings.NewReader(text)
		if len(text)%2 == 0 {
			body = io.MultiReader(body)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+client+"-"+protocol+"/", body)
		if err != nil {
			return "", err
		}
		req.Header.Set("client", client)
		caller := byMesh
		if client == stock {
			caller = byStock
		}
		resp, err := caller.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %s", resp.Status)
		}
		return string(got), err
	}
}

// inTurn sends each request to the next of its addresses.
type inTurn struct {
	base      *http.Transport
	addresses []string
	n         atomic.Uint64
}

func (t *inTurn) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Host = t.addresses[t.n.Add(1)%uint64(len(t.addresses))]
	return t.base.RoundTrip(req)
}

// CloseIdleConnections has that of http.Client reach the transport.
func (t *inTurn) CloseIdleConnections() { t.base.CloseIdleConnections() }
