package mesh_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestTCPKeepalive asks the kernel for the times of the probes that policy sets.
func TestTCPKeepalive(t *testing.T) {
	const keepalive = "upstream_connection_options: {tcp_keepalive: {keepalive_probes: 3, keepalive_time: 77, keepalive_interval: 11}}"
	want := probes{1, 77, 11, 3}
	t.Run("grpc", func(t *testing.T) {
		got := make(chan probes, 1)
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(protocols[0], keepalive, lbEndpoint(grpcBackend(t, "b").Addr))),
			mesh.WithCredentials(seeConn{insecure.NewCredentials(), func(c net.Conn) { got <- probesOf(t, c) }}))
		if _, err := invoke(within(t, long), dial(t, m, "raw"), request{}); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, "a connection", got); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
	t.Run("http", func(t *testing.T) {
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(protocols[1], keepalive, lbEndpoint(httpBackend(t, "b").Addr))))
		client := m.HTTPClient()
		defer client.CloseIdleConnections()
		ctx := httptrace.WithClientTrace(within(t, long), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
			if got := probesOf(t, i.Conn); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		}})
		if _, err := httpCall(ctx, client, "raw", request{}); err != nil {
			t.Fatal(err)
		}
	})
}

// seeConn shows the connections of a channel.
type seeConn struct {
	credentials.TransportCredentials
	see func(net.Conn)
}

func (s seeConn) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	s.see(c)
	return s.TransportCredentials.ClientHandshake(ctx, authority, c)
}

type probes struct{ on, idle, interval, count int }

func probesOf(t *testing.T, c net.Conn) (p probes) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Error(err)
		return p
	}
	option := func(fd uintptr, level, name int) int {
		v, err := syscall.GetsockoptInt(int(fd), level, name)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	err = raw.Control(func(fd uintptr) {
		p = probes{
			option(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE),
			option(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE),
			option(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL),
			option(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT),
		}
	})
	if err != nil {
		t.Error(err)
	}
	return p
}

// TestSourceAddress has connections come from the address that policy says; on Linux
// all of 127/8 is this machine.
func TestSourceAddress(t *testing.T) {
	backends := map[string]func(t *testing.T) *meshtest.Backend{
		"grpc": func(t *testing.T) *meshtest.Backend {
			return meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
				if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
					return err
				}
				from, _ := peer.FromContext(s.Context())
				return s.SendMsg(wrapperspb.String(from.Addr.String()))
			}))
		},
		"http": func(t *testing.T) *meshtest.Backend {
			return meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) }))
		},
	}
	eachProtocol(t, func(t *testing.T, p protocol) {
		const bind = `upstream_bind_config: {source_address: {address: "::1", port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.2, port_value: 0}}]}`
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, bind, lbEndpoint(backends[p.name](t).Addr))))
		from, err := p.client(t, m, "raw")(within(t, long), request{})
		if err != nil {
			t.Fatal(err)
		}
		if host, _, _ := net.SplitHostPort(from); host != "127.0.0.2" {
			t.Errorf("a connection from %s, want 127.0.0.2", from)
		}
	})
}
