package mesh

import (
	"context"

	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/balancer"
)

// ClientUnary is the interceptor that Dial gives a channel's unary calls, and the clusters
// that they may go to. The target is kept as long as m.
func ClientUnary(m *Mesh, target string) (grpc.UnaryClientInterceptor, []*balancer.Cluster) {
	name, err := m.names.parse(target)
	if err != nil {
		panic(err)
	}
	ch := &channel{mesh: m, target: m.acquire(name), id: 1}
	table, err := ch.target.Await(context.Background())
	if err != nil {
		panic(err)
	}
	return ch.unary(), table.Clusters()
}
