package mesh_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/resolver"
)

// replay is a control plane that serves a recording, over real streams and in both
// forms of ADS. What it serves is what was recorded, but for nonces, the addresses
// that move sets and the resources that add adds.
type replay struct {
	addr     string
	metadata map[string]any // of the clients' node

	// everything has each response hold all resources of its type, asked for or
	// not, as istiod has for a sidecar. Otherwise only those asked for are sent.
	everything bool

	mu        sync.Mutex
	resources map[string][]recorded // by type URL
	versions  map[string]string     // by type URL
	nodes     []*corev3.Node        // that introduced themselves, one a stream
	asked     map[string][]string   // the names, by type URL
	waiting   map[string][]string   // nonces that were not answered yet, by type URL
	nonces    int
	answered  sync.Cond // waiting has shrunk
	acks      int
	nacks     []string
}

type recorded struct {
	name string
	body *anypb.Any
}

// newReplay serves the recording in a folder of testdata/istio. When the test ends,
// having refused any of it fails the test.
func newReplay(tb testing.TB, recording string, everything bool) *replay {
	tb.Helper()
	r := &replay{
		metadata:   map[string]any{"GENERATOR": recording},
		everything: everything,
		resources:  map[string][]recorded{},
		versions:   map[string]string{},
		asked:      map[string][]string{},
		waiting:    map[string][]string{},
	}
	r.answered.L = &r.mu
	for _, file := range []string{"lds", "rds", "cds", "eds"} {
		raw, err := os.ReadFile(filepath.Join("testdata", "istio", recording, file+".binpb"))
		if err != nil {
			tb.Fatal(err)
		}
		response := new(discoveryv3.DiscoveryResponse)
		if err := proto.Unmarshal(raw, response); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		url := response.GetTypeUrl()
		r.versions[url] = response.GetVersionInfo()
		for _, body := range response.GetResources() {
			r.resources[url] = append(r.resources[url], recorded{nameOf(tb, body), body})
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r.addr = l.Addr().String()
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, r)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	tb.Cleanup(func() {
		server.Stop()
		serving.Wait()
		for _, nack := range r.nacks {
			tb.Errorf("refused: %s", nack)
		}
	})
	return r
}

// nameOf returns the name of a resource.
func nameOf(tb testing.TB, body *anypb.Any) string {
	tb.Helper()
	m, err := body.UnmarshalNew()
	if err != nil {
		tb.Fatal(err)
	}
	switch m := m.(type) {
	case *listenerv3.Listener:
		return m.GetName()
	case *routev3.RouteConfiguration:
		return m.GetName()
	case *clusterv3.Cluster:
		return m.GetName()
	case *endpointv3.ClusterLoadAssignment:
		return m.GetClusterName()
	}
	tb.Fatalf("a %s was recorded", body.GetTypeUrl())
	return ""
}

// move puts backends in the place of recorded endpoints, by their addresses. The
// recorded ports may be taken on the machine that runs the test, and not every
// system has the recorded 127.0.0.2; the rest of each assignment stays as it was,
// byte for byte.
func (r *replay) move(tb testing.TB, to map[string]string) {
	tb.Helper()
	encode := proto.MarshalOptions{Deterministic: true}.Marshal
	for _, recorded := range r.resources[resolver.EndpointsURL] {
		assignment := new(endpointv3.ClusterLoadAssignment)
		if err := recorded.body.UnmarshalTo(assignment); err != nil {
			tb.Fatal(err)
		}
		if same, err := encode(assignment); err != nil || string(same) != string(recorded.body.GetValue()) {
			tb.Fatalf("%s: encoding it again changes it (%v)", recorded.name, err)
		}
		for _, locality := range assignment.GetEndpoints() {
			for _, e := range locality.GetLbEndpoints() {
				socket := e.GetEndpoint().GetAddress().GetSocketAddress()
				addr, ok := to[fmt.Sprintf("%s:%d", socket.GetAddress(), socket.GetPortValue())]
				if !ok {
					continue
				}
				backend, err := net.ResolveTCPAddr("tcp", addr)
				if err != nil {
					tb.Fatal(err)
				}
				socket.Address = backend.IP.String()
				socket.PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: uint32(backend.Port)}
			}
		}
		var err error
		if recorded.body.Value, err = encode(assignment); err != nil {
			tb.Fatal(err)
		}
	}
}

// add adds a resource that was not recorded.
func (r *replay) add(tb testing.TB, m proto.Message) {
	tb.Helper()
	body, err := anypb.New(m)
	if err != nil {
		tb.Fatal(err)
	}
	url := body.GetTypeUrl()
	r.resources[url] = append(r.resources[url], recorded{nameOf(tb, body), body})
}

