package healthcheck

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/balancer"
)

// grpcProber asks a server's grpc.health.v1.Health for one service.
type grpcProber struct {
	target balancer.CheckTarget
	conn   *grpc.ClientConn // nil while there is none to use again
}

// Probe implements balancer.Prober.
func (p *grpcProber) Probe(ctx context.Context) balancer.Verdict {
	if p.conn == nil {
		conn, err := p.connect()
		if err != nil {
			return balancer.Unreachable
		}
		p.conn = conn
	}
	check := p.target.Check.GRPC
	md := metadata.MD{}
	for _, h := range check.Metadata {
		if h.Append {
			md.Append(h.Name, h.Value)
		} else {
			md.Set(h.Name, h.Value)
		}
	}
	answer, err := healthpb.NewHealthClient(p.conn).Check(metadata.NewOutgoingContext(ctx, md),
		&healthpb.HealthCheckRequest{Service: check.Service})
	verdict := balancer.Refused
	switch {
	case err == nil && answer.GetStatus() == healthpb.HealthCheckResponse_SERVING:
		verdict = balancer.Passed
	case ctx.Err() != nil, status.Code(err) == codes.Unavailable:
		// Of a server that answers UNAVAILABLE nobody can tell it from one that is not
		// there. A channel that failed would say the same again until its backoff ends.
		verdict = balancer.Unreachable
		p.Close()
	}
	if p.target.Check.Reconnect {
		p.Close()
	}
	return verdict
}

func (p *grpcProber) connect() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+p.target.Host,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.target.Dial(ctx, "h2") }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // Dial has secured it
		grpc.WithAuthority(p.target.Host),
		grpc.WithUserAgent(userAgent),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(),
	)
}

// Close implements balancer.Prober.
func (p *grpcProber) Close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}
