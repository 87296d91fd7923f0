package grpclb

import (
	"net"
	"strconv"
	"strings"

	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	gresolver "google.golang.org/grpc/resolver"

	"google.golang.org/grpc/attributes"

	"github.com/weft-mesh/weft/balancer"
)

// connector makes SubConns for a view's endpoints.
type connector struct {
	cc     gbalancer.ClientConn
	target string
}

func (c connector) NewConn(e *balancer.Endpoint, report func(balancer.State, error)) balancer.Conn {
	addr := gresolver.Address{
		Addr:       c.address(e),
		Attributes: attributes.New(attemptKey{}, &Attempt{Endpoint: e}),
	}
	conn := new(subConn)
	sc, err := c.cc.NewSubConn([]gresolver.Address{addr}, gbalancer.NewSubConnOptions{
		StateListener: func(s gbalancer.SubConnState) {
			conn.outOfBand.follow(conn.sc, s.ConnectivityState)
			if state, ok := fromGRPC(s.ConnectivityState); ok {
				report(state, s.ConnectionError)
			}
		},
	})
	if err != nil {
		// Only a channel that is closing refuses, and that closes this view too.
		return conn
	}
	conn.sc = sc
	return conn
}

// address is where e is. The address that the application named may hold a host name,
// which is looked up for each connection; without a port it has that of gRPC's dns
// scheme.
func (c connector) address(e *balancer.Endpoint) string {
	to := e.OriginalDst()
	if to == nil {
		return e.Address()
	}
	host, port, err := net.SplitHostPort(c.target)
	if err != nil {
		host, port = strings.Trim(c.target, "[]"), "443"
	}
	if to.Port != 0 {
		port = strconv.Itoa(int(to.Port))
	}
	return net.JoinHostPort(host, port)
}

// subConn is a view's connection to an endpoint.
type subConn struct {
	sc        gbalancer.SubConn // nil if there is none
	outOfBand outOfBand
}

func (s *subConn) Connect() {
	if s.sc != nil {
		s.sc.Connect()
	}
}

// Close lets the calls on the connection finish: grpc drains a SubConn that is
// shut down.
func (s *subConn) Close() {
	s.ReportLoad(0, nil)
	if s.sc != nil {
		s.sc.Shutdown()
	}
}

// fromGRPC is false for the one state that a view need not hear of: the end that
// it asked for itself.
func fromGRPC(s connectivity.State) (balancer.State, bool) {
	switch s {
	case connectivity.Idle:
		return balancer.Idle, true
	case connectivity.Connecting:
		return balancer.Connecting, true
	case connectivity.Ready:
		return balancer.Ready, true
	case connectivity.TransientFailure:
		return balancer.TransientFailure, true
	default:
		return balancer.Idle, false
	}
}