// bootstrap is the bootstrap of a client of the replay, with more top-level fields.
func (r *replay) bootstrap(tb testing.TB, more map[string]any) []byte {
	tb.Helper()
	type object = map[string]any
	fields := object{
		"xds_servers": []object{{"server_uri": r.addr, "channel_creds": []object{{"type": "insecure"}}}},
		"node":        object{"id": istioNode, "metadata": r.metadata},
	}
	maps.Copy(fields, more)
	data, err := json.Marshal(fields)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// istioNode is a node id in the form that Istio asks for.
const istioNode = "sidecar~127.0.0.1~web-1.default~default.svc.cluster.local"

// settle waits until the client has answered every response.
func (r *replay) settle(tb testing.TB) {
	tb.Helper()
	late := time.AfterFunc(long, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		clear(r.waiting)
		r.nacks = append(r.nacks, "no answer to a response")
		r.answered.Broadcast()
	})
	defer late.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for slices.ContainsFunc(slices.Collect(maps.Values(r.waiting)), func(nonces []string) bool { return len(nonces) > 0 }) {
		r.answered.Wait()
	}
}

// types are the type URLs that were asked for, sorted.
func (r *replay) types() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.asked))
}

// names are the resources of a type that were asked for, sorted.
func (r *replay) names(url string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(r.asked[url])))
}

// heard notes what a request says.
func (r *replay) heard(node *corev3.Node, url string, names []string, nonce string, nack *rpcstatus.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if node != nil {
		r.nodes = append(r.nodes, node)
	}
	r.asked[url] = append(r.asked[url], names...)
	// In the state of the world, the answer to a response covers those before it.
	if i := slices.Index(r.waiting[url], nonce); i >= 0 {
		r.waiting[url] = r.waiting[url][i+1:]
		r.answered.Broadcast()
		r.acks++
	}
	if nack != nil {
		r.nacks = append(r.nacks, url+": "+nack.GetMessage())
	}
}

// next returns the recorded resources to send when those of these names were asked
// for, the ones of them that do not exist, and the nonce to send them with.
func (r *replay) next(url string, names []string) (found []recorded, missing []string, nonce string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	exists := map[string]bool{}
	for _, resource := range r.resources[url] {
		exists[resource.name] = true
		if r.everything || slices.Contains(names, resource.name) {
			found = append(found, resource)
		}
	}
	for _, name := range names {
		if !exists[name] {
			missing = append(missing, name)
		}
	}
	r.nonces++
	nonce = fmt.Sprint("nonce ", r.nonces)
	r.waiting[url] = append(r.waiting[url], nonce)
	return found, missing, nonce
}

// StreamAggregatedResources is ADS by the state of the world.
func (r *replay) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	type subscription struct {
		nonce string
		names map[string]bool
	}
	subs := map[string]*subscription{}
	for {
		req, err := s.Recv()
		if err != nil {
			return err
		}
		url := req.GetTypeUrl()
		r.heard(req.GetNode(), url, req.GetResourceNames(), req.GetResponseNonce(), req.GetErrorDetail())
		sub := subs[url]
		if sub == nil {
			sub = &subscription{}
			subs[url] = sub
		}
		if req.GetResponseNonce() != sub.nonce {
			continue // said before the last response was read, and said again after it
		}
		names, more := map[string]bool{}, false
		for _, name := range req.GetResourceNames() {
			names[name] = true
			more = more || !sub.names[name]
		}
		sub.names = names
		if !more {
			continue
		}
		found, _, nonce := r.next(url, req.GetResourceNames())
		sub.nonce = nonce
		response := &discoveryv3.DiscoveryResponse{VersionInfo: r.versions[url], TypeUrl: url, Nonce: nonce}
		for _, resource := range found {
			response.Resources = append(response.Resources, resource.body)
		}
		if err := s.Send(response); err != nil {
			return err
		}
	}
}

// DeltaAggregatedResources is incremental ADS. As istiod's, its resources have no
// versions.
func (r *replay) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for {
		req, err := s.Recv()
		if err != nil {
			return err
		}
		url := req.GetTypeUrl()
		r.heard(req.GetNode(), url, req.GetResourceNamesSubscribe(), req.GetResponseNonce(), req.GetErrorDetail())
		if len(req.GetResourceNamesSubscribe()) == 0 {
			continue
		}
		found, missing, nonce := r.next(url, req.GetResourceNamesSubscribe())
		response := &discoveryv3.DeltaDiscoveryResponse{
			SystemVersionInfo: r.versions[url],
			TypeUrl:           url,
			Nonce:             nonce,
			RemovedResources:  missing,
		}
		for _, resource := range found {
			response.Resources = append(response.Resources, &discoveryv3.Resource{Name: resource.name, Resource: resource.body})
		}
		if err := s.Send(response); err != nil {
			return err
		}
	}
}
