package mesh

import (
	"math/rand/v2"
	"runtime"
	"sync"

	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/balancer/grpclb"
	"github.com/weft-mesh/weft/mesh/internal/call"
)

// Dial returns a channel to target whose calls go by the mesh's policy; it takes
// the place of grpc.NewClient and, like it, does not connect yet. A target is a
// listener's name, as in "orders", "orders:8080" or "xds:///orders".
//
// No credentials option is needed. The mesh's own credentials, interceptors,
// resolver and balancer are applied last and win over those among opts;
// interceptors of opts run outside the mesh's, once per call. grpc's own retries by
// service config are off, its transparent retries stay on. A dialer among opts
// (grpc.WithContextDialer) takes the place of the mesh's, and with it of what policy
// says of dialing.
//
// The channel is the caller's to close. Closing the mesh fails its new calls with
// [ErrClosed].
func (m *Mesh) Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	name, err := m.names.parse(target)
	if err != nil {
		return nil, err
	}
	if m.gate.IsShut() {
		return nil, m.errClosed(name.endpoint)
	}
	t := m.acquire(name)
	ch := &channel{mesh: m, target: t, id: rand.Uint64() | 1}
	dialer := []grpc.DialOption{grpc.WithContextDialer(dialEndpoint)} // first: one of opts wins
	conn, err := grpc.NewClient(meshScheme+":///"+name.endpoint, append(append(dialer, opts...),
		grpc.WithResolvers(ch),
		grpc.WithDefaultServiceConfig(grpclb.ServiceConfig),
		grpc.WithTransportCredentials(endpointCreds{plain: m.plainCreds}),
		grpc.WithChainUnaryInterceptor(ch.unary()),
		grpc.WithChainStreamInterceptor(ch.stream),
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(),
	)...)
	if err != nil {
		t.Release()
		return nil, err
	}
	// The mesh keeps the target's table while the channel can be used, idle or not.
	// grpc tells nobody that a channel was closed, but a closed one becomes garbage.
	runtime.AddCleanup(conn, (*call.Target).Release, t)
	return conn, nil
}

// meshScheme is the scheme of the channels' targets as grpc sees them.
const meshScheme = "weft"

// channel is what the mesh keeps of one *grpc.ClientConn.
type channel struct {
	mesh   *Mesh
	target *call.Target
	id     uint64    // random: what the channel is to hash policies
	spare  sync.Pool // of *rpc
}
