package mesh_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestNoCallFailsWhilePolicyChanges has calls of both kinds flow through 200 random
// policies, some of which replace endpoints, and through restarts of the control
// plane. Not one may fail.
func TestNoCallFailsWhilePolicyChanges(t *testing.T) {
	const changes = 200
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))

	grpcPolicy, httpPolicy := newRandomPolicy(t, protocols[0]), newRandomPolicy(t, protocols[1])
	next := func() string {
		gs, gr := grpcPolicy.next(random)
		hs, hr := httpPolicy.next(random)
		return "services:\n" + gs + hs + "routes:\n" + gr + hr
	}
	cp := meshtest.NewControlPlane(t)
	cp.Apply(next())
	m := cp.Mesh()
	if err := m.Ready(within(t, long), "grpc", "http"); err != nil {
		t.Fatal(err)
	}
	requests := []request{{}, {path: "/a/b"}, {path: "/shop.Users/List"}, {header: map[string]string{"x-user": "7"}}}
	loads := []*load{
		startLoad(t, 4, grpcClient(t, m, "grpc"), requests...),
		startLoad(t, 4, httpClient(t, m, "http"), requests...),
		startLoad(t, 2, newChannels(t, m, "grpc"), requests...),
	}
	for n := range changes {
		cp.Apply(next())
		if n%50 == 25 {
			cp.Kill()
			for _, l := range loads {
				l.await(20)
			}
			cp.Start()
		}
		// Some changes come in a burst, others one by one.
		if random.IntN(2) == 0 {
			for _, l := range loads {
				l.await(1 + random.IntN(20))
			}
		}
	}
	for _, l := range loads {
		l.await(20)
		l.end(t)
	}
	t.Logf("%d calls by gRPC, %d by HTTP, %d by channels of their own, %d changes", loads[0].calls, loads[1].calls, loads[2].calls, changes)
}

// newChannels returns a function that makes each call by a channel of its own, so
// that channels are born at every moment of a change.
func newChannels(t *testing.T, m *mesh.Mesh, target string) func(context.Context, request) (string, error) {
	return func(ctx context.Context, r request) (string, error) {
		conn, err := m.Dial(target)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		return invoke(ctx, conn, r)
	}
}

// randomPolicy makes policies for one service whose name is its protocol.
type randomPolicy struct {
	protocol protocol
	backends []*meshtest.Backend
}

func newRandomPolicy(t *testing.T, p protocol) *randomPolicy {
	r := &randomPolicy{protocol: p}
	for i := range 5 {
		r.backends = append(r.backends, p.backend(t, fmt.Sprint("b", i)))
	}
	return r
}

// next returns the services and routes of a random valid policy that answers every
// call to the protocol's name.
func (p *randomPolicy) next(random *rand.Rand) (services, routes string) {
	name := p.protocol.name
	// The backends in random order; the subsets get the first two, and so are
	// never empty.
	order := random.Perm(len(p.backends))
	var endpoints strings.Builder
	for i, at := range order[:2+random.IntN(len(order)-1)] {
		version := []string{"v1", "v2"}[i%2]
		fmt.Fprintf(&endpoints, "      - {address: %q, labels: {version: %s}, weight: %d, zone: z%d}\n",
			p.backends[at].Addr, version, 1+random.IntN(3), random.IntN(2))
	}
	policy := []string{"round_robin", "random", "least_request", "pick_first"}[random.IntN(4)]
	services = fmt.Sprintf("  %s:\n    protocol: %s\n    "+inTime+"\n    balance: {policy: %s}\n    subsets: {v1: {version: v1}, v2: {version: v2}}\n    endpoints:\n%s",
		name, name, policy, endpoints.String())
	// A further service comes and goes, and so do its clusters.
	also := fmt.Sprintf("%s-%d", name, random.IntN(3))
	services += p.protocol.service(also, p.backends[order[0]])

	destinations := []string{"v1", "v2", name, also, "{v1: 1, v2: 3}", "{" + also + ": 5, v2: 5}"}
	to := func() string { return destinations[random.IntN(len(destinations))] }
	matches := []string{
		"path: {prefix: /shop.}", "path: {exact: /a/b}", `headers: {x-user: {exact: "7"}}`,
		`path: {regex: "/.*/List"}`, "fraction: 50%",
	}
	routes = "  " + name + ":\n"
	for range random.IntN(4) {
		routes += fmt.Sprintf("    - {match: {%s}, to: %s}\n", matches[random.IntN(len(matches))], to())
	}
	return services, routes + fmt.Sprintf("    - to: %s\n", to())
}
